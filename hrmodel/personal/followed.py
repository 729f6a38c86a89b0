"""What following a person through their workouts has left, as a checkpoint keeps it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from hrmodel.personal.kalman import Belief, Days, Tracking
from hrmodel.personal.response import NAMES, Response


@dataclass(frozen=True, kw_only=True, eq=False)
class Followed:
    """The person's state after `workouts` workouts, the last of which began at `until`."""

    tracking: Tracking  # of the response: it goes on with the next workout
    intervals: dict[str, list[Any]] | None  # the person's own bands; None: the model's
    until: datetime  # UTC
    workouts: int

    @property
    def response(self) -> Response:
        """What is added to the network's answer in the next workout."""
        return self.tracking.response

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; numbers come back exactly."""
        return {
            "filters": [_belief_to_dict(belief) for belief in self.tracking.beliefs],
            "weights": list(NAMES),
            "intervals": self.intervals,
            "until": self.until.isoformat(),
            "workouts": self.workouts,
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Followed":
        """The inverse of `to_dict`. Raises ValueError for other weights than NAMES, KeyError for a missing one."""
        if values["weights"] != list(NAMES):
            raise ValueError(f"a response has weights for {', '.join(NAMES)}, not {', '.join(values['weights'])}")
        beliefs = tuple(_belief_from_dict(belief) for belief in values["filters"])
        if not beliefs:
            raise ValueError("a followed response has at least one filter")
        return Followed(
            tracking=Tracking(size=len(NAMES), beliefs=beliefs),
            intervals=values["intervals"],
            until=datetime.fromisoformat(values["until"]),
            workouts=int(values["workouts"]),
        )


def _belief_to_dict(belief: Belief) -> dict[str, Any]:
    days = belief.days
    return {
        "days": {"wander": days.wander, "own": days.own, "before": days.before},
        "mean": belief.mean.tolist(),
        "covariance": belief.covariance.tolist(),
        "log_likelihood": float(belief.foresaw),
    }


def _belief_from_dict(values: dict[str, Any]) -> Belief:
    mean, covariance = np.array(values["mean"], dtype=float), np.array(values["covariance"], dtype=float)
    if mean.shape != (len(NAMES),) or covariance.shape != (len(NAMES), len(NAMES)):
        raise ValueError(f"a filter has {len(NAMES)} weights, not arrays of {mean.shape} and {covariance.shape}")
    days = Days(**values["days"])
    return Belief(days=days, mean=mean, covariance=covariance, foresaw=float(values["log_likelihood"]))
