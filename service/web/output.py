"""Fewer system calls per answer."""

import asyncio


class Output:
    """A connection's transport that holds the head of an answer until its first bytes follow: one system call, and one
    packet, instead of two. A head that nothing follows at once leaves by itself.
    """  # fmt: skip

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""
        self.is_head = False  # what is written next

    def write(self, data: bytes) -> None:
        """Send it, or hold it if it is a head."""
        if self.is_head:
            self._head = data
            self._loop.call_soon(self._flush)
        elif self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        else:
            self._transport.write(data)

    def _flush(self) -> None:
        if self._head and not self._transport.is_closing():
            head, self._head = self._head, b""
            self._transport.write(head)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Send everything, then close."""
        self._flush()
        self._transport.close()
