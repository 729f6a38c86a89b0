"""Static files in memory: a file from the disk takes a thread for every 64 kB."""

import gzip
from email.utils import formatdate
from functools import partial
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from service.web.compression import accepts_gzip

FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"  # keep it, and ask each time whether it is still so


class _Held:
    """A file."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        kind = guess_type(path.name)[0] or "application/octet-stream"
        text = "; charset=utf-8" if kind.startswith("text/") else ""
        self.headers = {
            "content-type": kind + text,
            "last-modified": formatdate(path.stat().st_mtime, usegmt=True),
            "etag": f'"{sha256(self.content).hexdigest()[:32]}"',
            "vary": "Accept-Encoding",
        }
        self._shorter: bytes | None = None

    async def compressed(self) -> bytes:
        """The file as gzip, made once; a large one takes 50 ms."""
        if self._shorter is None:
            self._shorter = await to_thread.run_sync(partial(gzip.compress, self.content, mtime=0))
        return self._shorter


class HeldFiles(StaticFiles):
    """The files right in a folder, as they were at the start: a few megabytes, with what they are and since when.

    `version` is a digest of all of them. Under `version/name` a file may be kept for ever: with another content it has
    another address. Files refer to each other by relative addresses, which lead to the same version.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        self._held = {path.name: _Held(path) for path in paths}
        parts = [f"{name} {held.headers['etag']}" for name, held in self._held.items()]
        self.version = sha256("\n".join(parts).encode()).hexdigest()[:12]

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, compressed where that is accepted; 304 when the browser has it. Others as StaticFiles answers:
        404, 405.
        """  # fmt: skip
        name = path.removeprefix(f"{self.version}/")
        held = self._held.get(name)
        if held is None or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        asked = Headers(scope=scope)
        headers = {**held.headers, "cache-control": ASK_AGAIN if name == path else FOR_EVER}
        content = held.content
        if accepts_gzip(asked) and len(shorter := await held.compressed()) < len(content):
            content = shorter
            headers |= {"content-encoding": "gzip", "etag": f'{headers["etag"][:-1]}-gzip"'}
        response = Response(content, headers=headers)
        return NotModifiedResponse(response.headers) if self.is_not_modified(response.headers, asked) else response
