"""Heart rate that a chest strap stored by itself (in water, say) and that FIT holds in `hr` messages."""

from array import array

import numpy as np
from fitdecode import FIT_UTC_REFERENCE  # type: ignore[import-untyped]

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.workout import Array

TICKS = 1024  # of the strap's clock in a second
NO_TICK = 0xFFFFFFFF
MAX_TOLD = 2_000_000  # numbers; a beat takes 2.5: 74 hours at 180 bpm
WINDOW_SECONDS = 10.0


class StrapHeartRate:
    """Beats, with their times on the clock of the records.

    The first message ties the strap's clock (32 bits) to FIT's; later ones tell only the low 12 bits of each beat's
    tick, which roll over every 4 s: the rules of the FIT SDK's HrToRecordMesg plugin. fitdecode gets these times
    wrong: it counts from 0 instead of the first tick.
    """

    def __init__(self) -> None:
        self._times = array("d")  # unix seconds
        self._bpm = array("d")
        self._told = 0
        self._anchor: tuple[float, int] | None = None  # unix seconds, tick
        self._tick = 0  # of the newest beat

    def take(self, values: dict[str, float], arrays: dict[str, tuple[int, ...]]) -> None:
        """Note an `hr` message's beats. Raises InvalidFile when there are too many."""
        bpm, ticks = arrays.get("filtered_bpm", ()), arrays.get("event_timestamp", ())
        packed = arrays.get("event_timestamp_12", ())
        self._told += len(bpm) + len(ticks) + len(packed)
        if self._told > MAX_TOLD:
            raise InvalidFile("too_large", "", "too many beats of a heart-rate strap")
        ticks = tuple(tick for tick in ticks if tick != NO_TICK)
        if ticks and "timestamp" in values:
            fraction = values.get("fractional_timestamp", values.get("time256", 0.0))
            self._anchor = values["timestamp"] + fraction + FIT_UTC_REFERENCE, ticks[0]
        if self._anchor is None:
            return
        ticks = ticks or self._whole(packed, bpm)
        began, first = self._anchor
        for tick, value in zip(ticks, bpm, strict=False):
            if 0 < value < 255:
                self._times.append(began + ((tick - first) & NO_TICK) / TICKS)
                self._bpm.append(value)
        self._tick = ticks[-1] if ticks else self._tick

    def fill(self, times: Array, heart_rate: Array) -> None:
        """Give records without a heart rate the mean of the beats since the record before, of 10 s at most.

        times (N,) unix seconds, NaN unknown; heart_rate (N,) bpm, changed in place.
        """
        order = np.argsort(np.array(self._times), kind="stable")
        at, bpm = np.array(self._times)[order], np.array(self._bpm)[order]
        total = np.concatenate([[0.0], np.cumsum(bpm)])
        before = np.concatenate([[-np.inf], times[:-1]])
        first = np.searchsorted(at, np.fmax(before, times - WINDOW_SECONDS), side="right")
        last = np.searchsorted(at, times, side="right")
        filled = np.isnan(heart_rate) & np.isfinite(times) & (last > first)
        heart_rate[filled] = (total[last] - total[first])[filled] / (last - first)[filled]

    def _whole(self, packed: tuple[int, ...], bpm: tuple[int, ...]) -> tuple[int, ...]:
        """Ticks of 12 bits, packed two in three bytes -> whole ticks, each the next one that ends so."""
        ticks, tick = [], self._tick
        for i in range(min(len(packed) * 2 // 3, len(bpm))):
            word = packed[i * 3 // 2] | packed[i * 3 // 2 + 1] << 8
            low = word >> 4 if i % 2 else word & 0xFFF
            if low == 0xFFF and bpm[i] == 0xFF:
                break  # the rest is padding
            tick += (low - tick) & 0xFFF
            ticks.append(tick)
        return tuple(ticks)
