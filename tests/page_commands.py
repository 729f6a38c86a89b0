"""Which commands of README and docs a test machine can run, and what is checked of the others instead."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer
import yaml

from service.cli.main import app
from tests.readme import ROOT

BIN = Path(sys.executable).parent
# make of the tests' own environment: it is set up already
MAKE = ["make", "-C", str(ROOT), "--old-file", ".venv/.stagewise", f"BIN={BIN}"]
COMPOSE = {"up", "exec", "run", "logs", "down"}
UNTIL_STOPPED = "runs until it is stopped"


@dataclass(frozen=True)
class NotRun:
    """Lines that begin so are not run: why, and what must be true of them."""

    begins: str
    reason: str
    check: Callable[[str], None]


def _nothing(line: str) -> None:
    """There is nothing of ours in it."""


def _target(line: str) -> None:
    target = re.search(r"\bmake ([a-z-]+)", line)[1]
    subprocess.run([*MAKE, "--dry-run", target], check=True, capture_output=True)
    for name, value in re.findall(r"(STAGEWISE_\w+)=(\S+)", line):
        assert _settings(name, value), line


def _settings(name: str, value: str) -> bool:
    from service.settings import read_settings

    before = os.environ.get(name)
    os.environ[name] = value
    try:
        taken = getattr(read_settings(), name.removeprefix("STAGEWISE_").lower())
        networks = (
            ", ".join(str(network).removesuffix("/32") for network in taken) if isinstance(taken, tuple) else taken
        )
        return str(networks) == value
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def _compose(line: str) -> None:
    words = shlex.split(line)[2:]
    services: dict[str, object] = {}
    files = [words[at + 1] for at, word in enumerate(words) if word == "-f"] or ["docker-compose.yml"]
    for file in files:
        services |= yaml.safe_load((ROOT / file).read_text())["services"]
    words = [word for word in words if word != "-f" and word not in files]
    assert words[0] in COMPOSE, line
    for scaled in re.findall(r"--scale (\w+)=", line):
        assert scaled in services, line
    if words[0] in ("exec", "run"):
        _, service, *command = (word for word in words if word not in ("-T", "--rm"))
        assert service in services, line
        if command[0] == "stagewise":
            _subcommand(" ".join(command))


def _subcommand(line: str) -> None:
    command = typer.main.get_command(app)
    for word in line.partition("stagewise ")[2].split():
        if not hasattr(command, "commands"):
            return
        assert word in command.commands, line
        command = command.commands[word]


def _promtool(line: str) -> None:
    assert (ROOT / line.split()[-1]).exists(), line


NOT_RUN = (
    NotRun("make demo", "test_readme.py runs it, on a service of its own", _target),
    NotRun("make up", "test_readme.py runs it", _target),
    NotRun("make setup", "the tests run in what it made", _target),
    NotRun("env STAGEWISE_PORT=8010 make up", UNTIL_STOPPED, _target),
    NotRun("env STAGEWISE_TRUSTED_PROXIES=127.0.0.1 make up", UNTIL_STOPPED, _target),
    NotRun("env STAGEWISE_DEVICE=cuda make up", f"{UNTIL_STOPPED}, and needs a GPU", _target),
    NotRun("env STAGEWISE_DEVICE=cpu make up", UNTIL_STOPPED, _target),
    NotRun("docker compose ", "needs a Docker engine; test_compose.py runs the first two where there is one", _compose),
    NotRun("nvidia-smi", "needs a GPU; it is NVIDIA's", _nothing),
    NotRun(".venv/bin/stagewise api", UNTIL_STOPPED, _subcommand),
    NotRun(".venv/bin/stagewise worker", UNTIL_STOPPED, _subcommand),
    NotRun("promtool ", "is a part of Prometheus; test_alerts.py runs it where it is installed", _promtool),
)


def not_run(block: str) -> list[tuple[NotRun, str]] | None:
    """The lines of a block that cannot run, each with its reason; None: the block runs. Raises for a mixed one."""
    lines = [line for line in block.splitlines() if line.strip()]
    found = [next((one for one in NOT_RUN if line.startswith(one.begins)), None) for line in lines]
    if not any(found):
        return None
    if not all(found):
        raise ValueError(f"a block that runs in part; split it:\n{block}")
    return [(one, line) for one, line in zip(found, lines, strict=True) if one]
