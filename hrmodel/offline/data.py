"""One person's workouts from any readable file or folder, cleaned and split as in the service."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hrmodel.evaluation.forecasters import EvaluationData
from hrmodel.offline.errors import UserError
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.version import digest_of
from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.cleaning.duplicates import duplicates, extent_of, why_dropped
from hrmodel.workouts.formats.source import SaidSport
from hrmodel.workouts.formats.upload import FoundWorkout
from hrmodel.workouts.sandbox.reading import read_with_format
from hrmodel.workouts.splits import MIN_WORKOUTS, chronological_split
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout

ORIGINAL_FORMAT = "original"  # the only format whose own split is kept
SPLITS = ("train", "val", "test")
NAMES_SHOWN = 20
log = logging.getLogger("hrmodel.data")


def load_data(
    path: Path, *, person: str | None = None, units: Units | None = None, sport: SaidSport | None = None
) -> EvaluationData:
    """Read, clean, split and grid one person's workouts; the scale is fitted on train + val.

    `units`: for formats without fixed units; `sport`: for files that name no sport. Raises UserError without a workout
    to learn from, and for several people when none is chosen. Raises InvalidFile when no file can be read.
    """
    return prepare(read_person(path, person, units, sport), str(path))


def prepare(workouts: Sequence[Workout], origin: str) -> EvaluationData:
    """Clean, split and grid one person's workouts; the scale is fitted on train + val.

    `origin` names the workouts in messages. Raises UserError when there is nothing to learn from.
    """
    recorded, cleaned = usable(workouts, origin)
    names = split_of(recorded)
    splits: dict[str, list[GriddedWorkout]] = {split: [] for split in SPLITS}
    for workout, split in zip(cleaned, names, strict=True):
        splits[split].append(to_grid(workout, workout.digest))
    if not splits["train"]:
        raise UserError(f"{origin} holds no training workouts: train.pt is missing, empty, or all of it was dropped.")
    scale = fit_scale(splits["train"] + splits["val"], FeatureContract())
    data = EvaluationData(**splits, level=scale)
    _describe(data, own_split=has_split(recorded))
    return data


def has_split(workouts: Sequence[Workout]) -> bool:
    """Whether every workout brings its own split."""
    return all(workout.split in SPLITS for workout in workouts)


def split_of(workouts: Sequence[Workout]) -> list[str]:
    """The split of each workout of one person in time order: its own where all have one, else by time."""
    if has_split(workouts):
        return [str(workout.split) for workout in workouts]
    return chronological_split(len(workouts))


def training_digest(data: EvaluationData) -> str:
    """Names the workouts that a model has learned from and was chosen by."""
    return digest_of(workout.digest for workout in (*data.train, *data.val))


def read_person(path: Path, person: str | None, units: Units | None, sport: SaidSport | None = None) -> list[Workout]:
    """The person's workouts as they were recorded. Raises UserError for several people and none chosen."""
    if not path.exists():
        raise UserError(f"--data {path} does not exist.")
    people: set[str] = set()
    read: list[FoundWorkout] = []
    for item in read_with_format(path, units=units, sport=sport):
        people |= {item.workout.person} if item.workout.person else set()
        if person is None or item.workout.person == person:
            read.append(item)
    if person is None and len(people) > 1:
        raise UserError(f"{path} holds workouts of {len(people)} people; choose one with --person: {_list(people)}.")
    if person is not None and not read:
        alternative = f"it has {_list(people)}" if people else "its workouts name no person, so leave --person out"
        raise UserError(f"{path} holds no workouts of --person {person}: {alternative}.")
    return with_trusted_split(read)


def with_trusted_split(read: Sequence[FoundWorkout]) -> list[Workout]:
    """The workouts, without a split unless all come from the original's files: train.pt, val.pt and test.pt."""
    trusted = all(item.format == ORIGINAL_FORMAT for item in read)
    return [item.workout if trusted else replace(item.workout, split=None) for item in read]


def usable(workouts: Sequence[Workout], origin: str) -> tuple[list[Workout], list[Workout]]:
    """The workouts fit to learn from, each once, in time order: as they were recorded, and cleaned.

    Raises UserError when no workout is fit.
    """
    workouts_by_digest: dict[str, tuple[Workout, Workout]] = {}  # recorded and cleaned, by the cleaned digest
    dropped: defaultdict[str, list[str]] = defaultdict(list)  # messages by code
    repaired = 0
    for workout in workouts:
        cleaned = clean(workout)
        if cleaned.workout is None:
            main = cleaned.reasons[0]  # the drop comes before the repairs
            dropped[main.code].append(main.message)
            log.debug("dropped %s: %s", workout.source, main.message)
        elif cleaned.workout.digest in workouts_by_digest:
            dropped["duplicate"].append("the same workout twice")
        else:
            workouts_by_digest[cleaned.workout.digest] = (workout, cleaned.workout)
            repaired += cleaned.verdict == "repaired"
    digests = list(workouts_by_digest)
    extents = [extent_of(cleaned) for _, cleaned in workouts_by_digest.values()]
    for worse, better in duplicates(extents).items():
        dropped["duplicate"].append(why_dropped(extents[worse], extents[better]))
        del workouts_by_digest[digests[worse]]
    _log_drops(origin, len(workouts_by_digest), repaired, dropped)
    ordered = sorted(workouts_by_digest.values(), key=lambda pair: pair[1].sort_key)
    return [recorded for recorded, _ in ordered], [cleaned for _, cleaned in ordered]


def _log_drops(origin: str, kept: int, repaired: int, dropped: Mapping[str, Sequence[str]]) -> None:
    """Log the counts. Raises UserError when nothing is left."""
    if not kept:
        why = "; ".join(f"{len(messages)} {code} ({messages[0]})" for code, messages in dropped.items())
        raise UserError(f"{origin} holds no workout to learn from: {why or 'it holds none at all'}.")
    count = sum(map(len, dropped.values()))
    log.info("%s: %d workouts kept (%d of them repaired), %d dropped", origin, kept, repaired, count)
    if dropped:
        log.info("dropped: %s", ", ".join(f"{len(messages)} {code}" for code, messages in dropped.items()))


def _describe(data: EvaluationData, *, own_split: bool) -> None:
    counts = f"{len(data.train)} train, {len(data.val)} val, {len(data.test)} test"
    log.info("split%s: %s", " (the files' own)" if own_split else " in time order", counts)
    if not own_split and not data.test:
        log.info("fewer than %d workouts: all of them train, none is held out, no early stopping", MIN_WORKOUTS)
    scale = data.level
    if scale is not None:
        values = (scale.heart_rate, scale.spread, scale.speed, scale.workouts)
        log.info("level: %.1f bpm, spread %.1f bpm, mean speed %.2f m/s (train + val, %d workouts)", *values)


def _list(people: set[str]) -> str:
    named = sorted(people)
    more = f" and {len(named) - NAMES_SHOWN} more" if len(named) > NAMES_SHOWN else ""
    return ", ".join(named[:NAMES_SHOWN]) + more
