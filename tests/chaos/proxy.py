"""A TCP proxy whose network misbehaves on command, in a process of its own.

Usage: python -m tests.chaos.proxy LISTEN TARGET [LISTEN TARGET ...]     (ports on this machine)
Commands come as lines on standard input, `LISTEN MODE [SECONDS]`, each answered with a line; the end of the input ends it.
"""

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
MODES = ("pass", "hold", "reset", "delay", "lose")  # lose: requests arrive, their answers never do, then a reset


class Proxy:
    """One listening port in front of one server."""

    def __init__(self, target: int) -> None:
        self.target, self.mode, self.seconds = target, "pass", 0.0
        self.passing = asyncio.Event()
        self.passing.set()
        self.connections: dict[asyncio.Task, list[asyncio.StreamWriter]] = {}
        self.bereft: set[asyncio.Task] = set()  # connections that have lost an answer

    def turn(self, mode: str, seconds: float = 0.0) -> None:
        """Behave so from now on; what was held goes on, and whoever lost an answer is cut off."""
        self.mode, self.seconds = mode, seconds
        self.passing.clear() if mode == "hold" else self.passing.set()
        for connection in list(self.connections) if mode == "reset" else list(self.bereft):
            self.cut(connection)

    def cut(self, connection: asyncio.Task) -> None:
        for writer in self.connections[connection]:
            reset(writer)
        connection.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self.connections[me] = [writer]
        try:
            if self.mode == "reset":
                return reset(writer)
            await self.passing.wait()
            server, to_server = await asyncio.open_connection(HOST, self.target)
            self.connections[me].append(to_server)
            answers = asyncio.create_task(self.pump(server, writer, me))
            requests = asyncio.create_task(self.pump(reader, to_server, None))
            try:
                await asyncio.wait((answers, requests), return_when=asyncio.FIRST_COMPLETED)
            finally:
                answers.cancel()
                requests.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in self.connections.pop(me):
                each.transport.abort()
            self.bereft.discard(me)

    async def pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answered: asyncio.Task | None
    ) -> None:
        """Pass on what comes. `answered`: this is the way of the answers, of that connection."""
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                await self.passing.wait()
                if self.mode == "delay":
                    await asyncio.sleep(self.seconds)
                if self.mode == "lose" and answered:
                    self.bereft.add(answered)
                if answered in self.bereft:
                    continue
                sink.write(data)
                await sink.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()


async def main(ports: list[int]) -> None:
    proxies, servers = {}, []
    for listen, target in zip(ports[::2], ports[1::2], strict=True):
        proxies[listen] = Proxy(target)
        servers.append(await asyncio.start_server(proxies[listen].serve, HOST, listen))
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        listen, mode, *seconds = line.split()
        proxies[int(listen)].turn(mode, *map(float, seconds))
        print(mode, flush=True)


class Proxies:
    """The proxy process, seen from outside."""

    def __init__(self, ports: dict[int, int]) -> None:
        command = [sys.executable, "-m", "tests.chaos.proxy", *(str(port) for pair in ports.items() for port in pair)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout.readline() == "ready\n"

    def turn(self, port: int, mode: str, seconds: float = 0.0) -> None:
        """Let the proxy on this port behave so; return when it does."""
        assert mode in MODES
        self._process.stdin.write(f"{port} {mode} {seconds}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{mode}\n"

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
