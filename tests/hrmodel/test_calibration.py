import numpy as np
import pytest

from hrmodel.evaluation.calibration import calibrate
from hrmodel.evaluation.contenders import EvaluationData
from hrmodel.evaluation.report import evaluate
from hrmodel.prediction.intervals import DEFAULT_INTERVALS, KINDS, LEVELS
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.features import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.level import fit_level
from hrmodel.workouts.simulate import simulate_runner
from tests.prediction_builders import make_checkpoint, make_gridded, make_predictor


@pytest.fixture(scope="module")
def workouts():
    return [to_grid(workout, workout.digest) for workout in simulate_runner(workouts=18, seed=7)]


def test_bands_from_validation_hold_their_share_of_the_test_workouts(workouts):
    level = fit_level(workouts[:12], FeatureContract())
    intervals = calibrate(make_predictor(gain=1.0), workouts[:12], level=level)
    calibrated = Predictor(make_checkpoint(gain=1.0, intervals=intervals))
    report = evaluate(calibrated, EvaluationData(train=(), val=workouts[:12], test=workouts[12:], level=level))
    for name, table in report["protocols"].items():
        assert table["coverage"]["0.8"] == pytest.approx(0.8, abs=0.15), name
        assert table["coverage"]["0.9"] == pytest.approx(0.9, abs=0.12), name


def test_every_kind_has_a_row_and_knowing_more_gives_a_narrower_band(workouts):
    intervals = calibrate(make_predictor(gain=1.0), workouts, level=fit_level(workouts, FeatureContract()))
    assert set(intervals) == {"levels", *KINDS}
    assert all(len(row) == len(LEVELS) for row in intervals.values())
    assert intervals["nowcast"][8] < intervals["forecast_600"][8] < intervals["blind"][8]


def test_below_five_workouts_the_fallback_serves_whole(workouts):
    predictor, base = make_predictor(), {**DEFAULT_INTERVALS, "blind": [float(i) for i in range(11)]}
    assert calibrate(predictor, workouts[:4], fallback=base) == base
    assert calibrate(predictor, workouts[:4]) == DEFAULT_INTERVALS
    assert calibrate(Predictor(make_checkpoint(intervals=base)), []) == base


def test_a_kind_that_no_workout_is_long_enough_for_takes_the_fallback_row():
    short = [make_gridded(140 + np.sin(np.arange(40) + i)) for i in range(6)]
    intervals = calibrate(make_predictor(), short, level=fit_level(short, FeatureContract()))
    assert intervals["forecast_600"] == pytest.approx(DEFAULT_INTERVALS["forecast_600"])
    assert intervals["forecast_180"] != DEFAULT_INTERVALS["forecast_180"]
