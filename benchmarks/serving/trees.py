"""A process and all below it: stopped and continued together, with their processor time and memory."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil


def members(pid: int) -> list[psutil.Process]:
    """The process and all below it, parents before their children."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Processor time of the whole tree, user and system, children that have ended included."""
    total = 0.0
    for process in members(pid):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def pause(pid: int) -> None:
    """Stop all where they are."""
    for process in members(pid):
        with suppress(psutil.NoSuchProcess):
            process.suspend()


def resume(pid: int) -> None:
    """Let all go on: children first, so that no parent misses an answer of theirs."""
    for process in reversed(members(pid)):
        with suppress(psutil.NoSuchProcess):
            process.resume()


@contextmanager
def awake(pid: int) -> Iterator[None]:
    """Let a paused tree go on inside the block."""
    resume(pid)
    try:
        yield
    finally:
        pause(pid)


def megabytes(process: psutil.Process) -> float:
    """Proportional set size: pages that n processes share count 1/n in each."""
    return float(process.memory_full_info().pss) / 1e6
