"""Loads registry rows and files into the data types of hrmodel."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from hrmodel.evaluation.forecasters import EvaluationData
from hrmodel.network.checkpoint import Checkpoint, InvalidCheckpoint
from hrmodel.personal.state import in_time
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import SubjectScale, fit_scale
from hrmodel.training.batches import ScaledWorkout
from hrmodel.workouts.bounds import within_bounds
from hrmodel.workouts.workout import Workout
from service.errors import Conflict
from service.registry import fallback
from service.registry.artifacts import ArtifactDamaged, ArtifactMissing, ArtifactStore
from service.registry.imports import StoredWorkout
from service.registry.session import Database
from service.registry.tables import ModelVersion
from worker.failures import JobFailure

SPLITS = ("train", "val", "test")
PERSONAL = ""  # the only person of a personal dataset


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonData:
    """One person's workouts by split, on the grid, in time order."""

    splits: dict[str, list[GriddedWorkout]]
    level: SubjectScale

    @property
    def workouts(self) -> list[GriddedWorkout]:
        """All of them in time order."""
        return in_time(workout for split in SPLITS for workout in self.splits[split])

    def scaled(self, split: str) -> list[ScaledWorkout]:
        """A split's workouts in the person's scale."""
        return [ScaledWorkout(gridded=gridded, level=self.level) for gridded in self.splits[split]]

    def for_evaluation(self, checkpoint: Checkpoint | None) -> EvaluationData:
        """What `evaluate` reads, under the level that the checkpoint serves with: its own, else the person's."""
        level = (checkpoint.level if checkpoint else None) or self.level
        return EvaluationData(**{split: self.splits[split] for split in SPLITS}, level=level)


class StoredPerson:
    """One person's stored workouts in a dataset: each is read when it is needed, and once."""

    def __init__(
        self,
        store: ArtifactStore,
        account_id: UUID,
        stored: Sequence[StoredWorkout],
        on_progress: Callable[[], None],
        read: Mapping[str, GriddedWorkout] | None = None,
    ) -> None:
        """`read`: workouts that need not be read, by digest. `on_progress` is called after each that is."""
        self._store, self._account_id, self._on_progress = store, account_id, on_progress
        self._stored = {workout.digest: workout for workout in stored}
        self._read = dict(read or {})

    @property
    def digests(self) -> list[str]:
        """Of all of them, in the dataset's order."""
        return list(self._stored)

    def find(self, digest: str) -> GriddedWorkout:
        """One workout. Raises KeyError, and JobFailure when its file is gone."""
        if digest not in self._read:
            self._read[digest] = load_workout(self._store, self._account_id, self._stored[digest])
            self._on_progress()
        return self._read[digest]

    def splits(self, digests: Collection[str] | None = None) -> dict[str, list[GriddedWorkout]]:
        """These workouts by split; None: all of them. Raises JobFailure."""
        splits: dict[str, list[GriddedWorkout]] = {split: [] for split in SPLITS}
        for digest, stored in self._stored.items():
            if digests is None or digest in digests:
                splits[stored.split].append(self.find(digest))
        return splits

    def data(self, level: SubjectScale | None = None) -> PersonData:
        """All of them. The level is fitted on train + val unless it is given. Raises JobFailure."""
        splits = self.splits()
        known = splits["train"] + splits["val"]
        return PersonData(splits=splits, level=level or fit_scale(known or splits["test"], FeatureContract()))


def load_person(
    store: ArtifactStore,
    account_id: UUID,
    workouts: Sequence[StoredWorkout],
    on_progress: Callable[[], None],
    *,
    level: SubjectScale | None = None,
) -> PersonData:
    """Read one person's stored workouts: see `StoredPerson`."""
    return StoredPerson(store, account_id, workouts, on_progress).data(level)


def load_workout(store: ArtifactStore, account_id: UUID, stored: StoredWorkout) -> GriddedWorkout:
    """Read one workout file. Raises JobFailure when it is gone or damaged."""
    try:
        data = store.read(account_id, stored.digest)
    except (ArtifactMissing, ArtifactDamaged) as error:
        message = f"The file of workout {stored.source or stored.digest} is gone or damaged; upload it again."
        raise JobFailure("data_missing", message) from error
    workout, _ = within_bounds(Workout.from_bytes(data))  # stored before workouts had bounds
    return to_grid(workout, stored.digest)


def load_checkpoint(store: ArtifactStore, version: ModelVersion) -> Checkpoint:
    """Read a version's checkpoint. Raises JobFailure."""
    try:
        return Checkpoint.from_bytes(store.read(version.account_id, version.sha256), name=f"model version {version.id}")
    except (ArtifactMissing, ArtifactDamaged, InvalidCheckpoint) as error:
        raise JobFailure("broken_checkpoint", f"Model version {version.id} cannot be read: {error}.") from error


def load_serving(database: Database, store: ArtifactStore, version: ModelVersion) -> Checkpoint:
    """Read the checkpoint of a version that serves. Raises Conflict when another serves now: it was deleted, or its
    file is lost and its subjects fell back. Else JobFailure.
    """  # fmt: skip
    try:
        return load_checkpoint(store, version)
    except JobFailure:
        with database.reading() as session:
            deleted = session.get(ModelVersion, version.id) is None
        if not deleted and not fallback.replace_lost(database, store, version):
            raise
        raise Conflict("version_lost", f"Model version {version.id} no longer serves; another one does.") from None


def unseen_people(people: Mapping[str, PersonData]) -> list[PersonData]:
    """The people of a population whom training never saw."""
    return [person for person in people.values() if not person.splits["train"]]


def by_person(workouts: Sequence[StoredWorkout]) -> dict[str, list[StoredWorkout]]:
    """A dataset's workouts by the person who did them."""
    people: dict[str, list[StoredWorkout]] = {}
    for stored in workouts:
        people.setdefault(stored.person or PERSONAL, []).append(stored)
    return people


def upload_path(store: ArtifactStore, account_id: UUID, sha256: str) -> Path:
    """The path of an upload. Raises JobFailure when it is gone."""
    path = store.path(account_id, sha256)
    if not path.exists():
        raise JobFailure("broken_upload", "The uploaded file is gone; upload it again.")
    return path
