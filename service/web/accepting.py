"""The parent of the API's processes accepts all connections and passes each to the process that has fewest.

It is idle, so it accepts at once what a busy process would leave waiting. A pair of Unix sockets joins it with each
process; every byte in it carries a connection.
"""

import asyncio
import select
import socket
import time
from contextlib import suppress
from signal import SIGTERM, raise_signal

import structlog
import uvicorn

from service.web.processes import NOT_SERVING, Processes

BACKLOG = 2048
IN_TRANSIT = 128  # connections that one process has not yet taken, at most; the kernel holds 278 (Linux)
AT_ONCE = 256  # before the caller has its turn again
FULL_SECONDS = 0.01  # until processes have taken some
PAUSE_SECONDS = 1.0  # after an error, as asyncio has it

log = structlog.get_logger(__name__)


class Acceptor:
    """In the parent: accepts connections of a listening socket and passes them on. It never blocks on a process."""

    def __init__(self, listening: socket.socket, processes: Processes) -> None:
        listening.listen(BACKLOG)
        listening.setblocking(False)
        self._listening, self._processes = listening, processes
        self._ends: dict[int, socket.socket] = {}  # by process; the one that was last given a connection is last
        self._sent = [0] * processes.count

    def join(self, number: int) -> socket.socket:
        """The end of a new pair for the process of that number, whose predecessor, if there was one, is dead."""
        self._leave(number)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._ends[number], self._sent[number] = ours, 0
        return theirs

    def accept(self, seconds: float) -> None:
        """Wait so long at most for connections, and pass on those that wait then."""
        if not self._takers():
            time.sleep(min(FULL_SECONDS, seconds))
            return
        select.select([self._listening], [], [], seconds)
        for _ in range(AT_ONCE):
            if not self._takers():
                return
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:  # the client has gone
                continue
            except OSError as error:
                log.error("connections are not accepted", reason=str(error))
                time.sleep(PAUSE_SECONDS)
                return
            with connection:
                self._pass_on(connection)

    def close(self) -> None:
        """Accept no more, and let the processes know that nothing follows."""
        self._listening.close()
        for number in list(self._ends):
            self._leave(number)

    def _takers(self) -> list[int]:
        """The processes that can take a connection, the least loaded first; of equals the longest idle."""
        loads = {}
        for number in self._ends:
            opened = self._processes.open[number]
            in_transit = self._sent[number] - self._processes.entered[number]
            if opened != NOT_SERVING and in_transit < IN_TRANSIT:
                loads[number] = opened + in_transit
        return sorted(loads, key=loads.__getitem__)

    def _pass_on(self, connection: socket.socket) -> None:
        reason = ""
        for number in self._takers():
            try:
                socket.send_fds(self._ends[number], [b"\0"], [connection.fileno()])
            except BrokenPipeError:  # it is ending
                self._leave(number)
            except OSError as error:
                reason = str(error)
            else:
                self._sent[number] += 1
                self._ends[number] = self._ends.pop(number)
                return
        log.error("a connection is closed, as no process takes it", reason=reason)

    def _leave(self, number: int) -> None:
        if number in self._ends:
            self._ends.pop(number).close()


class PassedServer(uvicorn.Server):
    """uvicorn as one of the API's processes: it serves the connections that the parent passes to it."""

    def __init__(self, config: uvicorn.Config, processes: Processes, end: socket.socket) -> None:
        """`end`: this process's end of the pair."""
        super().__init__(config)
        self._processes, self._end = processes, end
        self._opening: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections."""
        await super().startup(sockets=[])
        asyncio.get_running_loop().add_reader(self._end, self._take)
        self._processes.open[self._processes.own] = 0

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what is in transit, then no more, and end."""
        asyncio.get_running_loop().remove_reader(self._end)
        with suppress(OSError):  # the parent has closed its end
            self._end.shutdown(socket.SHUT_RD)  # it can send no more
        self._take()
        await asyncio.gather(*self._opening)
        self._end.close()
        await super().shutdown(sockets)

    def _take(self) -> None:
        """Take all connections that wait."""
        while True:
            try:
                byte, files, _, _ = socket.recv_fds(self._end, 1, 1)
            except BlockingIOError:
                return
            if not byte:  # the parent has closed its end
                asyncio.get_running_loop().remove_reader(self._end)
                if not self.should_exit:
                    raise_signal(SIGTERM)
                return
            if files:
                task = asyncio.create_task(self._open(socket.socket(fileno=files[0])))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
            else:
                self._lose("too many open files")

    async def _open(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            connection.set_inheritable(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError as error:
            connection.close()
            self._lose(str(error))

    def _lose(self, reason: str) -> None:
        self._processes.entered[self._processes.own] += 1
        log.error("a connection is lost", reason=reason)

    def _protocol(self) -> asyncio.Protocol:
        make = self.config.http_protocol_class
        made: asyncio.Protocol = make(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made
