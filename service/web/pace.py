"""Whether bytes move fast enough: a minimum in each stretch of time."""

import asyncio
import sys
from dataclasses import dataclass
from fcntl import ioctl
from termios import TIOCOUTQ


@dataclass
class Pace:
    """Counts bytes from `since` on, for as long as a stretch lasts."""

    seconds: float
    bytes_per_second: int
    since: float = 0.0
    moved: int = 0

    def begin(self, now: float) -> None:
        """A new stretch."""
        self.since, self.moved = now, 0

    def is_behind(self, now: float) -> bool:
        """Whether too little has moved so far."""
        return self.moved < self.bytes_per_second * (now - self.since)

    def has_failed(self, now: float) -> bool:
        """Whether a stretch is over in which too little moved; then the next begins."""
        if now - self.since < self.seconds:
            return False
        behind = self.is_behind(now)
        self.begin(now)
        return behind


@dataclass
class Reader:
    """A client that has answers to read; `written`: bytes of them that went to its connection."""

    pace: Pace
    written: int = 0
    progress_at: float = 0.0  # when it last read something, or had nothing to read
    _read: int | None = None  # bytes read by the last look, while some waited

    def is_late(self, transport: asyncio.Transport, now: float) -> bool:
        """Whether an answer has waited through a whole stretch in which hardly any of it was read. Ask now and then."""
        waiting = transport.get_write_buffer_size()
        if not waiting:
            self._read, self.progress_at = None, now
            return False
        read = self.written - waiting - _in_kernel(transport)
        if self._read is None:
            self.pace.begin(now)
        elif read > self._read:
            self.pace.moved += read - self._read
            self.progress_at = now
        self._read = read
        return self.pace.has_failed(now)


def _in_kernel(transport: asyncio.Transport) -> int:
    """Bytes that the client has not acknowledged: the kernel may hold megabytes, and takes more in large steps only."""
    try:
        return int.from_bytes(ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0
