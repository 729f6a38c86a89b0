"""The API's processes: `python -m service.web.serve` runs uvicorn for `stagewise up`, `stagewise api` and Docker.

The first process imports and builds everything, then forks the others, which share its memory as long as they do not
write to it, and passes them connections. With one process it serves by itself.
"""

import argparse
import math
import resource
import signal
import socket
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.importer import import_from_string

from service.local.embedded import StartError, StopRequest, listener
from service.settings import Settings, get_settings
from service.web.accepting import Acceptor, PassedServer
from service.web.children import Children
from service.web.connections import Bounds, Connections
from service.web.processes import Processes
from service.web.protocol import BoundedProtocol
from service.web.proxies import Proxies

FILES = 65_536
OWN_FILES = 256  # what the process needs beside its connections
STOP_SECONDS = 10


def raise_open_files() -> int:
    """Raise the limit of open files to the hard limit; the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def bounds_for(files: int) -> Bounds:
    """The bounds of a process that may open so many files: connections never take the last ones."""
    usual = Bounds()
    connections = max(16, min(usual.connections, files - OWN_FILES))
    return Bounds(connections=connections, per_address=min(usual.per_address, max(8, connections // 2)))


def configuration(
    app: Any, bounds: Bounds, settings: Settings, processes: Processes | None = None, **options: Any
) -> uvicorn.Config:
    """How uvicorn serves the app within these bounds. `options` are uvicorn's own."""
    table = Connections(bounds, trusted=Proxies(settings.trusted_proxies).trust, processes=processes)
    protocol: Any = partial(BoundedProtocol, table=table)
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        timeout_keep_alive=math.ceil(bounds.idle_seconds),
        proxy_headers=False,  # `BehindProxies` does that
        server_header=False,
        access_log=False,
        **options,
    )


def main() -> int:
    """Serve until a signal ends it; the exit status."""
    settings, parser = get_settings(), argparse.ArgumentParser(prog="python -m service.web.serve")
    parser.add_argument("--host", default=settings.host)
    parser.add_argument("--port", type=int, default=settings.port)
    parser.add_argument("--fd", type=int, help="A listening socket that this process inherited.")
    arguments = parser.parse_args()
    asked = settings.model_copy(update={"host": arguments.host, "port": arguments.port})
    stop = StopRequest()
    with tempfile.TemporaryDirectory(prefix="stagewise-api-") as folder:
        processes = Processes(settings.processes, Path(folder))
        app = import_from_string("service.app:process_app")(processes)  # nobody can connect before it is there
        inherited = arguments.fd is not None
        with socket.socket(fileno=arguments.fd) if inherited else listener(asked) as listening:
            return serve(app, settings, processes, listening, stop)


def serve(app: Any, settings: Settings, processes: Processes, listening: socket.socket, stop: StopRequest) -> int:
    """Serve in this process, or in so many children; the exit status."""
    limits = bounds_for(raise_open_files())
    options = {"timeout_graceful_shutdown": STOP_SECONDS, "log_config": None}  # the app has set the log up
    config = configuration(app, limits, settings, processes, **options)
    config.load()

    def serve_passed(end: socket.socket) -> None:
        PassedServer(config, processes, end).run()

    if processes.count > 1:
        return Children(processes, Acceptor(listening, processes), serve_passed, STOP_SECONDS + 3).run(stop)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # uvicorn takes the others
    processes.become(0)
    if not stop.made():
        uvicorn.Server(config).run([listening])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StartError as error:
        sys.exit(str(error))
