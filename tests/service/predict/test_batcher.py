"""Predictions on the event loop and in threads: together where they wait for the same model, right for everyone, wrong
for nobody else.
"""

import asyncio
import threading

import numpy as np
import pytest

from hrmodel.prediction.predictor import Prediction, Predictor, Query
from hrmodel.workouts.workout import Workout
from service.errors import Unavailable
from service.predict import batcher as module
from service.predict.batcher import Batcher
from tests.prediction_builders import LEVEL, make_checkpoint, predict_one


def query(samples: int = 30, speed: float = 2.8, coverage: float = 0.9) -> Query:
    t = np.arange(samples) * 10.0
    return Query(workout=Workout(t=t, speed=speed + 0.3 * np.sin(t / 60)), level=LEVEL, coverage=coverage)


async def predict(batcher: Batcher, predictor: Predictor, query: Query, account: str = "one") -> Prediction:
    return await batcher.predict(account, predictor, query, predictor.prepare(query), lambda prediction: prediction)


def first(prediction) -> float:
    return float(prediction.heart_rate[0])


@pytest.fixture
def in_threads(monkeypatch) -> None:
    """Every query counts as large."""
    monkeypatch.setattr(module, "INLINE_SIZE", 0)


class Slow(Predictor):
    """Waits in a thread before the first batch, and notes how large the batches are there and on the event loop."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(make_checkpoint(seed=seed))
        self.sizes: list[int] = []  # of the batches in threads
        self.own_sizes: list[int] = []  # of those on the event loop
        self.go = threading.Event()
        self.is_broken = False

    def run(self, prepared):
        if self.is_broken:
            raise RuntimeError("the passes fail")
        if threading.current_thread().name == "predict":
            self.sizes.append(len(prepared))
            assert self.go.wait(10)
        else:
            self.own_sizes.append(len(prepared))
        return super().run(prepared)


@pytest.mark.usefixtures("in_threads")
def test_what_waits_for_one_model_is_predicted_together_and_nothing_waits_for_company():
    predictor, batcher = Slow(), Batcher(threads=1)

    async def ask() -> list[Prediction]:
        waiting = [asyncio.create_task(predict(batcher, predictor, query()))]
        while not predictor.sizes:
            await asyncio.sleep(0.001)
        waiting += [asyncio.create_task(predict(batcher, predictor, query(30 + i))) for i in range(1, 21)]
        await asyncio.sleep(0.02)
        predictor.go.set()
        return await asyncio.gather(*waiting)

    answers = [first(answer) for answer in asyncio.run(ask())]
    assert predictor.sizes == [1, 8, 8, 4]
    alone = [first(predict_one(predictor, query(30 + i).workout, level=LEVEL)) for i in range(21)]
    np.testing.assert_allclose(answers, alone, atol=1e-3)


@pytest.mark.usefixtures("in_threads")
def test_batches_are_bounded_and_models_take_turns():
    one, other, batcher = Slow(), Slow(seed=1), Batcher(threads=1)
    order: list[str] = []

    async def ask() -> None:
        async def noted(predictor: Slow, name: str) -> None:
            await predict(batcher, predictor, query())
            order.append(name)

        many = [asyncio.create_task(noted(one, "one")) for _ in range(2 * module.MAX_BATCH + 10)]
        while not one.sizes:
            await asyncio.sleep(0.001)
        single = asyncio.create_task(noted(other, "other"))
        await asyncio.sleep(0.02)
        one.go.set()
        other.go.set()
        await asyncio.gather(single, *many)

    asyncio.run(ask())
    assert max(one.sizes) <= module.MAX_BATCH
    assert order.index("other") <= 2 * module.MAX_BATCH


@pytest.mark.usefixtures("in_threads")
def test_long_workouts_that_wait_are_bounded_by_their_size(monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_SIZE", 5000)
    predictor, batcher = Slow(), Batcher(threads=1)

    async def ask() -> list[object]:
        tasks = [asyncio.create_task(predict(batcher, predictor, query(1000))) for _ in range(6)]
        await asyncio.sleep(0.05)
        predictor.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    refused = [answer for answer in asyncio.run(ask()) if isinstance(answer, Unavailable)]
    assert 1 <= len(refused) <= 3


@pytest.mark.usefixtures("in_threads")
@pytest.mark.parametrize("same_model", [True, False])
def test_accounts_take_turns_however_much_one_of_them_asks_for(same_model):
    busy, batcher = Slow(), Batcher(threads=1)
    other = busy if same_model else Slow(seed=1)
    order: list[str] = []

    async def ask() -> None:
        async def noted(predictor: Slow, account: str) -> None:
            await predict(batcher, predictor, query(), account)
            order.append(account)

        many = [asyncio.create_task(noted(busy, "busy")) for _ in range(200)]
        while not busy.sizes:
            await asyncio.sleep(0.001)
        few = [asyncio.create_task(noted(other, f"quiet {i}")) for i in range(3)]
        await asyncio.sleep(0.02)
        busy.go.set()
        other.go.set()
        await asyncio.gather(*few, *many)

    asyncio.run(ask())
    assert max(order.index(f"quiet {i}") for i in range(3)) <= (1 + 3) * module.MAX_BATCH + 3


@pytest.mark.usefixtures("in_threads")
def test_a_batch_is_bounded_in_size_and_one_that_is_larger_goes_alone(monkeypatch):
    monkeypatch.setattr(module, "MAX_BATCH_SIZE", 3000)
    predictor, batcher = Slow(), Batcher(threads=1)

    async def ask() -> None:
        tasks = [asyncio.create_task(predict(batcher, predictor, query()))]
        while not predictor.sizes:
            await asyncio.sleep(0.001)
        tasks += [asyncio.create_task(predict(batcher, predictor, query(samples))) for samples in [640] * 4 + [4000]]
        await asyncio.sleep(0.05)
        predictor.go.set()
        await asyncio.gather(*tasks)

    asyncio.run(ask())
    assert predictor.sizes == [1, 2, 2, 1]


def test_a_query_that_fails_fails_alone():
    predictor, batcher = Slow(), Batcher(threads=1)

    async def ask() -> list[object]:
        waiting = [predict(batcher, predictor, query())]
        waiting += [predict(batcher, predictor, query(coverage=c)) for c in (0.9, 7.0, 0.8)]
        tasks = [asyncio.create_task(each) for each in waiting]
        await asyncio.sleep(0.05)
        predictor.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(ask())
    assert [type(answer) for answer in answers] == [Prediction, Prediction, ValueError, Prediction]


@pytest.mark.usefixtures("in_threads")
def test_who_has_gone_is_not_predicted_for():
    predictor, batcher = Slow(), Batcher(threads=1)

    async def ask() -> None:
        tasks = [asyncio.create_task(predict(batcher, predictor, query())) for _ in range(5)]
        while not predictor.sizes:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        for task in tasks[2:]:
            task.cancel()
        await asyncio.sleep(0)
        predictor.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(answer, Prediction) for answer in answers) == 2

    asyncio.run(ask())


@pytest.mark.usefixtures("in_threads")
def test_of_one_account_too_many_waiting_are_sent_away(monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING_OF_ACCOUNT", 3)
    predictor, batcher = Slow(), Batcher(threads=1)

    async def ask() -> list[object]:
        tasks = [asyncio.create_task(predict(batcher, predictor, query()))]
        while not predictor.sizes:
            await asyncio.sleep(0.001)
        tasks += [asyncio.create_task(predict(batcher, predictor, query())) for _ in range(10)]
        await asyncio.sleep(0.02)
        tasks += [asyncio.create_task(predict(batcher, predictor, query(), "another")) for _ in range(3)]
        await asyncio.sleep(0.02)
        predictor.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(ask())
    assert all(isinstance(answer, Prediction) for answer in answers[-3:])
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert len(refused) == 7
    assert {error.code for error in refused} == {"busy"}


@pytest.mark.usefixtures("in_threads")
def test_a_thread_ends_when_nothing_comes_and_the_next_request_starts_one(monkeypatch):
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    predictor, batcher = Slow(), Batcher()
    predictor.go.set()

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "predict" and thread not in before]

    before = set(threading.enumerate())
    for _ in range(2):
        assert first(asyncio.run(predict(batcher, predictor, query()))) > 0
        for thread in threads():
            thread.join(5)
        assert threads() == []


@pytest.mark.parametrize("threads", [1, 2])
def test_fifty_people_at_once_get_their_own_answers(threads):
    people = [Predictor(make_checkpoint(seed=seed)) for seed in range(50)]
    batcher = Batcher(threads=threads)
    asked = [
        (person, query(20 + (7 * i + j) % 40, 2.0 + 0.02 * i)) for i, person in enumerate(people) for j in range(4)
    ]

    async def ask() -> list[Prediction]:
        return await asyncio.gather(*(predict(batcher, who, what) for who, what in asked))

    for (who, what), answer in zip(asked, asyncio.run(ask()), strict=True):
        np.testing.assert_allclose(answer.heart_rate, predict_one(who, what.workout, level=LEVEL).heart_rate, atol=1e-3)


@pytest.mark.usefixtures("in_threads")
def test_large_requests_that_come_at_the_same_time_are_taken_together():
    predictor, batcher = Slow(), Batcher(threads=1)
    predictor.go.set()

    async def ask() -> None:
        await asyncio.gather(*(predict(batcher, predictor, query()) for _ in range(5)))

    asyncio.run(ask())
    assert (predictor.sizes, predictor.own_sizes) == ([5], [])


def test_small_requests_that_come_at_the_same_time_share_bounded_batches_on_the_event_loop(monkeypatch):
    predictor, batcher = Slow(), Batcher(threads=1)

    async def ask(samples: int) -> list[Prediction]:
        return await asyncio.gather(*(predict(batcher, predictor, query(samples + i)) for i in range(10)))

    answers = asyncio.run(ask(30))
    assert (predictor.own_sizes, predictor.sizes) == ([8, 2], [])
    alone = [first(predict_one(predictor, query(30 + i).workout, level=LEVEL)) for i in range(10)]
    assert [first(answer) for answer in answers] == alone
    predictor.own_sizes.clear()
    monkeypatch.setattr(module, "INLINE_SIZE", 4000)
    asyncio.run(ask(500))
    assert predictor.own_sizes == [3, 3, 3, 1]


def test_between_two_batches_the_event_loop_does_other_things():
    predictor, batcher = Slow(), Batcher(threads=1)
    seen: list[int] = []

    async def ask() -> None:
        tasks = [asyncio.create_task(predict(batcher, predictor, query())) for _ in range(40)]
        while not all(task.done() for task in tasks):
            seen.append(len(predictor.own_sizes))
            await asyncio.sleep(0)

    asyncio.run(ask())
    assert set(range(6)) <= set(seen)


def test_a_large_request_in_its_thread_keeps_no_small_one_waiting():
    predictor, batcher = Slow(), Batcher(threads=1)

    async def ask() -> None:
        large = asyncio.create_task(predict(batcher, predictor, query(6000)))
        while not predictor.sizes:
            await asyncio.sleep(0.001)
        assert first(await predict(batcher, predictor, query(30))) > 0
        assert not large.done()
        predictor.go.set()
        assert first(await large) > 0

    asyncio.run(ask())
    assert (predictor.sizes, predictor.own_sizes) == ([1], [1])


def test_accounts_take_turns_on_the_event_loop():
    predictor, batcher = Slow(), Batcher(threads=1)
    order: list[str] = []

    async def ask() -> None:
        async def noted(account: str) -> None:
            await predict(batcher, predictor, query(), account)
            order.append(account)

        await asyncio.gather(*(noted("busy") for _ in range(200)), *(noted(f"quiet {i}") for i in range(3)))

    asyncio.run(ask())
    assert max(order.index(f"quiet {i}") for i in range(3)) < module.MAX_BATCH


def test_who_has_gone_is_not_predicted_for_on_the_event_loop_either():
    predictor, batcher = Slow(), Batcher(threads=1)

    async def ask() -> None:
        tasks = [asyncio.create_task(predict(batcher, predictor, query())) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks[2:]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(answer, Prediction) for answer in answers) == 2

    asyncio.run(ask())
    assert predictor.own_sizes == [2]
    asyncio.run(predict(batcher, predictor, query()))  # and the next event loop starts anew


def test_a_loop_that_ended_before_its_batch_leaves_the_next_loop_undisturbed():
    predictor, batcher = Slow(), Batcher(threads=1)

    async def leave() -> None:
        task = asyncio.create_task(predict(batcher, predictor, query()))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    assert first(asyncio.run(predict(batcher, predictor, query()))) > 0


@pytest.mark.parametrize("inline_size", [0, 10_000])
def test_passes_that_fail_fail_for_those_who_asked_and_the_next_ones_go_on(monkeypatch, inline_size):
    monkeypatch.setattr(module, "INLINE_SIZE", inline_size)
    predictor, batcher = Slow(), Batcher(threads=1)
    predictor.go.set()

    async def ask() -> list[object]:
        predictor.is_broken = True
        wrong = await asyncio.gather(*(predict(batcher, predictor, query()) for _ in range(3)), return_exceptions=True)
        predictor.is_broken = False
        return [*wrong, await predict(batcher, predictor, query())]

    *wrong, right = asyncio.run(ask())
    assert [type(error) for error in wrong] == [RuntimeError] * 3
    assert first(right) > 0
