"""Who answers a prediction: remembered, seen anew within a second, and known while the database is away."""

import asyncio
import gc
import threading
import weakref
from uuid import uuid4

import pytest
from sqlalchemy import event
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import NotFound
from service.predict import lookup as module
from service.predict.lookup import Lookup
from service.registry import removal, subjects
from tests.builders import crown, on_sqlite

pytestmark = on_sqlite
ONE_LOOK = 2  # statements: BEGIN and the query


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def served(database, make_dataset, make_version):
    """A person with two versions, the first one their champion."""
    dataset = make_dataset()
    versions = [make_version(dataset, seed=seed) for seed in (1, 2)]
    crown(database, dataset.subject_id, versions[0])
    return dataset, versions


@pytest.fixture
def wanted(served):
    return served[0].account_id, "me", None


def run(coroutine):
    return asyncio.run(coroutine)


def test_most_requests_need_no_query(database, clock, wanted, count_queries):
    lookup = Lookup(database, clock)

    async def ask(times: int) -> None:
        for _ in range(times):
            await lookup.find(*wanted)

    assert count_queries(lambda: run(ask(100))) == ONE_LOOK
    clock.now += module.FRESH_SECONDS + 0.01
    assert count_queries(lambda: run(ask(100))) == ONE_LOOK


def test_a_new_champion_is_seen_within_a_second(database, clock, served, wanted):
    lookup, (dataset, versions) = Lookup(database, clock), served

    async def answering() -> object:
        return (await lookup.find(*wanted)).version.id

    assert run(answering()) == versions[0].id
    crown(database, dataset.subject_id, versions[1])
    clock.now += 1.0 - module.PATIENCE_SECONDS
    assert run(answering()) == versions[1].id


def test_what_this_process_changed_is_seen_at_once(database, clock, served, wanted):
    lookup, (dataset, versions) = Lookup(database, clock), served

    async def answering() -> object:
        return (await lookup.find(*wanted)).version.id

    remembered = weakref.ref(run(lookup.find(*wanted)))
    crown(database, dataset.subject_id, versions[1])
    lookup.changed(uuid4())
    assert run(answering()) == versions[0].id
    lookup.changed(dataset.account_id)
    gc.collect()
    assert remembered() is None  # what was deleted stays in no memory
    assert run(answering()) == versions[1].id


def test_requests_at_once_share_one_query(database, clock, wanted, count_queries):
    lookup = Lookup(database, clock)

    async def crowd() -> None:
        found = await asyncio.gather(*(lookup.find(*wanted) for _ in range(50)))
        assert len({id(each) for each in found}) == 1

    assert count_queries(lambda: run(crowd())) == ONE_LOOK


def test_who_is_deleted_is_not_answered_for_from_memory(database, clock, served, wanted):
    lookup = Lookup(database, clock)
    run(lookup.find(*wanted))
    with database.unit_of_work() as session:
        removal.remove_subject(session, subjects.require(session, wanted[0], "me"))
    clock.now += 1.0
    for _ in range(2):
        with pytest.raises(NotFound):
            run(lookup.find(*wanted))


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT 1", {}, Exception("the server is gone")),
        InterfaceError("SELECT 1", {}, Exception("connection already closed")),
        InternalError("SELECT 1", {}, Exception("the server takes no writes yet")),
        PoolTimeout("no connection"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_last_answer_serves_for_ten_minutes_while_the_database_is_away(database, clock, wanted, served, error):
    lookup = Lookup(database, clock)
    away = break_database(database, error)
    with pytest.raises(type(error)):
        run(lookup.find(*wanted))
    away.clear()
    before = run(lookup.find(*wanted))
    away.set()
    for _ in range(5):
        clock.now += 100.0
        assert run(lookup.find(*wanted)) is before
    clock.now += 101.0
    with pytest.raises(type(error)):
        run(lookup.find(*wanted))
    away.clear()
    assert run(lookup.find(*wanted)) is not before


def test_nobody_waits_long_for_a_database_that_hangs(database, wanted, served, monkeypatch):
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.02)
    lookup, hanging, go_on = Lookup(database), threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        if hanging.is_set():
            go_on.wait(10)

    event.listen(database.engine, "before_cursor_execute", hang)

    async def ask() -> float:
        before = await lookup.find(*wanted)
        hanging.set()
        await asyncio.sleep(0.05)
        started = asyncio.get_running_loop().time()
        found = await asyncio.gather(*(lookup.find(*wanted) for _ in range(20)))
        assert all(each is before for each in found)
        seconds = asyncio.get_running_loop().time() - started
        go_on.set()
        hanging.clear()
        await asyncio.sleep(0.1)
        assert await lookup.find(*wanted) is not before
        return seconds

    try:
        assert run(ask()) < 3 * module.PATIENCE_SECONDS
    finally:
        event.remove(database.engine, "before_cursor_execute", hang)


def test_the_least_recently_asked_for_are_forgotten(
    database, clock, wanted, make_dataset, make_version, monkeypatch, count_queries
):
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    make_version(seed=7)
    for name in ("a", "b", "c"):
        make_dataset(subject=name)
    lookup = Lookup(database, clock)

    def statements(name: str) -> int:
        return count_queries(lambda: run(lookup.find(wanted[0], name, None)))

    assert [statements(name) > 0 for name in ("a", "b", "a", "c", "a", "b")] == [True, True, False, True, False, True]


def break_database(database, error: Exception) -> threading.Event:
    """While it is set, every statement fails with this error."""
    away = threading.Event()
    away.set()

    def fail(*_: object) -> None:
        if away.is_set():
            raise error

    event.listen(database.engine, "before_cursor_execute", fail)
    return away
