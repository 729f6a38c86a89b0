"""A workout from a file: the request for its prediction, and the picture of the answer."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.source import SaidSport
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.workout import EPOCH, Array, Workout
from service.cli.demo_show import draw_prediction, error_of
from service.client.types import PredictionJson

COLUMNS = ("t", "speed", "altitude", "heart_rate")


class UnreadableWorkout(Exception):
    """There is no workout to predict; the text says why."""


def read(file: Path, number: int | None, sport: str | None = None) -> Workout:
    """The file's workout with that number, from 1 in time order; by default the newest, preferably a run.

    `sport`: that of files that name none. Raises UnreadableWorkout.
    """
    if sport not in (None, "running"):
        raise UnreadableWorkout(f"--sport takes running, not {sport}: only runs are learned from.")
    said: SaidSport | None = "running" if sport else None
    if not file.exists():
        raise UnreadableWorkout(f"There is no file {file}.")
    if file.suffix.lower() == ".csv":
        return _read_csv(file)
    try:
        found = sorted(read_workouts(file, sport=said), key=lambda each: each.started_at or EPOCH)
    except InvalidFile as error:
        raise UnreadableWorkout(f"{file} cannot be read: {error}") from error
    if not found:
        raise UnreadableWorkout(f"There is no workout in {file}.")
    if number is not None and not 1 <= number <= len(found):
        raise UnreadableWorkout(f"{file} holds {len(found)} workouts; --workout takes 1 to {len(found)}.")
    if number is not None:
        return _run(file, found[number - 1])
    runs = [workout for workout in found if workout.sport == "running"]
    return _run(file, (runs or found)[-1])


def _run(file: Path, workout: Workout) -> Workout:
    if workout.sport == "running":
        return workout
    source = f" ({workout.sport_source})" if workout.sport_source else ""
    if workout.sport == "unknown":
        raise UnreadableWorkout(f"{file} names no sport{source}; if it was a run, say so with --sport running.")
    raise UnreadableWorkout(f"The workout of {file} is {workout.sport}{source}; only runs are predicted.")


def _read_csv(file: Path) -> Workout:
    """Columns t (s) and speed (m/s), perhaps altitude (m) and heart_rate (bpm); an empty cell is a missing value."""
    try:
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        found = {name: np.array([_cell(row[name]) for row in rows]) for name in COLUMNS if rows and name in rows[0]}
        if not {"t", "speed"} <= found.keys():
            raise ValueError("One of the two is missing.")
        altitude, heart_rate = found.get("altitude"), found.get("heart_rate")
        return Workout(t=found["t"], speed=found["speed"], altitude=altitude, heart_rate=heart_rate)
    except (ValueError, TypeError, OSError) as error:
        raise UnreadableWorkout(
            f"{file} is no CSV of a workout: it needs a header with t (seconds, increasing) and speed (m/s); altitude "
            f"(m) and heart_rate (bpm) may be there. {error}"
        ) from error


def _cell(text: str) -> float:
    return float(text) if text.strip() else float("nan")


def ask(workout: Workout, subject: str, observed: float) -> dict[str, Any]:
    """The request for a workout, with the heart rate of its first `observed` seconds."""
    body: dict[str, Any] = {"subject": subject, "t": workout.t.tolist(), "speed": _nullable(workout.speed)}
    if workout.altitude is not None and np.isfinite(workout.altitude).any():
        body["altitude"] = _nullable(workout.altitude)
    if observed and workout.heart_rate is not None:
        body["heart_rate"] = _nullable(np.where(workout.t - workout.t[0] < observed, workout.heart_rate, np.nan))
    return body


def summary(workout: Workout, answer: PredictionJson) -> str:
    """What came out, in a few lines."""
    predicted = np.array(answer["heart_rate"])
    minutes = (workout.t[-1] - workout.t[0]) / 60.0
    start = f" of {workout.started_at:%Y-%m-%d %H:%M} UTC" if workout.started_at else ""
    model = answer["model"]
    lines = [
        f"{minutes:.0f} min{start}, predicted {answer['protocol']} by {model['stage']} ({model['version_id'][:8]}):",
        f"  mean {predicted.mean():.0f} bpm, highest {predicted.max():.0f} bpm",
    ]
    if workout.heart_rate is not None and np.isfinite(workout.heart_rate).any():
        measured = workout.heart_rate
        lines.append(f"  measured: mean {np.nanmean(measured):.0f} bpm, highest {np.nanmax(measured):.0f} bpm")
        lines.append(f"  off by {error_of(answer, workout.t, measured):.1f} bpm on average, where it was not told")
    return "\n".join(lines)


def draw(workout: Workout, answer: PredictionJson, observed: float, target: Path) -> None:
    """A PNG of measured (where there is any) and predicted, with the band."""
    measured = np.full(len(workout.t), np.nan) if workout.heart_rate is None else workout.heart_rate
    title = f"After {observed:g} s of heart rate" if observed else "Blind"
    draw_prediction(workout.t, measured, {title: answer}, target)


def write_csv(workout: Workout, answer: PredictionJson, target: Path) -> None:
    """t, heart_rate, lower, upper: a row per sample."""
    with target.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("t", "heart_rate", "lower", "upper"))
        rows = zip(workout.t.tolist(), answer["heart_rate"], answer["lower"], answer["upper"], strict=True)
        writer.writerows(rows)


def _nullable(values: Array) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
