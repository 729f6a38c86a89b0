import json

import numpy as np

from hrmodel.evaluation.examples import MAX_POINTS, best_median_worst, series
from hrmodel.evaluation.forecasters import Answer
from tests.prediction_builders import make_gridded


class Wave:
    """Predicts the same wave, and 3 bpm more where it was told any heart rate; its 90 % band is 12 bpm to each side."""

    def answers(self, questions):
        for question in questions:
            wave = 140.0 + 20 * np.sin(np.arange(len(question.tasks[0].view)))
            bands = {"0.9": np.full(len(wave), 12.0), "0.8": np.full(len(wave), 8.0)}
            told = [np.isfinite(task.view).any() for task in question.tasks]
            yield [Answer(heart_rate=wave + 3.0 * any_told, half_width=bands) for any_told in told]


def shown(heart_rate):
    return series(Wave(), make_gridded(heart_rate), response=None)


def test_a_series_has_the_blind_prediction_its_90_percent_band_and_the_forecast_from_180_seconds_on():
    columns = {name: np.array(values, dtype=float) for name, values in shown(np.full(60, 140.0)).items()}
    wave = 140.0 + 20 * np.sin(np.arange(60))
    np.testing.assert_allclose(columns["minutes"], np.arange(60) / 6, atol=0.006)
    for name, expected in {"predicted": wave, "lower": wave - 12, "upper": wave + 12}.items():
        np.testing.assert_allclose(columns[name], expected, atol=0.051, err_msg=name)
    assert np.isnan(columns["after_180_s"][:18]).all()
    np.testing.assert_allclose(columns["after_180_s"][18:], wave[18:] + 3, atol=0.051)


def test_best_median_and_worst_are_places_and_none_is_passed_over():
    assert best_median_worst([5.0, None, 9.0, 1.0, 7.0]) == {"best": 3, "median": 0, "worst": 2}
    assert best_median_worst([5.0, 3.0, 4.0]) == {"best": 1, "median": 2, "worst": 0}


def test_no_workout_is_shown_twice():
    assert best_median_worst([2.0, 1.0]) == {"best": 1, "worst": 0}
    assert best_median_worst([None, 2.0]) == {"best": 1}
    assert best_median_worst([None]) == best_median_worst([]) == {}
    assert sorted(best_median_worst([4.0, 4.0, 4.0]).values()) == [0, 1, 2]


def test_missing_heart_rate_is_none_and_is_predicted_nevertheless():
    heart_rate = np.full(60, 140.0)
    heart_rate[30:35] = np.nan
    columns = shown(heart_rate)
    assert columns["measured"][29:36] == [140.0, None, None, None, None, None, 140.0]
    assert None not in columns["predicted"]


def test_a_workout_too_short_for_180_seconds_has_no_forecast():
    assert shown(np.full(24, 140.0))["after_180_s"] == [None] * 24


def test_long_workouts_are_thinned_so_that_three_stay_below_60_kb():
    for steps in (MAX_POINTS, MAX_POINTS + 1, 3 * MAX_POINTS + 7):
        columns = shown(np.linspace(100, 180, steps))
        assert MAX_POINTS / 3 < len(columns["minutes"]) <= MAX_POINTS
        assert len(set(np.diff(columns["minutes"]).round(1))) == 1
        assert 3 * len(json.dumps(columns)) < 60_000
