"""What is new in a dataset since the subject's dataset before it, and whether what was fitted on that one stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.signals.scale import SubjectScale
from hrmodel.workouts.workout import EPOCH
from service.registry import imports
from service.registry.imports import ImportedWorkout
from service.registry.tables import Dataset

# The person's scale, the baselines and the zones stay until there are a tenth more training and validation workouts
# than they were fitted on: a fit on 10 % more moves little, and with each fit all workouts are evaluated anew.
REFIT_GROWTH = 1.1


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A dataset that repeats the one before it and adds later workouts, or none."""

    before: UUID  # the dataset before
    level: SubjectScale  # of that dataset, and of this one
    new: frozenset[str]  # digests of the added workouts


def growth(session: Session, ready: Sequence[UUID], kept: Sequence[ImportedWorkout]) -> Growth | None:
    """What the kept workouts of a new dataset (in time order, with their splits) add to the newest of the subject's
    ready datasets. None: there is none, an earlier workout came or was replaced, or it is time for a new fit.
    """  # fmt: skip
    if not ready:
        return None
    before = session.get_one(Dataset, ready[0])
    old = [(workout.digest, workout.split) for workout in imports.stored_workouts(session, before.id)]
    repeated, added = kept[: len(old)], kept[len(old) :]
    if before.level is None or [(workout.digest, workout.split) for workout in repeated] != old:
        return None
    if added and _start(added[0]) <= _start(repeated[-1]):
        return None
    level = SubjectScale.from_dict(before.level)
    if sum(workout.split != "test" for workout in kept) > REFIT_GROWTH * level.workouts:
        return None
    return Growth(before=before.id, level=level, new=frozenset(workout.digest or "" for workout in added))


def _start(workout: ImportedWorkout) -> datetime:
    return workout.started_at or EPOCH
