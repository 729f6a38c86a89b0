"""Merges the workouts of an upload with the subject's earlier workouts, each recording once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hrmodel.workouts.cleaning.duplicates import Extent, duplicates, why_dropped
from service.registry.imports import ImportedWorkout

HELD_OUT_FIRST = ("test", "val", "train")  # a recording that was ever held out stays so


@dataclass(frozen=True, kw_only=True)
class Merged:
    """`workouts` in time order; `inherited`: the splits from before, by digest of the kept ones."""

    workouts: list[ImportedWorkout]
    inherited: dict[str, str]

    @property
    def kept(self) -> list[ImportedWorkout]:
        """The stored workouts."""
        return [workout for workout in self.workouts if workout.digest]

    @staticmethod
    def of(
        uploaded: Sequence[ImportedWorkout], extents: Mapping[str, Extent], known: Sequence[ImportedWorkout]
    ) -> "Merged":
        """An upload's workouts, and the subject's earlier workouts that the upload lacks.

        Of two recordings of one workout the better stays, and inherits the other's split; `extents` are those of the
        upload's kept workouts, by digest.
        """
        splits = {workout.digest: workout.split for workout in known}
        carried = [workout for workout in known if workout.digest not in extents]
        kept = [workout for workout in uploaded if workout.digest] + carried
        better = _better_recordings(kept, extents)
        inherited: dict[str, str] = {}
        for i, workout in enumerate(kept):
            stays = kept[better.get(i, i)].digest or ""
            before = {split for split in (splits.get(workout.digest), inherited.get(stays)) if split}
            if before:
                inherited[stays] = min(before, key=HELD_OUT_FIRST.index)
        dropped = {kept[i].digest: kept[stays] for i, stays in better.items()}
        workouts = [_dropped(w, dropped[w.digest], extents) if w.digest in dropped else w for w in uploaded]
        workouts += [_carried(w) for w in carried if w.digest not in dropped]
        return Merged(workouts=sorted(workouts, key=_in_time), inherited=inherited)


def _better_recordings(kept: Sequence[ImportedWorkout], extents: Mapping[str, Extent]) -> dict[int, int]:
    """Index of a recording -> index of the better one of the same workout of the same person."""
    people: dict[str | None, list[int]] = {}
    for i, workout in enumerate(kept):
        people.setdefault(workout.person, []).append(i)
    better: dict[int, int] = {}
    for indices in people.values():
        pairs = duplicates([_extent(kept[i], extents) for i in indices])
        better |= {indices[worse]: indices[stays] for worse, stays in pairs.items()}
    return better


def _extent(workout: ImportedWorkout, extents: Mapping[str, Extent]) -> Extent:
    """The exact extent of the upload's workouts; of earlier workouts the extent that the database holds."""
    if known := extents.get(workout.digest or ""):
        return known
    readings = round(workout.heart_rate_per_minute * workout.duration_s / 60.0)
    return Extent(
        started_at=workout.started_at,
        seconds=workout.duration_s,
        heart_rate_readings=readings,
        samples=workout.samples,
        source=workout.source,
    )


def _dropped(workout: ImportedWorkout, better: ImportedWorkout, extents: Mapping[str, Extent]) -> ImportedWorkout:
    message = why_dropped(_extent(workout, extents), _extent(better, extents))
    reason = {"code": "duplicate", "samples": workout.samples, "message": message}
    return replace(workout, digest=None, verdict="dropped", reasons=[reason, *workout.reasons])


def _carried(workout: ImportedWorkout) -> ImportedWorkout:
    if any(reason["code"] == "known" for reason in workout.reasons):
        return workout
    reason = {"code": "known", "samples": 0, "message": "known from an earlier upload"}
    return replace(workout, reasons=[*workout.reasons, reason])


def _in_time(workout: ImportedWorkout) -> tuple[float, str]:
    return (workout.started_at.timestamp() if workout.started_at else 0.0, workout.digest or "")
