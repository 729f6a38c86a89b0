"""Speed from recorded positions or distances."""

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.workout import Array

EARTH_RADIUS = 6_371_008.8  # m, the mean one
WINDOW_SECONDS = 10.0
SPARSE_SECONDS = 4.0  # tracks with a point this seldom need more than 10 s ...
SPARSE_WINDOW = 5.0  # ... this many sampling intervals
AVERAGE_SECONDS = 5.0
AVERAGE_POINTS = np.linspace(-0.4, 0.4, 5)  # of that: the middles of fifths
MAX_SPEED = 12.0  # m/s; a faster move is a position jump
GAP_SECONDS = 60.0
MAX_DISTANCE = 1e9  # m; more was never counted


def speed_from_positions(t: Array, latitude: Array, longitude: Array) -> Array:
    """(N,) s and degrees (NaN missing) -> (N,) m/s: the way within a centred window of 10 s, over its length.

    The way is that of positions averaged over 5 s, whose jitter would else add up. Tracks with a point every 4 s or
    less often are not averaged, which would cut corners, and get a window of five sampling intervals. Windows end at
    gaps over 60 s; speed is NaN where one holds a position jump (faster than 12 m/s) or no other position is near.
    """
    known = np.flatnonzero((np.abs(latitude) <= 90) & (np.abs(longitude) <= 180))  # NaN compares false
    at, phi, lam = t[known], np.radians(latitude[known]), np.unwrap(np.radians(longitude[known]))
    steps = _great_circle(phi, lam)
    if not _is_sparse(at):
        broken = _is_jump(at, steps) | (np.diff(at) > GAP_SECONDS)
        averaged = _great_circle(_averaged(at, phi, broken), _averaged(at, lam, broken))
        steps = np.where(broken, steps, averaged)
    return _over_window(t, known, steps)


def speed_from_distance(t: Array, distance: Array) -> Array:
    """(N,) s and m since the start (NaN missing) -> (N,) m/s >= 0, over the windows of `speed_from_positions`.

    A count that starts again (at a lap) is a jump; one that goes back a little stands still.
    """
    known = np.flatnonzero(np.abs(distance) <= MAX_DISTANCE)
    return _over_window(t, known, np.diff(distance[known]))


def _over_window(t: Array, known: NDArray[np.intp], steps: Array) -> Array:
    """(N,) s, (K,) indices and (K - 1,) m between them -> (N,) m/s, NaN outside `known`."""
    speed = np.full(len(t), np.nan)
    if len(known) < 2:
        return speed
    at, dt = t[known], np.diff(t[known])
    moved = dt <= GAP_SECONDS
    jump = moved & _is_jump(at, steps)
    distance = np.concatenate([[0.0], np.cumsum(np.where(moved & ~jump, np.maximum(steps, 0.0), 0.0))])
    jumps = np.concatenate([[0.0], np.cumsum(jump)])
    half = (SPARSE_WINDOW * float(np.median(dt)) if _is_sparse(at) else WINDOW_SECONDS) / 2
    first, last = _stretch_bounds(at, moved)
    begin, end = np.maximum(at - half, first), np.minimum(at + half, last)
    covered = np.interp(end, at, distance) - np.interp(begin, at, distance)
    valid = (end > begin) & (np.interp(end, at, jumps) == np.interp(begin, at, jumps))
    speed[known] = np.divide(covered, end - begin, out=np.full(len(at), np.nan), where=valid)
    return speed


def _is_sparse(at: Array) -> bool:
    return len(at) < 2 or bool(np.median(np.diff(at)) >= SPARSE_SECONDS)


def _is_jump(at: Array, steps: Array) -> NDArray[np.bool_]:
    """(N,) s and (N - 1,) m between them -> (N - 1,): which steps nobody runs."""
    return np.abs(steps) > MAX_SPEED * np.diff(at)


def _averaged(at: Array, values: Array, broken: NDArray[np.bool_]) -> Array:
    """(N,) s and values -> (N,) means over 5 s, over less near the ends and where the (N - 1,) steps are `broken`."""
    first, last = _stretch_bounds(at, ~broken)
    width = np.minimum(AVERAGE_SECONDS, 2 * np.minimum(at - first, last - at))
    means: Array = np.mean([np.interp(at + width * point, at, values) for point in AVERAGE_POINTS], axis=0)
    return means


def _great_circle(phi: Array, lam: Array) -> Array:
    """(N,) latitude and longitude in radians -> (N - 1,) m between neighbours (haversine)."""
    chord = np.sin(np.diff(phi) / 2) ** 2 + np.cos(phi[:-1]) * np.cos(phi[1:]) * np.sin(np.diff(lam) / 2) ** 2
    metres: Array = 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))
    return metres


def _stretch_bounds(at: Array, moved: NDArray[np.bool_]) -> tuple[Array, Array]:
    """(N,) first and last time of the stretch without a gap that each position belongs to."""
    stretch = np.concatenate([[0], np.cumsum(~moved)])
    starts = np.searchsorted(stretch, np.arange(stretch[-1] + 1), side="left")
    ends = np.searchsorted(stretch, np.arange(stretch[-1] + 1), side="right") - 1
    return at[starts][stretch], at[ends][stretch]
