"""The whole service in Docker, started as the README says; then restarted."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx2
import pytest

from tests.end_to_end.journey import Api, broken_promises, show, travel
from tests.readme import shell_blocks
from tests.servers import free_port
from tests.shared_data import personal_parquet

ROOT = Path(__file__).resolve().parents[2]
UP, READ_KEY = next(block for block in shell_blocks() if block.startswith("docker compose")).splitlines()


def compose(command: str, environment: dict[str, str]) -> str:
    """Run one `docker compose` line in the project's folder; its output."""
    done = subprocess.run(command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def environment():
    """A compose project of its own on a free port; nothing of it is left."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers on this machine")
    chosen = {**os.environ, "COMPOSE_PROJECT_NAME": "stagewise-test", "STAGEWISE_PORT": str(free_port())}
    try:
        yield chosen
    except BaseException:
        print(subprocess.run(["docker", "compose", "logs", "--tail", "40"], cwd=ROOT, env=chosen, capture_output=True))
        raise
    finally:
        compose("docker compose down --volumes --remove-orphans", chosen)


@pytest.mark.compose
def test_the_main_job_runs_in_containers_and_everything_survives_a_restart(environment):
    data = personal_parquet()
    compose(UP, environment)
    key = compose(READ_KEY, environment).strip()
    url = f"http://127.0.0.1:{environment['STAGEWISE_PORT']}"
    result = travel(url, key, data, "p004")
    show(result)
    assert broken_promises(result) == []

    compose("docker compose restart", environment)
    wait_until_ready(url)
    with Api(url, key) as api:
        assert api.get("/subjects/p004/champion")["model_version_id"] == result["versions"][result["champion"]]
    again = travel(url, key, data, "p004")
    assert broken_promises(again) == []
    assert compose(READ_KEY, environment).strip() == key, "the secrets stay"


@pytest.mark.compose
def test_containers_cannot_write_their_root_or_reach_out(environment):
    compose(UP, environment)
    for service in ("api", "worker"):
        inside = f"docker compose exec -T {service}"
        assert compose(f"{inside} id -u", environment).strip() == "10001"
        compose(f"{inside} sh -c '! touch /app/x 2>/dev/null && touch /tmp/x'", environment)
        assert compose(f"{inside} grep CapEff /proc/1/status", environment).split() == ["CapEff:", "0000000000000000"]
    routes = compose("docker compose exec -T worker cat /proc/net/route", environment).splitlines()[1:]
    assert "00000000" not in [route.split()[1] for route in routes], "the worker has a default route"


def wait_until_ready(url: str, seconds: float = 120.0) -> None:
    """Poll /readyz until nothing is missing."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = httpx2.get(f"{url}/readyz", timeout=10, trust_env=False)
            if answer.status_code == 200 and answer.json()["degraded"] == []:
                return
        except httpx2.TransportError:
            pass
        assert time.monotonic() < deadline, "not ready after the restart"
        time.sleep(1)
