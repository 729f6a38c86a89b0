"""An application behind a real server in this process: what a test client cannot show, answers that go on."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from service.settings import Settings
from service.web.connections import Bounds
from service.web.serve import configuration
from tests.servers import free_port

START_SECONDS = 30.0


@contextmanager
def served(app: ASGIApp, port: int | None = None, bounds: Bounds | None = None, **settings: str) -> Iterator[str]:
    """The URL at which it answers: at a free port unless one is named."""
    # its logging is the process's, which other tests look at: left as it is
    options = {"port": port or free_port(), "log_config": None, "timeout_graceful_shutdown": 1}
    config = configuration(app, bounds or Bounds(), Settings(**settings), **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert thread.is_alive(), "the server has ended"
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    yield f"http://127.0.0.1:{config.port}"
    server.should_exit = True
    thread.join()
