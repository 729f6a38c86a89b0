"""The API's process: `python -m service.web.serve` runs uvicorn for `stagewise up`, `stagewise api` and Docker.

uvicorn's own `--fd` takes every socket for a Unix socket, so that answers wait for a delayed ACK (40 ms). Here the
socket's own family is used.
"""

import argparse
import math
import resource
import socket
from functools import partial
from typing import Any

import uvicorn

from service.settings import Settings, get_settings
from service.web.connections import Bounds, Connections
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


def configuration(app: Any, bounds: Bounds, settings: Settings, **options: Any) -> uvicorn.Config:
    """How uvicorn serves the app within these bounds. `options` are uvicorn's own."""
    table = Connections(bounds, trusted=Proxies(settings.trusted_proxies).trust)
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


def main() -> None:
    """Serve until a signal ends it."""
    settings, parser = get_settings(), argparse.ArgumentParser(prog="python -m service.web.serve")
    parser.add_argument("--host", default=settings.host)
    parser.add_argument("--port", type=int, default=settings.port)
    parser.add_argument("--fd", type=int, help="A listening socket that this process inherited.")
    arguments = parser.parse_args()
    config = configuration(
        "service.app:process_app",
        bounds_for(raise_open_files()),
        settings,
        factory=True,
        host=arguments.host,
        port=arguments.port,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    sockets = None if arguments.fd is None else [socket.socket(fileno=arguments.fd)]
    uvicorn.Server(config).run(sockets)


if __name__ == "__main__":
    main()
