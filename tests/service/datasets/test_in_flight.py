"""Uploads under way: they are counted, also before they are stored, and leave nothing when they are refused."""

import asyncio

import pytest

from service.datasets import service, upload
from service.datasets.in_flight import MAX_AT_ONCE
from service.datasets.schemas import DatasetQuery
from service.errors import Conflict, RequestTimeout, TooManyRequests
from service.registry.idempotency import Once
from service.settings import Settings
from tests.builders import files_of, on_sqlite
from tests.registry_builders import add_account

pytestmark = on_sqlite


@pytest.fixture
def settings(tmp_path):
    return Settings(
        state_dir=tmp_path,
        broker_url_setting="redis://127.0.0.1:1/0",
        max_upload_bytes=60_000_000,
        max_account_bytes=20_000_000,
    )


class Sender:
    """An account that uploads."""

    def __init__(self, app, database):
        self.services, self.account = app.state.services, add_account(database)

    async def send(self, *pieces, announced=0, key=None, until=None):
        async def chunks():
            for piece in pieces:
                yield piece
                await asyncio.sleep(0)
            if until is not None:
                await until.wait()

        def wish(sha256):
            return Once(key, sha256) if key else None

        query = DatasetQuery(subject="me")
        return await service.upload(self.services, self.account.id, query, chunks(), announced, wish, key)

    def under_way(self):
        return self.services.uploads.bytes_of(self.account.id)


@pytest.fixture
def sender(app, database):
    return Sender(app, database)


async def reached(sender, size):
    async with asyncio.timeout(10):
        while sender.under_way() < size:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("key", [None, "new"])
@pytest.mark.parametrize("announced", [0, 15_000_000])
def test_what_is_under_way_counts_before_it_is_stored(sender, store, announced, key):
    async def ask():
        held = asyncio.Event()
        first = asyncio.create_task(sender.send(b"x" * 15_000_000, announced=announced, until=held))
        await reached(sender, 15_000_000)
        with pytest.raises(TooManyRequests, match="too_many_bytes"):
            await sender.send(b"y" * 8_000_000, key=key)
        held.set()
        await first
        assert sender.under_way() == 0

    asyncio.run(ask())
    assert sum(file.stat().st_size for file in files_of(store, sender.account.id)) == 15_000_000


def test_an_upload_that_never_says_its_size_is_stopped_at_the_quota(sender, store):
    with pytest.raises(TooManyRequests, match="too_many_bytes"):
        asyncio.run(sender.send(*[b"x" * 1_000_000] * 50, key="endless"))
    assert not files_of(store, sender.account.id)
    assert sender.under_way() == 0


def test_too_many_at_once_of_one_account_are_refused_and_another_is_not(sender, app, database):
    other = Sender(app, database)
    other.account = add_account(database, "other")

    async def ask():
        held = asyncio.Event()
        tasks = [asyncio.create_task(sender.send(b"x", until=held)) for _ in range(MAX_AT_ONCE)]
        await asyncio.sleep(0.2)
        with pytest.raises(TooManyRequests, match="too_many_uploads"):
            await sender.send(b"y")
        await other.send(b"y")
        held.set()
        await asyncio.gather(*tasks)
        await sender.send(b"y")

    asyncio.run(ask())


def test_a_repeated_upload_passes_at_the_limit_and_another_file_under_its_key_stops_where_it_is_longer(sender):
    async def ask():
        first = await sender.send(b"x" * 12_000_000, key="once")
        again = await sender.send(b"x" * 12_000_000, key="once")
        assert again.id == first.id
        for announced in (0, 13_000_000):
            with pytest.raises(Conflict, match="idempotency_key_reused"):
                await sender.send(*[b"x" * 1_000_000] * 50, key="once", announced=announced)

    asyncio.run(ask())


def test_an_upload_that_takes_for_ever_is_ended(sender, monkeypatch):
    monkeypatch.setattr(upload, "MAX_SECONDS", 0.1)
    with pytest.raises(RequestTimeout):
        asyncio.run(sender.send(b"x", until=asyncio.Event()))
    assert sender.under_way() == 0
