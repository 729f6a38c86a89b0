"""The one-machine supervisor: what it refuses, and (slow) a real service that starts, serves and ends."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from service.local.background import running
from service.local.embedded import StartError, address, broker, listener, only_one
from service.settings import Settings
from tests.processes import alive, children, command_line, descendants, wait_until

IDLE_BYTES = 500 * 1024**2  # API, worker, broker and supervisor together


def proportional_set_size(pid: int) -> int:
    """Bytes of memory; what several processes share counts for each in part."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def worker_processes(supervisor: int) -> set[int]:
    return {pid for pid in descendants(supervisor) if "celery" in command_line(pid)}


def test_a_state_folder_is_held_by_one_service_only(tmp_path):
    held = pytest.raises(StartError, match=f"already runs on .* \\(process {os.getpid()}\\)")
    with only_one(tmp_path), held, only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_a_taken_port_is_named_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"Port {port} .*STAGEWISE_PORT"), listener(Settings(port=port)):
            pass


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")])
def test_the_address_is_one_that_a_program_here_can_reach(host, shown):
    with listener(Settings(host=host, port=0)) as opened:
        assert address(opened) == f"http://{shown}:{opened.getsockname()[1]}"


def test_the_broker_listens_on_a_private_socket_only_and_keeps_nothing(tmp_path):
    command = broker(tmp_path)
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--unixsocketperm"] == "600"
    assert (options["--save"], options["--appendonly"]) == ("", "no")


@pytest.mark.slow
def test_up_serves_refuses_a_second_start_restarts_what_dies_and_leaves_nothing(tmp_path):
    with running(tmp_path) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        assert httpx2.get(f"{service.url}/healthz", trust_env=False).status_code == 200
        assert httpx2.get(f"{service.url}/subjects", headers=headers, trust_env=False).status_code == 200
        for private in ("api-key", "stagewise.sqlite3", "logs/api.log"):
            assert stat.S_IMODE((tmp_path / private).stat().st_mode) == 0o600, private

        second = subprocess.run(
            [sys.executable, "-m", "service.cli", "up"],
            env={**os.environ, "STAGEWISE_STATE_DIR": str(tmp_path), "STAGEWISE_PORT": "0"},
            capture_output=True,
            text=True,
        )
        assert (second.returncode, "already runs on" in second.stderr) == (1, True)

        def ready() -> dict:
            return httpx2.get(f"{service.url}/readyz", timeout=30, trust_env=False).json()

        wait_until(lambda: ready() == {"ready": True, "degraded": []}, 60)
        before = descendants(service.pid)
        (api,) = [pid for pid in children(service.pid) if "service.web.serve" in command_line(pid)]
        os.kill(api, signal.SIGKILL)
        wait_until(lambda: ready()["ready"], 60)
        everything = before | descendants(service.pid)
    assert alive(everything) == set()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what processes share")
def test_the_idle_service_takes_little_memory(tmp_path):
    with running(tmp_path) as service:
        wait_until(lambda: len(worker_processes(service.pid)) > 2, 60)
        time.sleep(3.0)  # until all have loaded what they load
        sizes = {pid: proportional_set_size(pid) for pid in {service.pid, *descendants(service.pid)}}
    assert sum(sizes.values()) < IDLE_BYTES, sizes


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of this machine has no parent-death signal")
def test_killing_the_supervisor_ends_everything_and_the_next_start_works(tmp_path):
    with running(tmp_path) as service:
        started = descendants(service.pid)
        assert len(started) >= 3
        os.kill(service.pid, signal.SIGKILL)
        wait_until(lambda: alive(started) == set(), 10)
    key = (tmp_path / "api-key").read_text()
    with running(tmp_path) as again:
        assert again.key == key.strip()
