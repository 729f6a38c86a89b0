"""Whether bytes move fast enough: in each stretch of time there must be some."""

from dataclasses import dataclass


@dataclass
class Pace:
    """Counts bytes from `since` on, for as long as a stretch lasts."""

    seconds: float
    bytes_per_second: int
    since: float = 0.0
    moved: int = 0

    def begin(self, now: float) -> None:
        """A new stretch."""
        self.since, self.moved = now, 0

    def is_behind(self, now: float) -> bool:
        """Whether too little has moved so far."""
        return self.moved < self.bytes_per_second * (now - self.since)

    def has_failed(self, now: float) -> bool:
        """Whether a stretch is over in which too little moved; the next one begins when this one is over."""
        if now - self.since < self.seconds:
            return False
        behind = self.is_behind(now)
        self.begin(now)
        return behind
