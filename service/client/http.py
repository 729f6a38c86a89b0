"""Requests to our own API: errors in its own words, retries of idempotent calls, files and live streams."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from uuid import uuid4

import httpx2

TRIES = 4
FIRST_PAUSE_SECONDS = 0.2  # before the second try; twice as long before each later one
LONGEST_PAUSE_SECONDS = 5.0
RESTART_SECONDS = 60.0  # how long a live stream waits for an API that restarts
SILENCE_SECONDS = 60.0  # a live stream says something every 15 s
Json = dict[str, Any]


class RequestFailed(Exception):
    """The API refused, or does not answer; the text is its own sentence, with the fields it names.

    `status` and `code` are the answer's (RFC 9457), None where there was none.
    """

    def __init__(self, sentence: str, status: int | None = None, code: str | None = None) -> None:
        super().__init__(sentence)
        self.status, self.code = status, code


class NoAnswer(RequestFailed):
    """Nothing answers at the API's address."""


class Http:
    """Calls one API with one key."""

    def __init__(self, url: str, key: str) -> None:
        # trust_env off: a proxy of this machine must not come between it and its own service
        self._http = httpx2.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60.0, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **query: Any) -> Json:
        """GET, as JSON. Raises RequestFailed."""
        return dict(self._ask("GET", path, query).json())

    def get_bytes(self, path: str, **query: Any) -> bytes:
        """GET, as it is. Raises RequestFailed."""
        return self._ask("GET", path, query).content

    def post(self, path: str, body: Json) -> Json:
        """POST a JSON body, once. Raises RequestFailed."""
        return dict(self._ask("POST", path, body=body, tries=1).json())

    def ask(self, path: str, body: Json) -> Json:
        """POST a question, which changes nothing. Raises RequestFailed."""
        return dict(self._ask("POST", path, body=body).json())

    def create(self, path: str, body: Json | None = None) -> Json:
        """POST with its own idempotency key, so that a retry makes one thing.

        Raises RequestFailed.
        """
        return dict(self._ask("POST", path, body=body, headers={"Idempotency-Key": uuid4().hex}).json())

    def delete(self, path: str) -> None:
        """DELETE. Raises RequestFailed."""
        self._ask("DELETE", path, tries=1)

    def send_file(self, path: str, file: Path, on_sent: Callable[[int], None], query: Json) -> Json:
        """POST a file as it is; `on_sent` is told how many bytes have gone. Raises RequestFailed."""
        size = {"Content-Length": str(file.stat().st_size)}  # a file that is too large is refused before it is sent
        with _sentences(), file.open("rb") as content:
            sent = self._http.post(path, params=_given(query), content=_chunks(content, on_sent), headers=size)
            return dict(_checked(sent).json())

    def pages(self, path: str, **query: Any) -> Iterator[Json]:
        """Everything that a list holds, page by page. Raises RequestFailed."""
        cursor: str | None = None
        while True:
            page = self.get(path, **query, cursor=cursor)
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def stream(self, path: str, after: int) -> Iterator[tuple[int | None, str, Json]]:
        """Number, name and content of each message after number `after`, until the stream ends.

        Where the connection breaks it goes on behind the last message. Raises RequestFailed.
        """
        heard = time.monotonic()
        while True:
            try:
                with _sentences(), self._open(path, after) as response:
                    for number, name, content in _messages(response.iter_lines()):
                        after = after if number is None else number
                        yield number, name, content
                        heard = time.monotonic()
                    if response.status_code == 204:
                        return
            except NoAnswer:
                if time.monotonic() - heard > RESTART_SECONDS:
                    raise
            time.sleep(2 * FIRST_PAUSE_SECONDS)

    @contextmanager
    def _open(self, path: str, after: int) -> Iterator[httpx2.Response]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with self._http.stream("GET", path, headers=headers, timeout=SILENCE_SECONDS) as response:
            if not response.is_success:
                response.read()
            yield _checked(response)

    def _ask(
        self,
        method: str,
        path: str,
        query: Json | None = None,
        body: Json | None = None,
        headers: dict[str, str] | None = None,
        tries: int = TRIES,
    ) -> httpx2.Response:
        for failed in range(1, tries + 1):
            try:
                with _sentences():
                    response = self._http.request(method, path, params=_given(query or {}), json=body, headers=headers)
                if response.status_code != 503 or failed == tries:
                    return _checked(response)
                time.sleep(_pause(failed, response.headers.get("retry-after")))
            except NoAnswer:
                if failed == tries:
                    raise
                time.sleep(_pause(failed))
        raise AssertionError("there is at least one try")


def _pause(failures: int, wanted: str | None = None) -> float:
    seconds = float(wanted) if wanted and wanted.isdigit() else FIRST_PAUSE_SECONDS * 2 ** (failures - 1)
    return min(seconds, LONGEST_PAUSE_SECONDS)


def _given(query: Json) -> Json:
    return {name: value for name, value in query.items() if value is not None}


def _messages(lines: Iterator[str]) -> Iterator[tuple[int | None, str, Json]]:
    """Server-sent events; comments keep the connection and say nothing."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
            continue
        if "data" in fields:
            number = int(fields["id"]) if "id" in fields else None
            yield number, fields.get("event", "message"), json.loads(fields["data"])
        fields = {}


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


def _checked(response: httpx2.Response) -> httpx2.Response:
    """The response, or RequestFailed with the problem's detail and the fields it names."""
    if response.is_success:
        return response
    try:
        problem = dict(response.json())
    except ValueError:
        sentence = f"HTTP {response.status_code}: {response.text[:300]}"
        raise RequestFailed(sentence, response.status_code) from None
    fields = [f"{error['pointer']}: {error['message']}" for error in problem.get("errors", [])]
    sentence = "\n  ".join([str(problem.get("detail", problem)), *fields])
    raise RequestFailed(sentence, response.status_code, problem.get("code"))
