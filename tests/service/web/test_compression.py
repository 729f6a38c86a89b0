"""Pages and long JSON come compressed to those who can read it; all other answers come as they are."""

import gzip

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from service.web.compression import Compression

WORDS = "heart rate " * 2_000
ACCEPTED = {"Accept-Encoding": "gzip, deflate, br"}
ANSWERS = {
    "/page": lambda: HTMLResponse(WORDS),
    "/list": lambda: JSONResponse({"words": WORDS}),
    "/long": lambda: JSONResponse({"words": 100 * WORDS}),
    "/short": lambda: JSONResponse({"words": "few"}),
    "/picture": lambda: Response(WORDS.encode(), media_type="image/png"),
    "/events": lambda: StreamingResponse(iter(["data: 1\n\n"] * 1_000), media_type="text/event-stream"),
    "/pieces": lambda: StreamingResponse(iter([WORDS, WORDS]), media_type="text/html"),
    "/encoded": lambda: HTMLResponse(gzip.compress(WORDS.encode()), headers={"Content-Encoding": "gzip"}),
}


def answer(request):
    return ANSWERS[request.url.path]()


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=[Route(path, answer, methods=["GET", "POST"]) for path in ANSWERS])
    app.add_middleware(Compression)
    return TestClient(app)


def sent(client, path, headers=ACCEPTED, method="GET"):
    """The headers and the bytes as they were sent."""
    with client.stream(method, path, headers=headers) as response:
        return response.headers, b"".join(response.iter_raw())


@pytest.mark.parametrize("path", ["/page", "/list", "/long"])
def test_a_page_and_long_json_are_compressed_and_hold_the_same(client, path):
    headers, body = sent(client, path)
    assert (headers["content-encoding"], headers["content-length"]) == ("gzip", str(len(body)))
    assert headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(body) == ANSWERS[path]().body
    assert len(body) < len(ANSWERS[path]().body) / 10


@pytest.mark.parametrize("accepted", ["", "identity", "br", "gzip;q=0", "gzip; q=0.0, br"])
def test_who_cannot_read_gzip_gets_it_plain_and_caches_know(client, accepted):
    headers, body = sent(client, "/page", {"Accept-Encoding": accepted})
    assert "content-encoding" not in headers
    assert headers["vary"] == "Accept-Encoding"
    assert body.decode() == WORDS


@pytest.mark.parametrize("accepted", ["gzip", "GZIP", "*", "br;q=1.0, gzip;q=0.5"])
def test_gzip_may_be_asked_for_in_every_way(client, accepted):
    assert sent(client, "/page", {"Accept-Encoding": accepted})[0]["content-encoding"] == "gzip"


@pytest.mark.parametrize("path", ["/short", "/picture", "/events", "/pieces"])
def test_short_answers_pictures_streams_and_answers_in_pieces_come_as_they_are(client, path):
    headers, _ = sent(client, path)
    assert "content-encoding" not in headers


def test_an_answer_to_post_is_not_compressed(client):
    assert "content-encoding" not in sent(client, "/list", method="POST")[0]


def test_what_is_compressed_already_is_not_compressed_again(client):
    _, body = sent(client, "/encoded")
    assert gzip.decompress(body).decode() == WORDS
