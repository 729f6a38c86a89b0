"""Few places, many who want one: accounts take turns."""

import asyncio

import pytest

from service.errors import Unavailable
from service.web.turns import Turns


def test_an_account_that_asks_once_is_next_however_many_another_asks_for():
    order: list[str] = []

    async def work(turns: Turns, account: str) -> None:
        async with turns.of(account):
            order.append(account)
            await asyncio.sleep(0)

    async def ask() -> None:
        turns = Turns(2)
        many = [asyncio.create_task(work(turns, "busy")) for _ in range(20)]
        await asyncio.sleep(0)
        few = [asyncio.create_task(work(turns, f"quiet {i}")) for i in range(3)]
        await asyncio.gather(*many, *few)

    asyncio.run(ask())
    assert len(order) == 23
    assert max(order.index(f"quiet {i}") for i in range(3)) <= 8


def test_no_more_work_at_once_than_there_are_places():
    async def ask() -> int:
        turns, inside, most = Turns(3), 0, 0

        async def work(account: int) -> None:
            nonlocal inside, most
            async with turns.of(account):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001)
                inside -= 1

        await asyncio.gather(*(work(i % 4) for i in range(30)))
        return most

    assert asyncio.run(ask()) == 3


def test_too_many_waiting_of_one_account_are_refused_and_of_another_not():
    async def ask() -> None:
        turns, held = Turns(1, most_waiting=2), asyncio.Event()

        async def work(account: str) -> None:
            async with turns.of(account):
                await held.wait()

        tasks = [asyncio.create_task(work("busy")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await work("busy")
        tasks.append(asyncio.create_task(work("quiet")))
        await asyncio.sleep(0)
        held.set()
        await asyncio.gather(*tasks)

    asyncio.run(ask())


def test_who_has_gone_keeps_no_place():
    async def ask() -> None:
        turns, held = Turns(1), asyncio.Event()

        async def work() -> None:
            async with turns.of("one"):
                await held.wait()

        tasks = [asyncio.create_task(work()) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[0].cancel()
        await asyncio.sleep(0)
        tasks[2].cancel()  # it may have been given the place just now
        held.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(1), turns.of("two"):
            pass

    asyncio.run(ask())


def test_an_account_never_holds_more_places_than_one_may_and_the_others_go_past_it():
    async def ask() -> tuple[int, list[str]]:
        turns, held, begun = Turns(4, per_account=2), asyncio.Event(), list[str]()

        async def work(account: str) -> None:
            async with turns.of(account):
                begun.append(account)
                await held.wait()

        tasks = [asyncio.create_task(work("busy")) for _ in range(10)]
        await asyncio.sleep(0)
        first = len(begun)
        tasks += [asyncio.create_task(work(f"quiet {number}")) for number in range(2)]
        await asyncio.sleep(0)
        before = begun.copy()
        held.set()
        await asyncio.gather(*tasks)
        assert len(begun) == 12
        return first, before

    first, before = asyncio.run(ask())
    assert first == 2
    assert before == ["busy", "busy", "quiet 0", "quiet 1"]
