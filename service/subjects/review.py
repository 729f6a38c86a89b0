"""A recorded workout beside its predictions: blind, and after the first three minutes."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from hrmodel.personal.zones import ZONES, likely_highest, seconds_in_zones
from hrmodel.prediction.predictor import Prediction, Predictor, Query
from hrmodel.prediction.prepared import PreparedQuery
from hrmodel.signals.grid import STEP_SECONDS, GriddedWorkout, to_grid
from hrmodel.signals.scale import population_scale
from hrmodel.signals.steps import measured_heart_rate, step_bins
from hrmodel.workouts.workout import MARKS, Array, Workout
from service.errors import Unavailable
from service.predict.deps import PredictServices
from service.predict.lookup import ServingModel
from service.predict.plan_schemas import ZoneRead
from service.predict.schemas import Addressed, AnsweredBy
from service.predict.service import find_model
from service.registry import datasets, subjects
from service.registry.artifacts import ArtifactDamaged, ArtifactMissing, ArtifactStore
from service.registry.datasets import WorkoutPlace
from service.registry.session import Database
from service.subjects.review_schemas import FaultRead, ReviewedPrediction, ReviewRead

OBSERVED_SECONDS = {"blind": 0.0, "forecast_180": 180.0}


class _Steps(NamedTuple):
    """A workout's S steps, and for each the sample that it begins with; -1 where it has none."""

    gridded: GriddedWorkout
    bins: NDArray[np.int64]
    sample: NDArray[np.int64]

    def of(self, values: Array) -> list[float | None]:
        """(N,) values of samples -> those of the steps."""
        return _nullable(np.where(self.sample < 0, np.nan, values[self.sample]))


async def review(
    services: PredictServices, account_id: UUID, subject: str, digest: str, version_id: UUID | None
) -> ReviewRead:
    """A workout of the subject's, measured and predicted. Raises NotFound, Conflict or Unavailable."""
    stored = await to_thread.run_sync(_find, services.database, account_id, subject, digest)
    body = Addressed(subject=subject, model_version_id=version_id)
    model, predictor = await find_model(services, account_id, body)
    workout = await to_thread.run_sync(_read, services.store, account_id, digest)
    prepared = await to_thread.run_sync(_prepare, workout, model, predictor)
    predictions = {
        name: await services.batcher.predict(account_id, predictor, *stages, _whole)
        for name, stages in prepared.items()
    }
    return await to_thread.run_sync(_show, digest, stored, workout, model, predictor, predictions)


def _prepare(workout: Workout, model: ServingModel, predictor: Predictor) -> dict[str, tuple[Query, PreparedQuery]]:
    queries = {name: _query(workout, model, seconds) for name, seconds in OBSERVED_SECONDS.items()}
    return {name: (query, predictor.prepare(query)) for name, query in queries.items()}


def _whole(prediction: Prediction) -> Prediction:
    return prediction


def _find(database: Database, account_id: UUID, subject: str, digest: str) -> WorkoutPlace:
    with database.reading() as session:
        return datasets.workout_of(session, account_id, subjects.require(session, account_id, subject).id, digest)


def _read(store: ArtifactStore, account_id: UUID, digest: str) -> Workout:
    try:
        return Workout.from_bytes(store.read(account_id, digest))
    except (ArtifactMissing, ArtifactDamaged, OSError) as error:
        detail = f"The file of workout {digest} is missing or damaged; upload it again."
        raise Unavailable("workout_unavailable", detail, retry_after=60) from error


def _query(workout: Workout, model: ServingModel, observed_seconds: float) -> Query:
    known = None
    if observed_seconds and workout.heart_rate is not None:
        known = np.where(workout.t < workout.t[0] + observed_seconds, workout.heart_rate, np.nan)
    told = Workout(t=workout.t, speed=workout.speed, altitude=workout.altitude, heart_rate=known)
    return model.query(told)


def _show(
    digest: str,
    stored: WorkoutPlace,
    workout: Workout,
    model: ServingModel,
    predictor: Predictor,
    predictions: dict[str, Prediction],
) -> ReviewRead:
    steps = _steps(workout)
    measured = measured_heart_rate(steps.gridded)
    level = model.level or predictor.checkpoint.level
    highest = likely_highest(level or population_scale(predictor.checkpoint.contract, steps.gridded.mean_speed))
    speed, altitude = (
        np.concatenate([getattr(segment, name) for segment in steps.gridded.segments]) for name in ("speed", "altitude")
    )
    return ReviewRead(
        digest=digest,
        started_at=stored.started_at,
        split=stored.split,
        source=stored.source,
        t=(steps.bins * STEP_SECONDS).tolist(),
        speed=_nullable(speed),
        altitude=_nullable(altitude),
        heart_rate=_nullable(measured),
        predictions=[_shown(name, prediction, steps, measured, highest) for name, prediction in predictions.items()],
        zones=_zones(measured, highest),
        max_heart_rate=round(highest, 1),
        faults=list(_faults(workout)),
        model=AnsweredBy.model_validate(model.shown),
    )


def _shown(name: Any, prediction: Prediction, steps: _Steps, measured: Array, highest: float) -> ReviewedPrediction:
    observed = OBSERVED_SECONDS[name]
    predicted = np.where(steps.sample < 0, np.nan, prediction.heart_rate[steps.sample])
    later = (steps.bins - steps.bins[0]) * STEP_SECONDS >= observed
    residuals = (measured - predicted)[later & np.isfinite(measured) & np.isfinite(predicted)]
    return ReviewedPrediction(
        name=name,
        observed_seconds=observed,
        heart_rate=_nullable(predicted),
        lower=steps.of(prediction.lower),
        upper=steps.of(prediction.upper),
        mae=round(float(np.abs(residuals).mean()), 2) if len(residuals) else None,
        bias=round(float(residuals.mean()), 2) if len(residuals) else None,
        zones=_zones(np.where(np.isfinite(measured), predicted, np.nan), highest),
    )


def _steps(workout: Workout) -> _Steps:
    gridded = to_grid(workout)
    bins = step_bins(gridded)
    first = np.searchsorted(gridded.bin_of_sample, bins)
    there = gridded.bin_of_sample[np.minimum(first, len(workout.t) - 1)] == bins
    return _Steps(gridded, bins, np.where(there, first, -1))


def _zones(heart_rate: Array, highest: float) -> list[ZoneRead]:
    seconds = seconds_in_zones(heart_rate, np.full(len(heart_rate), STEP_SECONDS), highest)
    return [
        ZoneRead(
            zone=number,
            from_bpm=round(low * highest, 1),
            to_bpm=round(high * highest, 1) if np.isfinite(high) else None,
            seconds=spent,
        )
        for number, ((low, high), spent) in enumerate(zip(ZONES, seconds, strict=True), 1)
    ]


def _faults(workout: Workout) -> Iterator[FaultRead]:
    """Stretches of neighbouring samples that were taken as missing for the same reason, in time order by reason."""
    if workout.marks is None:
        return
    for code, bit in MARKS.items():
        places = np.flatnonzero(workout.marks & bit)
        for part in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
            if len(part):
                begins, ends = float(workout.t[part[0]]), float(workout.t[part[-1]])
                yield FaultRead(code=code, begins=begins, ends=ends, samples=len(part))


def _nullable(values: Array | Sequence[float]) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 2) for value in values]
