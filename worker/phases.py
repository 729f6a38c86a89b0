"""The phases of a job in their order, each with its share of the job's progress, and the time that is left in one."""

import time
from dataclasses import dataclass
from itertools import takewhile

from service.registry.jobs import Place
from service.registry.tables import Phase

MEASURED_SECONDS = 0.5  # a pace over less time says nothing

_IMPORT = {Phase.READING: 0.8, Phase.MERGING: 0.05, Phase.SCORING: 0.15}
_TRAINING = {
    Phase.READING: 0.02,
    Phase.TARGETS: 0.03,
    Phase.TRAINING: 0.83,
    Phase.CALIBRATING: 0.02,
    Phase.TESTING: 0.08,
    Phase.DECIDING: 0.02,
}


def progress(place: Place, *, importing: bool) -> float:
    """How far a job is in all, 0..1, when it is at this place of a phase."""
    shares = _IMPORT if importing else _TRAINING
    before = sum(shares[phase] for phase in takewhile(lambda phase: phase != place.phase, shares))
    return before + shares[place.phase] * (min(place.done / place.total, 1.0) if place.total else 0.0)


@dataclass
class PhaseClock:
    """A phase of an attempt, and its pace since it began."""

    phase: Phase
    total: float
    done: float = 0.0

    def __post_init__(self) -> None:
        self._first, self._began = self.done, time.monotonic()

    def place(self) -> Place:
        """Where the attempt is now."""
        return Place(phase=self.phase, done=self.done, total=self.total, eta_seconds=self._seconds_left())

    def _seconds_left(self) -> float | None:
        advanced, passed = self.done - self._first, time.monotonic() - self._began
        if advanced <= 0 or passed < MEASURED_SECONDS:
            return None
        return passed / advanced * max(self.total - self.done, 0.0)
