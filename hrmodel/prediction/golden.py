"""The last check of a model before it serves: a fixed workout must give plausible heart rates."""

import numpy as np

from hrmodel.prediction.formula import HIGHEST, LOWEST
from hrmodel.prediction.predictor import Predictor, Query
from hrmodel.workouts.workout import Array, Workout

PREFIX_SAMPLES = 30  # 5 min at 10 s


def golden_workout() -> Workout:
    """40 minutes at 10 s: warm-up, hills, intervals, 1 min of standing; heart rate in the first 5 min. Closed form."""
    t = np.arange(0.0, 2400.0, 10.0)
    speed = 2.8 + 0.4 * np.sin(t / 300.0) + np.where((t // 120) % 4 == 3, 0.9, 0.0)
    speed[200:206] = 0.0
    heart_rate = 100.0 + 45.0 * (1.0 - np.exp(-t / 60.0))
    heart_rate[PREFIX_SAMPLES:] = np.nan
    return Workout(t=t, speed=speed, altitude=50.0 + 15.0 * np.sin(t / 200.0), heart_rate=heart_rate)


def golden_check(predictor: Predictor) -> None:
    """Predict the golden workout. Raises ValueError unless every value is finite and inside 25..240 bpm.

    A value at a bound fails too: predictions are clipped there, so it stands for a value beyond.
    """
    (prediction,) = predictor.predict([Query(workout=golden_workout())])
    _check("heart rate", prediction.heart_rate)
    _check("band", np.concatenate([prediction.lower, prediction.upper]), at_bounds=True)


def _check(name: str, values: Array, *, at_bounds: bool = False) -> None:
    inside = (values >= LOWEST) & (values <= HIGHEST) if at_bounds else (values > LOWEST) & (values < HIGHEST)
    if not inside.all():  # NaN is not inside either
        worst = values[~inside][0]
        raise ValueError(f"the golden workout's {name} must be finite and inside {LOWEST:g}..{HIGHEST:g}, not {worst}")
