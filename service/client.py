"""A small client of our own HTTP API: says the API's sentence when something is refused."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import httpx2

POLL_SECONDS = 0.3
TERMINAL = ("succeeded", "failed", "cancelled")
Json = dict[str, Any]


class RequestFailed(Exception):
    """The API refused, or does not answer; the text is its own sentence."""


class NoAnswer(RequestFailed):
    """Nothing answers at the API's address."""


class JobFailed(RequestFailed):
    """A job ended without success."""


class Client:
    """Calls one API with one key."""

    def __init__(self, url: str, key: str) -> None:
        # trust_env off: a proxy of this machine must not come between it and its own service
        self._http = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60.0, trust_env=False
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Json:
        """GET, as JSON. Raises RequestFailed."""
        with _sentences():
            return _answer(self._http.get(path, params=query))

    def post(self, path: str, body: Json) -> Json:
        """POST a JSON body. Raises RequestFailed."""
        with _sentences():
            return _answer(self._http.post(path, json=body))

    def upload(self, file: Path, on_sent: Callable[[int], None] = lambda _: None, **query: Any) -> Json:
        """Stream a file to POST /datasets; `on_sent` is told how many bytes have gone. Raises RequestFailed."""
        size = {"Content-Length": str(file.stat().st_size)}  # a file that is too large is refused before it is sent
        with _sentences(), file.open("rb") as content:
            return _answer(self._http.post("/datasets", params=query, content=_chunks(content, on_sent), headers=size))

    def wait(self, job_id: str, on_progress: Callable[[Json], None] = lambda _: None) -> Json:
        """Ask until the job has ended; `on_progress` sees each answer. Raises JobFailed unless it succeeded."""
        while True:
            job = self.get(f"/jobs/{job_id}")
            on_progress(job)
            if job["state"] == "succeeded":
                return job
            if job["state"] in TERMINAL:
                why = f": {job['error']['message']}" if job["error"] else ""
                raise JobFailed(f"The {job['stage']} job {job['state']}{why}")
            time.sleep(POLL_SECONDS)


def _chunks(file: BinaryIO, on_sent: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    while chunk := file.read(1 << 20):
        yield chunk
        sent += len(chunk)
        on_sent(sent)


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except httpx2.TransportError as error:
        raise NoAnswer(f"The API does not answer: {error}") from error


def _answer(response: httpx2.Response) -> Json:
    """The body, or RequestFailed with the problem's detail and the fields it names."""
    if response.is_success:
        return dict(response.json())
    try:
        problem = dict(response.json())
    except ValueError:
        raise RequestFailed(f"HTTP {response.status_code}: {response.text[:300]}") from None
    fields = [f"{error['pointer']}: {error['message']}" for error in problem.get("errors", [])]
    raise RequestFailed("\n  ".join([str(problem.get("detail", problem)), *fields]))
