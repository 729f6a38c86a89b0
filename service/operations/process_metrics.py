"""Memory, processor time and open files of all processes of the API together, read from /proc (Linux)."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from service.web.processes import Processes

PROC = Path("/proc")


class ProcessFigures:
    """Sums over the parent and its children. Pages that they share count once (PSS)."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._started = time.time()

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        parent = self._processes.parent
        folders = [PROC / str(pid) for pid in {parent, *self._processes.ids} if pid and (PROC / str(pid)).exists()]
        if not folders:
            return
        cpu = sum(map(_cpu_seconds, folders)) + _cpu_seconds(PROC / str(parent), ended=True)
        yield CounterMetricFamily("process_cpu_seconds", "User and system time of all processes of the API.", cpu)
        memory = sum(map(_memory, folders))
        yield GaugeMetricFamily("process_resident_memory_bytes", "Their memory; shared pages count once.", memory)
        opened = sum(map(_open_files, folders))
        yield GaugeMetricFamily("process_open_fds", "Their open files.", opened)
        most = sum(map(_most_files, folders))
        yield GaugeMetricFamily("process_max_fds", "The files that they may open.", most)
        yield GaugeMetricFamily("process_start_time_seconds", "When the API started, UTC epoch.", self._started)


def _cpu_seconds(folder: Path, ended: bool = False) -> float:
    """Of a process, or of those of its children that have ended: a counter never falls."""
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    first = 13 if ended else 11
    return (int(fields[first]) + int(fields[first + 1])) / os.sysconf("SC_CLK_TCK")


def _memory(folder: Path) -> int:
    return 1024 * _line(folder / "smaps_rollup", "Pss:", 1)


def _most_files(folder: Path) -> int:
    return _line(folder / "limits", "Max open files", 3)


def _line(file: Path, start: str, word: int) -> int:
    """A number in the line that begins so; 0 when the process is gone."""
    try:
        line = next(line for line in file.read_text().splitlines() if line.startswith(start))
        return int(line.split()[word])
    except (OSError, StopIteration, ValueError):
        return 0


def _open_files(folder: Path) -> int:
    try:
        return sum(1 for _ in (folder / "fd").iterdir())
    except OSError:
        return 0
