"""A request's body on its way to disk, whole or not at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from service.errors import FieldError, RequestTimeout, Unavailable, Unprocessable
from service.registry.artifacts import ArtifactStore, hold
from service.registry.faults import NO_SPACE
from service.web.body import too_large

BUFFER_BYTES = 1 << 20
MAX_SECONDS = 6 * 3600.0  # 2 GB in 6 h are 100 kB/s
OnSize = Callable[[int], Awaitable[None]]


async def taken(size: int) -> None:
    """Count nothing."""


class Upload:
    """A body on its way to disk. Leave the context without `adopt` and nothing stays behind."""

    def __init__(self, store: ArtifactStore, account_id: UUID, limit: int, disk: CapacityLimiter) -> None:
        self._store, self._account_id, self._limit, self._disk = store, account_id, limit, disk
        self._size = 0
        self._path: Path | None = None
        self._file: IO[bytes] | None = None

    async def __aenter__(self) -> "Upload":
        await to_thread.run_sync(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._discard()  # no thread: also when the request was cancelled

    async def receive(self, chunks: AsyncIterator[bytes], on_size: OnSize = taken) -> None:
        """Write the body; `on_size` is told how many bytes there are before they are written.

        Raises TooLarge, Unprocessable when it is empty, RequestTimeout, Unavailable when the disk is full.
        """
        buffer = bytearray()
        try:
            async with asyncio.timeout(MAX_SECONDS):
                async for chunk in chunks:
                    self._size += len(chunk)
                    if self._size > self._limit:
                        raise too_large(self._limit)
                    buffer += chunk
                    if len(buffer) >= BUFFER_BYTES:
                        await on_size(self._size)
                        await to_thread.run_sync(self._write, bytes(buffer), limiter=self._disk)
                        buffer.clear()
        except TimeoutError as error:
            detail = f"The upload took more than {MAX_SECONDS / 3600:g} h; send it in parts."
            raise RequestTimeout("upload_too_slow", detail) from error
        await on_size(self._size)
        if self._size == 0:
            message = "is empty; send the file's bytes"
            raise Unprocessable("empty_upload", "The upload is empty.", [FieldError("", message)])
        await to_thread.run_sync(self._write, bytes(buffer), limiter=self._disk)

    async def adopt(self) -> tuple[str, int]:
        """Make it a stored file; its digest and size in bytes."""
        return await to_thread.run_sync(self._adopt, limiter=self._disk)

    def _open(self) -> None:
        with storage_errors():
            self._path = self._store.temporary(self._account_id)
            self._file = self._path.open("wb")
            hold(self._file)

    def _write(self, data: bytes) -> None:
        with storage_errors():
            assert self._file is not None
            self._file.write(data)

    def _adopt(self) -> tuple[str, int]:
        with storage_errors():
            assert self._file is not None
            assert self._path is not None
            self._file.close()
            return self._store.adopt(self._account_id, self._path)

    def _discard(self) -> None:
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


@contextmanager
def storage_errors() -> Iterator[None]:
    """A full disk is not the request's fault: Unavailable, so that clients retry."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        detail = "The disk is full; nothing was stored."
        raise Unavailable("storage_full", detail, retry_after=60) from error
