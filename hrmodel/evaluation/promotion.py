"""Champion against challenger: whether a trained model may replace the serving one, on the same held-out workouts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrmodel.evaluation.report import SCORE_PROTOCOLS, Report
from hrmodel.workouts.workout import Array

MIN_TEST_WORKOUTS = 3
RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether the challenger replaces the champion, and the evidence. Errors are in bpm; None: not measured.

    `workouts`: test workouts that both were scored on; None when one of the two was not scored at all.
    `difference`: the challenger's error minus the champion's; negative: better.
    `interval`: the 95 % bootstrap interval of that difference.
    """

    promote: bool
    reason: str
    workouts: int | None = None
    candidate_score: float | None = None
    champion_score: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it is stored in JSON."""
        return {
            "promote": self.promote,
            "candidate_score": self.candidate_score,
            "champion_score": self.champion_score,
            "difference": self.difference,
            "interval": list(self.interval) if self.interval else None,
            "test_workouts": self.workouts,
            "selected_on": "test",
            "reason": self.reason,
        }


def compare(challenger: Report | None, champion: Report | None) -> Decision:
    """Decide between two reports of `evaluate`, or two of `evaluate_people`; None: not scored on these workouts.

    Workouts are matched by digest. A person's workouts count equally; of many people (a base) the people do. The
    interval is a paired bootstrap over the same units; None for fewer than two. The challenger is promoted when its
    error is lower on at least 3 common test workouts. The interval informs, it does not decide.
    """
    if challenger is None or champion is None:
        return _rejected(None, "the two were not both scored on the newest test workouts")
    challenger_rows, champion_rows = _by_digest(challenger), _by_digest(champion)
    common = [digest for digest in challenger_rows if digest in champion_rows]
    if len(common) < MIN_TEST_WORKOUTS:
        return _rejected(len(common), f"{len(common)} common test workouts are fewer than {MIN_TEST_WORKOUTS}")
    errors = np.array([[_errors(challenger_rows[digest]), _errors(champion_rows[digest])] for digest in common])
    errors[np.isnan(errors).any(axis=1, keepdims=True).repeat(2, axis=1)] = np.nan  # a protocol counts for both or none
    people: list[Any] = [challenger_rows[digest].get("person") for digest in common]
    units = errors if None in people else _errors_of_people(errors, people)
    totals = _total_errors(units)
    if not np.isfinite(totals).all():
        return _rejected(
            len(common), "a score is missing, because no common test workout is long enough or a model failed"
        )
    over = f"{len(common)} test workouts" + ("" if None in people else f" of {len(set(people))} people")
    return _decided(*totals.tolist(), workouts=len(common), over=over, interval=_interval(units))


def _rejected(workouts: int | None, reason: str) -> Decision:
    """Without two errors to compare, the champion stays."""
    return Decision(promote=False, workouts=workouts, reason=f"Not promoted: {reason}.")


def _decided(
    challenger: float, champion: float, *, workouts: int, over: str, interval: tuple[float, float] | None
) -> Decision:
    promote = challenger < champion
    verdict = "Promoted: better" if promote else "Not promoted: not better"
    return Decision(
        promote=promote,
        reason=f"{verdict} than the champion, {challenger:.2f} against {champion:.2f} bpm over {over}.",
        workouts=workouts,
        candidate_score=challenger,
        champion_score=champion,
        difference=challenger - champion,
        interval=interval,
    )


def _by_digest(report: Report) -> dict[str, dict[str, Any]]:
    return {row["digest"]: row for row in report["per_workout"]}


def _errors(row: dict[str, Any]) -> list[float]:
    """Mean absolute error of a test workout in the score's protocols; NaN where it has none."""
    return [float("nan") if row[name] is None else row[name] for name in SCORE_PROTOCOLS]


def _errors_of_people(errors: Array, people: Sequence[int]) -> Array:
    """(W, 2 models, 2 protocols) errors of workouts -> (P, 2, 2) of people; NaN for a person who lacks a protocol."""
    person = np.array(people)
    means = np.array([_means(errors[person == number]) for number in dict.fromkeys(people)])
    means[np.isnan(means).any(axis=(1, 2))] = np.nan
    return means


def _means(errors: Array) -> Array:
    """(N, 2, 2) -> (2, 2): mean over the finite errors; NaN over none."""
    finite = np.isfinite(errors)
    counts = finite.sum(axis=0)
    means: Array = np.where(finite, errors, 0.0).sum(axis=0) / np.where(counts, counts, np.nan)
    return means


def _total_errors(errors: Array) -> Array:
    """(N, 2 models, 2 protocols) -> (2,): mean over workouts or people per protocol, then over the protocols."""
    totals: Array = _means(errors).mean(axis=-1)
    return totals


def _interval(errors: Array) -> tuple[float, float] | None:
    """Percentile interval of the paired difference: workouts or people are drawn again with replacement."""
    if len(errors) < 2:
        return None
    generator = np.random.default_rng(SEED)
    draws = generator.integers(len(errors), size=(RESAMPLES, len(errors)))
    differences = np.array([np.subtract(*_total_errors(errors[draw])) for draw in draws])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(differences, [tail, 1 - tail])
    return float(low), float(high)
