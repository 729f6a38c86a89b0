"""Speed from recorded positions or distances."""

import numpy as np
from numpy.typing import NDArray

from hrmodel.workouts.workout import Array

EARTH_RADIUS = 6_371_008.8  # m, the mean one
WINDOW_SECONDS = 10.0
SPARSE_SECONDS = 4.0  # tracks with a point this seldom need more than 10 s ...
SPARSE_WINDOW = 5.0  # ... this many sampling intervals
MAX_SPEED = 12.0  # m/s; a faster move is a position jump
GAP_SECONDS = 60.0


def speed_from_positions(t: Array, latitude: Array, longitude: Array) -> Array:
    """(N,) s and degrees (NaN missing) -> (N,) m/s: the distance within a centred window of 10 s, over its length.

    Tracks with a point every 4 s or less often get five sampling intervals. The window ends at gaps over 60 s; it is
    NaN where it holds a position jump (faster than 12 m/s) or where there is no other position near.
    """
    known = np.flatnonzero(np.isfinite(latitude) & np.isfinite(longitude))
    return _over_window(t, known, _great_circle(latitude[known], longitude[known]))


def speed_from_distance(t: Array, distance: Array) -> Array:
    """(N,) s and m since the start (NaN missing) -> (N,) m/s >= 0, over the windows of `speed_from_positions`.

    A count that starts again (at a lap) is a jump; one that goes back a little stands still.
    """
    known = np.flatnonzero(np.isfinite(distance))
    return _over_window(t, known, np.diff(distance[known]))


def _over_window(t: Array, known: NDArray[np.intp], steps: Array) -> Array:
    """(N,) s, (K,) indices and (K - 1,) m between them -> (N,) m/s, NaN outside `known`."""
    speed = np.full(len(t), np.nan)
    if len(known) < 2:
        return speed
    at, dt = t[known], np.diff(t[known])
    moved = dt <= GAP_SECONDS
    jump = moved & (np.abs(steps) > MAX_SPEED * dt)
    distance = np.concatenate([[0.0], np.cumsum(np.where(moved & ~jump, np.maximum(steps, 0.0), 0.0))])
    jumps = np.concatenate([[0.0], np.cumsum(jump)])
    spacing = float(np.median(dt))
    half = (WINDOW_SECONDS if spacing < SPARSE_SECONDS else SPARSE_WINDOW * spacing) / 2
    first, last = _stretch_bounds(at, moved)
    begin, end = np.maximum(at - half, first), np.minimum(at + half, last)
    covered = np.interp(end, at, distance) - np.interp(begin, at, distance)
    valid = (end > begin) & (np.interp(end, at, jumps) == np.interp(begin, at, jumps))
    speed[known] = np.divide(covered, end - begin, out=np.full(len(at), np.nan), where=valid)
    return speed


def _great_circle(latitude: Array, longitude: Array) -> Array:
    """(N,) degrees -> (N - 1,) m between neighbours (haversine)."""
    phi, lam = np.radians(latitude), np.radians(longitude)
    chord = np.sin(np.diff(phi) / 2) ** 2 + np.cos(phi[:-1]) * np.cos(phi[1:]) * np.sin(np.diff(lam) / 2) ** 2
    return 2 * EARTH_RADIUS * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))


def _stretch_bounds(at: Array, moved: NDArray[np.bool_]) -> tuple[Array, Array]:
    """(N,) first and last time of the stretch without a gap that each position belongs to."""
    stretch = np.concatenate([[0], np.cumsum(~moved)])
    starts = np.searchsorted(stretch, np.arange(stretch[-1] + 1), side="left")
    ends = np.searchsorted(stretch, np.arange(stretch[-1] + 1), side="right") - 1
    return at[starts][stretch], at[ends][stretch]
