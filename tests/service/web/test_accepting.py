"""How the parent of the API's processes passes connections on. Here the test takes the part of each process."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from service.web.accepting import Acceptor
from service.web.processes import Processes

MANY = 600  # more than all processes together may leave waiting


class Taker:
    """A process that serves."""

    def __init__(self, processes: Processes, number: int, end: socket.socket, at_end: ExitStack) -> None:
        self.processes, self.number, self.end, self.at_end = processes, number, end, at_end
        processes.open[number] = 0

    def take(self) -> int:
        """Take all connections that wait for it; how many they are."""
        count = 0
        while True:
            try:
                byte, files, _, _ = socket.recv_fds(self.end, 1, 1)
            except BlockingIOError:
                return count
            if not byte:
                return count
            count += 1
            self.at_end.enter_context(socket.socket(fileno=files[0]))
            self.processes.entered[self.number] += 1
            self.processes.open[self.number] += 1


class Parent:
    """Two processes, and clients."""

    def __init__(self, at_end: ExitStack) -> None:
        self.processes, self.at_end = Processes(2), at_end
        self.listening = at_end.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.acceptor = Acceptor(self.listening, self.processes)
        at_end.callback(self.acceptor.close)
        self.takers = [self.join(number) for number in range(2)]

    def join(self, number: int) -> Taker:
        return Taker(self.processes, number, self.at_end.enter_context(self.acceptor.join(number)), self.at_end)

    def connect(self, count: int) -> list[socket.socket]:
        """So many clients, whose connections wait to be accepted."""
        address = self.listening.getsockname()
        return [self.at_end.enter_context(socket.create_connection(address, timeout=5)) for _ in range(count)]

    def take(self) -> list[int]:
        """How many connections each process takes."""
        return [taker.take() for taker in self.takers]


@pytest.fixture
def parent() -> Iterator[Parent]:
    with ExitStack() as at_end:
        yield Parent(at_end)


def test_connections_opened_at_once_are_passed_on_before_any_process_takes_one(parent):
    parent.connect(64)
    parent.acceptor.accept(1.0)
    assert parent.take() == [32, 32]


def test_the_process_with_fewer_connections_is_passed_the_next_ones(parent):
    parent.processes.open[0] = 10
    parent.connect(16)
    parent.acceptor.accept(1.0)
    assert parent.take() == [3, 13]


def test_equal_processes_take_turns(parent):
    shares = []
    for _ in range(4):
        parent.connect(1)
        parent.acceptor.accept(1.0)
        shares.append(parent.take())
        parent.processes.open[0] = parent.processes.open[1] = 0
    assert shares == [[1, 0], [0, 1]] * 2


def test_a_process_that_takes_none_blocks_neither_the_parent_nor_the_other_process(parent):
    parent.connect(MANY)
    taken = 0
    for _ in range(20):
        parent.acceptor.accept(0.1)
        taken += parent.takers[1].take()
    assert taken > MANY / 2
    assert taken + parent.takers[0].take() == MANY


def test_while_no_process_can_take_more_connections_wait_to_be_accepted(parent):
    parent.connect(MANY)
    for _ in range(10):
        parent.acceptor.accept(0.1)
    first = sum(parent.take())
    assert first < MANY
    while (taken := sum(parent.take())) or first < MANY:
        first += taken
        parent.acceptor.accept(0.1)
    assert first == MANY


def test_connections_go_to_a_process_that_has_not_ended(parent):
    parent.takers[0].end.shutdown(socket.SHUT_RD)
    parent.connect(5)
    parent.acceptor.accept(1.0)
    assert parent.takers[1].take() == 5


def test_connections_in_transit_to_a_dead_process_are_closed_and_its_successor_takes_new_ones(parent):
    clients = parent.connect(2)
    parent.acceptor.accept(1.0)
    parent.takers[0].end.close()
    parent.takers[1].take()
    parent.processes.clear(0)
    parent.takers[0] = parent.join(0)
    assert sorted(ended(client) for client in clients) == [False, True]
    parent.processes.open[1] = 10
    parent.connect(3)
    parent.acceptor.accept(1.0)
    assert parent.take() == [3, 0]


def ended(client: socket.socket) -> bool:
    client.settimeout(0.3)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_nothing_is_accepted_until_a_process_serves(parent):
    for number in range(2):
        parent.processes.clear(number)
    parent.connect(1)
    parent.acceptor.accept(0.0)
    assert parent.take() == [0, 0]
    parent.processes.open[1] = 0
    parent.acceptor.accept(1.0)
    assert parent.take() == [0, 1]


def test_a_listening_socket_that_gives_errors_does_not_end_the_parent(parent):
    parent.listening.shutdown(socket.SHUT_RDWR)
    parent.acceptor.accept(0.1)


def test_the_end_of_accepting_is_seen_by_every_process_after_what_is_in_transit(parent):
    parent.connect(2)
    parent.acceptor.accept(1.0)
    parent.acceptor.close()
    for taker in parent.takers:
        assert taker.take() == 1
        assert taker.end.recv(1) == b""
