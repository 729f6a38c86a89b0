"""From samples at any spacing to steps of 10 s: means over bins [10 b, 10 b + 10) from the workout's start.

Causal in heart rate: a bin's heart rate uses only the samples inside the bin, and where segments begin depends on the
times alone, never on which values are present.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts import bounds
from hrmodel.workouts.workout import EPOCH, Array, Workout

STEP_SECONDS = bounds.STEP_SECONDS
SEGMENT_GAP_SECONDS = bounds.GAP_SECONDS
FILL_STEPS = 3  # 30 s: the longest gap that is filled, in speed and altitude (linear) and heart rate (forward fill)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """T consecutive steps without a recording gap over 60 s; the network's state starts anew in each.

    `speed` (m/s) and `altitude` (m) are interpolated over up to three empty steps (30 s) and are NaN
    in longer gaps and before the first or after the last measured step. `heart_rate` (bpm) is measured, else NaN.
    """

    first_step: int  # bin number of step 0 on the workout's grid: it covers [10 first_step, +10) s
    speed: Array  # (T,) m/s
    altitude: Array  # (T,) m; all NaN if none was recorded
    heart_rate: Array  # (T,) bpm

    @property
    def steps(self) -> int:
        """T."""
        return len(self.speed)


@dataclass(frozen=True, kw_only=True, eq=False)
class GriddedWorkout:
    """A workout on the grid. Every bin in `bin_of_sample` lies inside exactly one segment."""

    segments: tuple[Segment, ...]
    bin_of_sample: NDArray[np.int64]  # (N,) global bin number of each input sample
    digest: str
    started_at: datetime | None = None  # UTC
    samples_are_steps: bool = False  # one sample in each step, at least 10 s apart, and one segment

    @property
    def sort_key(self) -> datetime:
        """Orders workouts in time; workouts without a start keep their order."""
        return self.started_at or EPOCH

    @property
    def mean_heart_rate(self) -> float:
        """Mean over the measured steps, bpm; NaN without any."""
        return _mean(np.concatenate([segment.heart_rate for segment in self.segments]))

    @property
    def mean_speed(self) -> float:
        """Mean over the steps that have a speed, m/s; NaN without any."""
        return _mean(np.concatenate([segment.speed for segment in self.segments]))


def to_grid(workout: Workout, digest: str = "") -> GriddedWorkout:
    """Bin means of every channel, in segments: samples more than 60 s apart belong to different segments.

    Each segment covers all bins from its first sample's to its last sample's. Such samples are at least six bins
    apart, so two segments never share a bin. For any times there are at most 7 steps per sample.
    """
    bins = np.floor_divide(workout.t, STEP_SECONDS).astype(np.int64)
    if int(bins[-1] - bins[0]) == len(bins) - 1 and (bins[1:] > bins[:-1]).all():
        return _one_sample_per_step(workout, bins, digest)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(workout.t) > SEGMENT_GAP_SECONDS) + 1])
    ends = np.concatenate([starts[1:], [len(bins)]]) - 1
    first, lengths = bins[starts], bins[ends] - bins[starts] + 1
    offsets = np.cumsum(lengths) - lengths
    # steps of all segments side by side: gaps between segments, however long, take no memory
    slot = bins + np.repeat(offsets - first, ends - starts + 1)
    steps = int(lengths.sum())
    channels = (workout.speed, workout.altitude, workout.heart_rate)
    speed, altitude, heart_rate = (_bin_means(values, slot, steps) for values in channels)
    segment = np.repeat(np.arange(len(starts)), lengths)
    speed, altitude = _interpolate_short_gaps(speed, segment), _interpolate_short_gaps(altitude, segment)
    segments = tuple(
        Segment(first_step=bin_number, speed=speed[part], altitude=altitude[part], heart_rate=heart_rate[part])
        for bin_number, part in zip(first.tolist(), _parts(offsets, lengths), strict=True)
    )
    return GriddedWorkout(segments=segments, bin_of_sample=bins, digest=digest, started_at=workout.started_at)


def _one_sample_per_step(workout: Workout, bins: NDArray[np.int64], digest: str) -> GriddedWorkout:
    """The usual case of a request: every sample is a step, in one segment."""
    samples = len(bins)
    altitude, heart_rate = (
        np.full(samples, np.nan) if values is None else values for values in (workout.altitude, workout.heart_rate)
    )
    only = Segment(
        first_step=int(bins[0]),
        speed=_interpolate_short_gaps(workout.speed),
        altitude=_interpolate_short_gaps(altitude),
        heart_rate=heart_rate,
    )
    return GriddedWorkout(
        segments=(only,),
        bin_of_sample=bins,
        digest=digest,
        started_at=workout.started_at,
        samples_are_steps=bool((workout.t[1:] - workout.t[:-1] >= STEP_SECONDS).all()),
    )


def forward_fill(heart_rate: Array, begins: NDArray[np.int64] | int = 0) -> Array:
    """(T,) bpm -> (T,): an empty step takes the last measured value of the three steps (30 s) before it, never a value
    of another segment: `begins` (T,) is the first step of each step's segment. For history only: targets, metrics and
    residuals use the measured steps."""
    steps = np.arange(len(heart_rate))
    last = np.maximum.accumulate(np.where(np.isfinite(heart_rate), steps, -1 - FILL_STEPS))
    return np.where((steps - last <= FILL_STEPS) & (last >= begins), heart_rate[np.maximum(last, 0)], np.nan)


def _parts(offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[slice]:
    for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
        yield slice(offset, offset + length)


def _bin_means(values: Array | None, slot: NDArray[np.int64], size: int) -> Array:
    """Mean of the measured values per slot, NaN in an empty one."""
    if values is None:
        return np.full(size, np.nan)
    measured = ~np.isnan(values)
    if not measured.all():
        values, slot = values[measured], slot[measured]
    counts = np.bincount(slot, minlength=size)
    sums = np.bincount(slot, weights=values, minlength=size)
    means: Array = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
    return means


def _interpolate_short_gaps(values: Array, segment: NDArray[np.int64] | None = None) -> Array:
    """Linear over at most `FILL_STEPS` empty steps between two measured steps of the same segment; `segment` (S,),
    None: there is one."""
    measured = np.isfinite(values)
    if measured.all() or not measured.any():
        return values
    measured_steps = np.flatnonzero(measured)
    steps = np.arange(len(values))
    before = np.searchsorted(measured_steps, steps, side="right") - 1
    inside = ~measured & (before >= 0) & (before < len(measured_steps) - 1)
    if segment is not None:
        inside[inside] = segment[measured_steps[before[inside]]] == segment[measured_steps[before[inside] + 1]]
    gap = np.zeros(len(values), dtype=np.int64)
    gap[inside] = np.diff(measured_steps)[before[inside]] - 1
    return np.where(
        measured | ((gap > 0) & (gap <= FILL_STEPS)), np.interp(steps, measured_steps, values[measured_steps]), np.nan
    )


def _mean(values: Array) -> float:
    measured = values[np.isfinite(values)]
    return float(measured.mean()) if len(measured) else float("nan")
