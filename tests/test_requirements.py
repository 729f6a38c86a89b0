"""What the image installs: every package at the version that the tests ran with, and by its hash."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-torch.lock")
NOWHERE = "sys_platform == 'never'"  # of torch, in the lock of all others


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Package -> version and hashes, of those that are installed somewhere."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if NOWHERE not in line]
    parsed = [(*re.match(r"([\w.-]+)==(\S+)", line).groups(), re.findall(r"--hash=(\S+)", line)) for line in lines]
    return {canonicalize_name(package): (version, hashes) for package, version, hashes in parsed}


def pinned() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def needed(package: str, extras: tuple[str, ...] = (), seen: set[tuple[str, ...]] | None = None) -> set[str]:
    """Everything that a package needs, here, as it is installed."""
    seen = set() if seen is None else seen
    for line in requires(package) or ():
        one = Requirement(line)
        wanted = any(one.marker is None or one.marker.evaluate({"extra": extra}) for extra in ("", *extras))
        found = (canonicalize_name(one.name), *sorted(one.extras))
        if wanted and found not in seen:
            seen.add(found)
            needed(found[0], found[1:], seen)
    return {name for name, *_ in seen}


def test_what_developers_install_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [*project["dependency-groups"].values(), *project["project"]["optional-dependencies"].values()]
    named = [Requirement(line).name for group in groups for line in group if isinstance(line, str)]
    assert {canonicalize_name(name) for name in named} - set(pinned()) == set()


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_its_hashes(name):
    packages = locked(name)
    assert len(packages) > 20
    for package, (_, hashes) in packages.items():
        assert hashes, package
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), package


@pytest.mark.parametrize("name", LOCKS)
def test_versions_are_those_that_the_tests_run_with(name):
    known = pinned()
    differs = {
        package: version for package, (version, _) in locked(name).items() if known.get(package, version) != version
    }
    assert differs == {}, "make lock"


def test_all_that_the_service_needs_is_there():
    torch = needed("torch") | {"torch"}
    everything = needed("stagewise")
    assert {"fastapi", "uvloop", "psycopg-binary", "redis", "torch"} <= everything
    assert everything - torch - set(locked("requirements.lock")) == set(), "make lock"
    assert torch - set(locked("requirements-torch.lock")) == set(), "make lock"
    assert "torch" not in locked("requirements.lock"), "whoever takes another build would get two"
    assert not [package for package in locked("requirements.lock") if package.startswith("nvidia")]


def test_the_image_installs_nothing_without_a_hash_unless_it_is_told_to():
    dockerfile = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    installs = re.findall(r"pip install [^;&\n]+", dockerfile)
    assert len(installs) == 4
    for each in installs:
        hashed, own = "--require-hashes" in each, "--no-deps --no-build-isolation -e ." in each
        assert hashed or own or '--index-url "$TORCH_INDEX_URL"' in each, each
    assert 'if [ -n "$TORCH_INDEX_URL" ]' in dockerfile
