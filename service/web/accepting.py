"""Takes connections from a socket that all processes of the API watch, so that each gets about as many.

asyncio's own server takes all that wait at once, so that one process would serve most kept connections alone.
"""

import asyncio
import socket
from collections.abc import Callable

import structlog
import uvicorn

from service.web.processes import Processes

TURN_SECONDS = 0.001
TURNS = 20  # that others get to take a connection first
PAUSE_SECONDS = 1.0  # after an error, as asyncio has it

log = structlog.get_logger(__name__)


class EvenServer(uvicorn.Server):
    """uvicorn as one of the processes of the API."""

    def __init__(self, config: uvicorn.Config, processes: Processes) -> None:
        super().__init__(config)
        self._processes = processes
        self._accepting: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections of these listening sockets."""
        await super().startup(sockets=[])

        def make_protocol() -> asyncio.Protocol:
            make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
            return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        for listening in sockets or ():
            listening.listen(self.config.backlog)
            listening.setblocking(False)
            self._accepting.append(asyncio.create_task(accept(listening, make_protocol, self._processes)))
        self._processes.open[self._processes.own] = 0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)


async def accept(listening: socket.socket, make_protocol: Callable[[], asyncio.Protocol], processes: Processes) -> None:
    """Take one connection at a time until cancelled; a process that has more than others waits a moment first."""
    loop = asyncio.get_running_loop()
    while True:
        await _readable(loop, listening)
        for _ in range(TURNS):
            if not _has_more(processes):
                break
            await asyncio.sleep(TURN_SECONDS)
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            continue  # another process has taken it, or the client has gone
        except OSError as error:
            log.error("connections are not taken", reason=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        connection.setblocking(False)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            await loop.connect_accepted_socket(make_protocol, connection)
        except OSError:
            connection.close()  # reset meanwhile


async def _readable(loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
    waiting = loop.create_future()
    loop.add_reader(listening, lambda: None if waiting.done() else waiting.set_result(None))
    try:
        await waiting
    finally:
        loop.remove_reader(listening)


def _has_more(processes: Processes) -> bool:
    """Whether another process has clearly fewer connections than this one: an eighth, when there are many."""
    own = processes.open[processes.own]
    return own - own // 8 > min(processes.serving, default=own)
