"""The reasons for cleaning's changes to a workout, and for dropping it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a workout was repaired or dropped: a code for programs, how many samples it concerns, a sentence."""

    code: str
    samples: int
    message: str


def lasting(seconds: float) -> str:
    """34 s, 5 min, 1 h 20 min."""
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
