"""What one connection may send, and leave unread, before anybody knows who is there: each bound with its answer."""

import asyncio
import json
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from service.web import connections
from service.web.connections import Bounds
from tests.end_to_end.attacks import answer_to, connected, flood, neighbour
from tests.processes import wait_until
from tests.served import served

SHORT = Bounds(head_seconds=0.4, idle_seconds=0.8, body_seconds=0.4, rest_seconds=0.4, read_seconds=0.6, per_address=20)
BIG = bytes(30 * 1024**2)
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n\r\n"


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.1)


async def application(scope, receive, send):
    """Reads the body, says how long it was; `/early` answers before it reads, `/big` with 30 MB, `/later` waits,
    `/head` waits between head and body."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    size, body = 0, BIG
    if scope["path"] != "/early":
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
    if scope["path"] == "/later":
        await asyncio.sleep(1.5)
    if scope["path"] != "/big":
        body = str(size).encode()
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    if scope["path"] == "/head":
        await asyncio.sleep(0.4)
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port():
    with served(application, bounds=SHORT) as url:
        yield int(url.rsplit(":", 1)[1])


def status_and_code(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    said = json.loads(body)
    assert said["status"] == int(head.split()[1])
    return said["status"], said["code"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414, "uri_too_long")),
        (b"GET /?q=" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (414, "uri_too_long")),
        (b"GET /" + b"a" * 1_000_000, (414, "uri_too_long")),
        (HEAD + b"A: b\r\n" * 101 + b"\r\n", (431, "headers_too_large")),
        (HEAD + b"A: " + b"b" * 33_000 + b"\r\n\r\n", (431, "headers_too_large")),
        (HEAD + b"A: " + b"b" * 1_000_000, (431, "headers_too_large")),
        (HEAD + b"A" * 1_000_000, (431, "headers_too_large")),
        (b"\r\n" * 500_000, (431, "headers_too_large")),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 500_000, (431, "headers_too_large")),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"a" * 500_000, (431, "headers_too_large")),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 200, (431, "headers_too_large")),
        (b"nonsense\r\n\r\n", (400, "malformed_request")),
        (b"GET / HTTP/1.1\r\nHos", (408, "request_timeout")),
        (HEAD, (408, "request_timeout")),
        (b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\nabc", (408, "request_timeout")),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", (408, "request_timeout")),
    ],
    ids=range(16),
)
def test_what_is_too_long_or_too_late_is_told_so_and_ended(port, request_, expected):
    started = time.monotonic()
    assert status_and_code(answer_to(port, request_, timeout=10)) == expected
    assert time.monotonic() - started < 5


def test_a_byte_now_and_then_does_not_keep_a_request_alive(port):
    drops = [b"GET /"] + [b"a"] * 20
    assert status_and_code(answer_to(port, *drops, pause=0.1)) == (408, "request_timeout")
    drops = [b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n"] + [b"a"] * 20
    assert status_and_code(answer_to(port, *drops, pause=0.1)) == (408, "request_timeout")


def test_who_says_nothing_and_who_is_idle_is_let_go(port):
    started = time.monotonic()
    assert answer_to(port) == b""
    assert answer_to(port, HEAD + b"\r\n").endswith(b"\r\n\r\n0")
    assert 1.0 < time.monotonic() - started < 5


def test_requests_up_to_the_bounds_are_answered(port):
    longest = b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 98
    assert answer_to(port, longest + CLOSE).startswith(b"HTTP/1.1 200 OK")
    pieces = [b"POST / HTTP/1.1\r\nContent-Length: 4000\r\nConnection: close\r\n\r\n", *[b"a" * 400] * 10]
    assert answer_to(port, *pieces, pause=0.1).endswith(b"\r\n\r\n4000")
    chunks = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + b"1\r\na\r\n" * 100_000
    assert answer_to(port, chunks + b"0\r\n\r\n").endswith(b"\r\n\r\n100000")


def test_a_slow_answer_waits_for_nobodys_clock(port):
    assert answer_to(port, b"GET /later HTTP/1.1\r\nHost: x\r\n" + CLOSE).endswith(b"\r\n\r\n0")


def test_what_comes_after_an_early_answer_is_let_through_for_a_while_only(port):
    begin = b"POST /early HTTP/1.1\r\nContent-Length: 900000000000\r\n\r\n"
    assert flood(port, begin, b"a" * 65536, 10**9) < 200_000_000
    assert answer_to(port, begin, *[b"a"] * 20, pause=0.1).endswith(b"\r\n\r\n0")


def test_requests_sent_ahead_are_answered_in_order_up_to_a_bound(port):
    few = b"".join(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (n, b"a" * n) for n in range(10))
    answers = answer_to(port, few + HEAD + CLOSE)
    assert [each.partition(b"\r\n\r\n")[2] for each in answers.split(b"HTTP/1.1 200 OK")[1:]] == [
        *(str(n).encode() for n in range(10)),
        b"0",
    ]
    assert flood(port, b"", (HEAD + b"\r\n") * 1000, 50_000_000) < 5_000_000


def test_an_upgrade_that_nothing_here_speaks_is_answered_as_any_request(port):
    upgrade = HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert answer_to(port, upgrade).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_waits_for_100_continue_is_told_to_send_its_body(port):
    with connected(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n" + CLOSE)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert b"".join(iter(lambda: client.recv(1000), b"")).endswith(b"\r\n\r\n4")


def test_half_sent_requests_give_way_to_whoever_asks(port):
    with ExitStack() as opened, neighbour(port, path="/") as other:
        for _ in range(100):
            half = opened.enter_context(connected(port))
            with suppress(OSError):
                half.sendall(b"GET / HTTP/1.1\r\nHost")
        wait_until(lambda: len(other.waits) > 5)
    assert other.errors == []


def test_when_all_connections_of_an_address_are_at_work_one_more_is_told_so(port):
    with ExitStack() as opened:
        busy = [opened.enter_context(connected(port)) for _ in range(20)]
        for each in busy:
            each.sendall(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        assert status_and_code(answer_to(port)) == (429, "too_many_connections")
        assert all(each.recv(1000).startswith(b"HTTP/1.1 200 OK") for each in busy)
        assert answer_to(port, HEAD + CLOSE).startswith(b"HTTP/1.1 200 OK")


def test_a_trusted_proxy_may_have_more_connections_but_not_more_than_all():
    bounds = Bounds(per_address=2, connections=5)
    with served(application, bounds=bounds, trusted_proxies="127.0.0.0/8") as url, ExitStack() as opened:
        port = int(url.rsplit(":", 1)[1])
        for _ in range(5):
            opened.enter_context(connected(port)).sendall(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        assert status_and_code(answer_to(port)) == (503, "busy")


def unread(port: int) -> socket.socket:
    """A client that asks for 30 MB and reads nothing of it."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    opened.connect(("127.0.0.1", port))
    opened.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    return opened


def received(opened: socket.socket, wanted: int = len(BIG)) -> int:
    """How many bytes still come, until there are more than are wanted."""
    size = 0
    with suppress(ConnectionError):
        while size <= wanted and (data := opened.recv(1 << 20)):
            size += len(data)
    return size


def test_an_answer_that_nobody_reads_is_let_go(port):
    with unread(port) as opened:
        time.sleep(2)
        assert received(opened) < len(BIG)


def test_a_large_answer_arrives_whole_at_whoever_reads_it_slowly():
    with served(application, bounds=Bounds(read_seconds=1.0)) as url, connected(int(url.rsplit(":", 1)[1])) as opened:
        opened.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        size = 0
        for _ in range(25):
            size += len(opened.recv(20_000))
            time.sleep(0.1)
        assert size + received(opened, len(BIG) - size) > len(BIG)


def test_unread_answers_take_no_more_memory_in_all_than_their_bound():
    bounds = Bounds(unsent_bytes=2 * len(BIG))
    with served(application, bounds=bounds) as url, ExitStack() as opened:
        port = int(url.rsplit(":", 1)[1])
        first = [opened.enter_context(unread(port)) for _ in range(2)]
        time.sleep(0.5)
        last = opened.enter_context(unread(port))
        time.sleep(0.5)
        assert sorted(received(each) > len(BIG) for each in first) == [False, True]
        assert received(last) > len(BIG)


def test_an_answer_leaves_in_one_piece_but_a_head_does_not_wait_for_a_late_body(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        for _ in range(20):
            client.sendall(HEAD + b"\r\n")
            assert client.recv(10_000).endswith(b"\r\n\r\n0")
        client.sendall(HEAD.replace(b"/", b"/head", 1) + b"\r\n")
        assert client.recv(10_000).endswith(b"\r\n\r\n")
        assert client.recv(10_000) == b"0"
