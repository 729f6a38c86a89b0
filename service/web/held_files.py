"""Static files in memory: a file from the disk takes a thread for every 64 kB."""

from email.utils import formatdate
from hashlib import md5
from mimetypes import guess_type
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope


class HeldFiles(StaticFiles):
    """The files right in a folder, as they were at the start: a few megabytes, with what they are and since when."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)
        self._held = {path.name: (path.read_bytes(), _headers(path)) for path in folder.iterdir() if path.is_file()}

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file; 304 when the browser has it. Others as StaticFiles answers: 404, 405."""
        if path not in self._held or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        content, headers = self._held[path]
        response = Response(content, headers=headers)
        return (
            NotModifiedResponse(response.headers)
            if self.is_not_modified(response.headers, Headers(scope=scope))
            else response
        )


def _headers(path: Path) -> dict[str, str]:
    kind = guess_type(path.name)[0] or "application/octet-stream"
    text = "; charset=utf-8" if kind.startswith("text/") else ""
    return {
        "content-type": kind + text,
        "last-modified": formatdate(path.stat().st_mtime, usegmt=True),
        "etag": f'"{md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"',
    }
