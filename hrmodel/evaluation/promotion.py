"""Never worse: whether a candidate may replace the champion, from their reports over the same test workouts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hrmodel.evaluation.report import SCORE_PROTOCOLS
from hrmodel.workouts.workout import Array

MIN_TEST_WORKOUTS = 3
RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0


def compare(candidate: dict[str, Any], champion: dict[str, Any]) -> dict[str, Any]:
    """The promotion decision between two reports of `evaluate`, or of `evaluate_people`; workouts match by digest.

    `difference` is candidate minus champion in bpm (negative: better): of one person the workouts count equally, of
    many the people. `interval` is its 95 % paired bootstrap interval, over workouts or over people; None for less than
    two. Promoted is a lower score on at least 3 common test workouts; the interval informs, it does not decide.
    Numbers that do not exist are None.
    """
    ours, theirs = _rows(candidate), _rows(champion)
    common = [digest for digest in ours if digest in theirs]
    if len(common) < MIN_TEST_WORKOUTS:
        reason = f"Not promoted: {len(common)} common test workouts are fewer than {MIN_TEST_WORKOUTS}."
        return _decision(False, None, None, None, len(common), reason)
    errors = np.array([[_errors(ours[digest]), _errors(theirs[digest])] for digest in common])
    errors[np.isnan(errors).any(axis=1, keepdims=True).repeat(2, axis=1)] = np.nan  # a protocol counts for both or none
    people: list[Any] = [ours[digest].get("person") for digest in common]
    units = errors if None in people else _of_people(errors, people)
    scores = _scores(units)
    if not np.isfinite(scores).all():
        reason = "Not promoted: a score is missing, because no common test workout is long enough or a model failed."
        return _decision(False, None, None, None, len(common), reason)
    ours_score, theirs_score = scores.tolist()
    promote = ours_score < theirs_score
    verdict = "Promoted: better" if promote else "Not promoted: not better"
    over = f"{len(common)} test workouts" + ("" if None in people else f" of {len(set(people))} people")
    reason = f"{verdict} than the champion, {ours_score:.2f} against {theirs_score:.2f} bpm over {over}."
    return _decision(promote, ours_score, theirs_score, _interval(units), len(common), reason)


def _rows(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["digest"]: row for row in report["per_workout"]}


def _errors(row: dict[str, Any]) -> list[float]:
    """Mean absolute error of a test workout in the score's protocols; NaN where it has none."""
    return [float("nan") if row[name] is None else row[name] for name in SCORE_PROTOCOLS]


def _of_people(errors: Array, people: Sequence[int]) -> Array:
    """(W, 2 models, 2 protocols) errors of workouts -> (P, 2, 2) those of people; who lacks a protocol has none."""
    person = np.array(people)
    means = np.array([_means(errors[person == one]) for one in dict.fromkeys(people)])
    means[np.isnan(means).any(axis=(1, 2))] = np.nan
    return means


def _means(errors: Array) -> Array:
    """(N, 2, 2) -> (2, 2): mean over those that are known; NaN over none."""
    known = np.isfinite(errors)
    counts = known.sum(axis=0)
    means: Array = np.where(known, errors, 0.0).sum(axis=0) / np.where(counts, counts, np.nan)
    return means


def _scores(errors: Array) -> Array:
    """(N, 2 models, 2 protocols) -> (2,): mean over workouts or people per protocol, then over the protocols."""
    scores: Array = _means(errors).mean(axis=-1)
    return scores


def _interval(errors: Array) -> list[float] | None:
    if len(errors) < 2:
        return None
    generator = np.random.default_rng(SEED)
    draws = generator.integers(len(errors), size=(RESAMPLES, len(errors)))
    differences = np.array([np.subtract(*_scores(errors[draw])) for draw in draws])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(differences, [tail, 1 - tail])
    return [float(low), float(high)]


def _decision(
    promote: bool, ours: float | None, theirs: float | None, interval: list[float] | None, workouts: int, reason: str
) -> dict[str, Any]:
    return {
        "promote": promote,
        "candidate_score": ours,
        "champion_score": theirs,
        "difference": None if ours is None or theirs is None else ours - theirs,
        "interval": interval,
        "test_workouts": workouts,
        "selected_on": "test",
        "reason": reason,
    }
