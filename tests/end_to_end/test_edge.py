"""`stagewise up` under strangers: each attack beside somebody who only wants an answer, and gets it at once."""

import contextlib
import http.client
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import pytest

from service.local.background import running
from tests.end_to_end.attacks import Neighbour, answer_to, connected, flood, neighbour
from tests.processes import children, command_line, memory
from tests.servers import free_port

pytestmark = pytest.mark.slow
STALL = 1.5  # s; 0.3 on an idle machine
MEMORY = 60_000_000  # more than before, while an attack goes on
HALF_SENT = 1001


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[tuple[int, int, str]]:
    """Port and process of the API, with the usual 1,024 open files, and a key."""
    with few_files(), running(tmp_path_factory.mktemp("edge")) as up:
        [api] = [pid for pid in children(up.pid) if "service.web.serve" in command_line(pid)]
        yield int(up.url.rsplit(":", 1)[1]), api, up.key


@contextmanager
def few_files() -> Iterator[None]:
    """A soft limit as shells have it; the tests themselves need more afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def unharmed(service) -> Iterator[Neighbour]:
    """Nobody waits, nobody is refused, and the memory stays, while the block attacks."""
    port, api, _ = service
    before = memory(api)
    with neighbour(port) as other:
        time.sleep(0.3)
        yield other
        assert memory(api) - before < MEMORY
    assert other.errors == []
    assert other.longest < STALL


def test_an_endless_address_stalls_nobody(service):
    with unharmed(service):
        flood(service[0], b"GET /", b"a" * 65536, 74_000_000)


@pytest.mark.parametrize(
    "piece", [b"a:b\r\n" * 13_000, b"A: " + b"b" * 65_000, b"c" * 65_000], ids=["many", "long", "one"]
)
def test_endless_headers_stall_nobody_and_take_no_memory(service, piece):
    with unharmed(service):
        flood(service[0], b"GET / HTTP/1.1\r\nHost: x\r\n", piece, 40_000_000)


def test_endless_requests_without_waiting_for_an_answer_take_no_memory(service):
    with unharmed(service):
        flood(service[0], b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2000, 20_000_000)


def test_a_thousand_half_sent_requests_refuse_nobody(service):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    with unharmed(service) as other, ExitStack() as opened:
        for _ in range(HALF_SENT):
            half = opened.enter_context(connected(service[0]))
            with contextlib.suppress(OSError):
                half.sendall(b"GET / HTTP/1.1\r\nHost")
        asked = len(other.waits)
        time.sleep(3)
        assert len(other.waits) > asked + 20


def test_a_half_sent_request_is_told_so_in_time(service):
    began = time.monotonic()
    assert answer_to(service[0], b"GET / HTTP/1.1\r\nHost").startswith(b"HTTP/1.1 408 ")
    assert 9 < time.monotonic() - began < 20


def test_wrong_keys_by_the_hundred_stall_nobody_and_lock_nobody_out(service):
    port, _, key = service
    url = f"http://127.0.0.1:{port}"
    with unharmed(service), httpx2.Client(base_url=url, trust_env=False) as guesser:
        for number in range(300):
            guesser.get("/jobs", headers={"Authorization": f"Bearer sw_{number:016x}_{'x' * 43}"})
        assert guesser.get("/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert guesser.get("/", follow_redirects=False).status_code == 303


def test_metrics_are_not_for_other_names_of_this_machine(service):
    url = f"http://127.0.0.1:{service[0]}/metrics"
    assert httpx2.get(url, trust_env=False).status_code == 200
    assert httpx2.get(url, headers={"Host": "evil.example"}, trust_env=False).status_code == 401
    assert answer_to(service[0], b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").startswith(b"HTTP/1.1 401 ")


def test_answers_on_a_kept_connection_come_without_delay(service):
    """Without TCP_NODELAY each waits for the client's acknowledgement, 40 ms; on a connection of its own it does not."""
    connection = http.client.HTTPConnection("127.0.0.1", service[0])
    headers = {"Authorization": f"Bearer {service[2]}"}

    def ask() -> float:
        began = time.perf_counter()
        connection.request("GET", "/jobs", headers=headers)
        connection.getresponse().read()
        return time.perf_counter() - began

    kept = statistics.median(ask() for _ in range(40))
    fresh = []
    for _ in range(40):
        connection.close()
        fresh.append(ask())
    connection.close()
    assert kept < statistics.median(fresh) + 0.02


def test_the_api_alone_has_the_same_bounds(tmp_path):
    variables = {**os.environ, "STAGEWISE_STATE_DIR": str(tmp_path), "STAGEWISE_PORT": str(port := free_port())}
    stagewise = [sys.executable, "-m", "service.cli"]
    subprocess.run([*stagewise, "migrate"], env=variables, check=True)
    with subprocess.Popen([*stagewise, "api"], env=variables) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert answer_to(port, b"GET /" + b"a" * 100_000).startswith(b"HTTP/1.1 414 ")
        finally:
            process.terminate()
