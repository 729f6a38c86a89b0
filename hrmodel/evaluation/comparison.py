"""Never worse: whether a candidate may replace the champion, from their reports over the same test workouts."""

from typing import Any

import numpy as np

from hrmodel.evaluation.report import SCORE_PROTOCOLS
from hrmodel.workouts.workout import Array

MIN_TEST_WORKOUTS = 3
RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0


def compare(candidate: dict[str, Any], champion: dict[str, Any]) -> dict[str, Any]:
    """The promotion decision between two reports of `evaluate`; workouts are matched by digest.

    `difference` is candidate minus champion in bpm (negative: better), `interval` its 95 % paired bootstrap interval
    over workouts. Promoted is a lower score on at least 3 common test workouts; the interval informs, it does not
    decide. Numbers that do not exist are None.
    """
    ours, theirs = _errors(candidate), _errors(champion)
    common = [digest for digest in ours if digest in theirs]
    if len(common) < MIN_TEST_WORKOUTS:
        reason = f"Not promoted: {len(common)} common test workouts are fewer than {MIN_TEST_WORKOUTS}."
        return _decision(False, None, None, None, len(common), reason)
    pairs = np.array([[ours[digest], theirs[digest]] for digest in common])  # (workouts, 2 models, 2 protocols)
    pairs[np.isnan(pairs).any(axis=1, keepdims=True).repeat(2, axis=1)] = np.nan  # a protocol counts for both or none
    scores = _scores(pairs)
    if not np.isfinite(scores).all():
        reason = "Not promoted: a score is missing, because no common test workout is long enough or a model failed."
        return _decision(False, None, None, None, len(common), reason)
    ours_score, theirs_score = scores.tolist()
    promote = ours_score < theirs_score
    verdict = "Promoted: better" if promote else "Not promoted: not better"
    figures = f"{ours_score:.2f} against {theirs_score:.2f} bpm over {len(common)} test workouts"
    reason = f"{verdict} than the champion, {figures}."
    return _decision(promote, ours_score, theirs_score, _interval(pairs), len(common), reason)


def _errors(report: dict[str, Any]) -> dict[str, list[float]]:
    """Mean absolute error per test workout in the score's protocols; NaN where it has none."""
    return {
        row["digest"]: [float("nan") if row[name] is None else row[name] for name in SCORE_PROTOCOLS]
        for row in report["per_workout"]
    }


def _scores(pairs: Array) -> Array:
    """(W, 2, 2) -> (2,): mean over workouts per protocol, then over the protocols."""
    known = np.isfinite(pairs)
    counts = known.sum(axis=0)
    means = np.where(known, pairs, 0.0).sum(axis=0) / np.where(counts, counts, np.nan)
    scores: Array = means.mean(axis=-1)
    return scores


def _interval(pairs: Array) -> list[float]:
    generator = np.random.default_rng(SEED)
    draws = generator.integers(len(pairs), size=(RESAMPLES, len(pairs)))
    differences = np.array([np.subtract(*_scores(pairs[draw])) for draw in draws])
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
