"""docker-compose.yml as the design has it: hardened, no published port but the API's, no secret in it."""

import hashlib
import re
from pathlib import Path

import pytest
import redis
import yaml

from service.local import secret_files
from service.settings import read_settings
from tests import servers

ROOT = Path(__file__).resolve().parents[1]
OURS = {"init", "migrate", "api", "worker"}
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture(params=["docker-compose.yml", "with the GPU's"])
def services(request):
    """The services as Compose merges the files."""
    if request.param == "docker-compose.yml":
        return SERVICES
    more = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())["services"]
    return {name: {**service, **more.get(name, {})} for name, service in SERVICES.items()}


def test_our_containers_may_do_nothing_but_run(services):
    for name in OURS:
        service = services[name]
        assert service["read_only"] is True, name
        assert service["tmpfs"] == ["/tmp"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "user" not in service, f"{name}: the image's own user is not root"


def test_no_container_gets_more_than_it_needs(services):
    assert set(services) == OURS | {"postgres", "redis"}
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        for key in ("privileged", "cap_add", "pid", "ipc", "devices", "userns_mode", "env_file"):
            assert key not in service, (name, key)
        mounts = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert not [mount for mount in mounts if mount.startswith((".", "/", "~"))], f"{name} mounts this machine"


def test_the_image_runs_as_somebody_who_is_not_root():
    users = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["app"]
    assert "useradd --system --uid 10001" in (ROOT / "Dockerfile").read_text()


def test_only_the_api_is_published_and_only_on_this_machine(services):
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"api"}
    assert all(port.startswith("127.0.0.1:") for port in published["api"])
    assert not [name for name, service in services.items() if service.get("network_mode") == "host"]


def test_only_the_api_is_on_a_network_with_a_way_out(services):
    networks = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["networks"]
    assert networks["inside"]["internal"] is True
    assert {name for name, service in services.items() if "outside" in service.get("networks", [])} == {"api"}
    assert services["init"]["network_mode"] == "none"


def test_secrets_come_from_files_and_each_reader_mounts_its_own(services):
    for name, service in services.items():
        for key, value in (service.get("environment") or {}).items():
            assert not re.search(r"(PASSWORD|SECRET|TOKEN|_URL)$", key), (name, key)
            assert "://" not in str(value), (name, key)
    mounted = {
        name: {volume.split(":")[0] for volume in service.get("volumes", []) if "secrets" in volume}
        for name, service in services.items()
    }
    assert mounted["postgres"] == {"postgres-secrets"}
    assert mounted["redis"] == {"redis-secrets"}
    assert mounted["api"] == mounted["worker"] == mounted["migrate"] == {"app-secrets"}
    readers = [volume for name in ("api", "worker", "postgres", "redis") for volume in services[name]["volumes"]]
    assert all(volume.endswith(":ro") for volume in readers if "secrets" in volume)


def test_no_container_takes_the_whole_machine_or_fills_the_disk_with_its_log(services):
    for name, service in services.items():
        assert re.fullmatch(r"(\$\{STAGEWISE_\w+:-)?\d+[mg]\}?", service["mem_limit"]), name
        assert 0 < service["pids_limit"] <= 4096, name
        options = service["logging"]["options"]
        assert (service["logging"]["driver"], options["max-size"], options["max-file"]) == ("json-file", "10m", "3"), (
            name
        )


def test_one_image_is_built_once_and_never_looked_for_elsewhere(services):
    assert [name for name in OURS if "build" in services[name]] == ["init"]
    assert {services[name]["image"] for name in OURS} == {"stagewise:local"}
    assert {services[name].get("pull_policy") for name in OURS - {"init"}} == {"never"}
    assert "pull_policy" not in services["init"], "built when it is missing"
    waits = {name: set(services[name]["depends_on"]) for name in OURS - {"init"}}
    assert waits["api"] >= {"migrate"}
    assert waits["worker"] >= {"migrate"}


def test_what_the_settings_page_says_of_docker_is_passed_on(services):
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    [sentence] = [line for line in page.splitlines() if line.startswith("In Docker ")]
    named = set(re.findall(r"`(STAGEWISE_\w+[A-Z])`", sentence))
    maxima = set(re.findall(r"`(STAGEWISE_MAX_\w+)`", page))
    text = (ROOT / "docker-compose.yml").read_text()
    for name in named | maxima:
        assert f"${{{name}:-" in text, name
    assert services["api"]["environment"]["STAGEWISE_API_KEY_FILE"] == "/secrets/api-key", "its commands find the key"


def test_variables_that_compose_passes_on_empty_count_as_not_set(monkeypatch):
    for name, value in SERVICES["api"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
    given = read_settings()
    assert (given.max_jobs, given.lease_seconds, given.trusted_proxies) == (10_000, 60.0, ())


def test_redis_keeps_nothing_and_has_an_access_list(services):
    command = services["redis"]["command"]
    assert command[command.index("--aclfile") + 1] == "/secrets/users.acl"
    assert "--protected-mode" not in command
    assert (command[command.index("--save") + 1], command[command.index("--appendonly") + 1]) == ("", "no")


def test_a_real_server_with_our_access_list_lets_only_ours_in_and_nobody_administer_it(tmp_path):
    password = "p" * 64
    (tmp_path / "users.acl").write_text(secret_files.access_list(password) + "\n")
    assert password not in (tmp_path / "users.acl").read_text()
    assert hashlib.sha256(password.encode()).hexdigest() in (tmp_path / "users.acl").read_text()
    with servers.valkey(tmp_path, options=["--aclfile", str(tmp_path / "users.acl")]) as url:
        anybody = redis.Redis.from_url(url)
        assert anybody.ping()
        for command in (["GET", "x"], ["KEYS", "*"], ["CONFIG", "GET", "*"], ["ACL", "LIST"], ["SUBSCRIBE", "x"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                anybody.execute_command(*command)
        ours = redis.Redis.from_url(url.replace("redis://", f"redis://stagewise:{password}@"))
        assert ours.lpush("queue", "hint") == 1
        for command in (["CONFIG", "GET", "*"], ["SHUTDOWN", "NOSAVE"], ["ACL", "LIST"], ["MODULE", "LIST"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                ours.execute_command(*command)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(url.replace("redis://", "redis://stagewise:wrong@")).ping()
