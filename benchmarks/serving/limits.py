"""What no server can beat: the arithmetic of the network at this processor's peak, and its bare passes."""

import json
import statistics
import time
from collections.abc import Callable

import torch

from serving.passes import Passes, Rows

BATCH = 16


def seconds(work: Callable[[], object], times: int) -> list[float]:
    """Of each of so many runs: of this thread's processor, whatever else runs on the machine."""
    found = []
    for _ in range(times):
        started = time.thread_time()
        work()
        found.append(time.thread_time() - started)
    return found


def peak_flops(size: int = 1024) -> float:
    """FP32 operations a second of one thread, the best of several matrix products."""
    torch.set_num_threads(1)
    one = torch.rand(size, size)
    return 2 * size**3 / min(seconds(lambda: one @ one, 20))


class Bare:
    """The passes of a request in this process, on one thread."""

    def __init__(self, body: bytes) -> None:
        torch.set_num_threads(1)
        self._passes, request = Passes(), json.loads(body)
        self._observed = request.get("heart_rate") or []
        self._rows = self._passes.inputs(request["speed"], request["altitude"], self._observed)

    def answer(self) -> Rows:
        """(T,) bpm: what every peer has to answer."""
        return self._passes.answer(self._passes.run(self._rows), self._observed)

    def operations(self) -> int:
        """Floating point operations of a request."""
        return len(self._rows) * self._passes.floating_point_operations(self._rows.shape[1])

    def alone(self) -> float:
        """Median seconds of one request by itself."""
        return statistics.median(seconds(lambda: self._passes.run(self._rows), 100))

    def batched(self) -> float:
        """The same of a request among 16 in one pass."""
        rows = self._rows.repeat(BATCH, axis=0)
        return statistics.median(seconds(lambda: self._passes.run(rows), 20)) / BATCH
