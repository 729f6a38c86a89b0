"""What the processes of one API count together. Here one process takes the part of each in turn."""

import random

import pytest

from service.errors import TooManyRequests
from service.web.processes import NOT_SERVING, Processes
from service.web.rate_limits import RateLimits, RateWindow


@pytest.fixture
def processes():
    return Processes(3)


def test_counts_of_all_processes_add_up_and_those_of_a_dead_one_are_forgotten(processes):
    counts = processes.counts()
    for number in range(3):
        processes.become(number)
        counts.add("me", 10**number)
    counts.add("me", -50)
    assert (counts.total("me"), counts.total("me", among=[0, 1]), counts.total("you")) == (61, 11, 0)
    processes.clear(2)
    assert counts.total("me") == 11


def test_a_lasting_count_never_falls(processes):
    changes = processes.counts(lasting=True)
    processes.become(1)
    changes.add("me")
    processes.clear(1)
    changes.add("me")
    assert changes.total("me") == 2


def test_names_are_told_apart(processes):
    counts, chance = processes.counts(), random.Random(0)
    added = {(number, "name"): chance.randrange(1, 100) for number in range(200)}
    for name, count in added.items():
        processes.become(chance.randrange(3))
        counts.add(name, count)
    assert sum(counts.total(name) != count for name, count in added.items()) <= 1


def test_a_number_of_a_dead_process_is_the_initial_one_again(processes):
    assert processes.serving == []
    processes.become(1)
    processes.open[1] += 5
    assert processes.serving == [4]
    processes.clear(1)
    assert list(processes.open) == [NOT_SERVING] * 3


@pytest.mark.parametrize(("count", "shares"), [(1, 12), (2, 6), (5, 3), (8, 3)])
def test_each_process_has_its_share_of_what_there_is_once(count, shares):
    assert Processes(count).share(12, at_least=3) == shares


def test_posts_are_limited_over_all_processes(processes):
    limits = RateLimits(predictions=3, processes=processes)
    for number in range(3):
        processes.become(number)
        limits.count_post("a")
    with pytest.raises(TooManyRequests):
        limits.count_post("a")
    processes.become(0)
    with pytest.raises(TooManyRequests):
        limits.count_post("a")
    limits.count_post("b")


def test_a_process_that_has_counted_nothing_in_this_minute_counts_for_nothing(processes):
    now = [60.0]
    window = RateWindow(2, clock=lambda: now[0], processes=processes)
    processes.become(1)
    window.count("a", 2)
    processes.become(0)
    assert window.wait("a") == 60
    now[0] = 120.0
    window.count("a")
    assert window.wait("a") is None
    window.count("a")
    assert window.wait("a") == 60
