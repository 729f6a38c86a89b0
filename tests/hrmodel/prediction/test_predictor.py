from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from hrmodel.network.inference import Inference
from hrmodel.personal.bands import DEFAULT_INTERVALS
from hrmodel.personal.correction import observed_state
from hrmodel.personal.kalman import NEW, UNKNOWN
from hrmodel.personal.response import response_features
from hrmodel.prediction import passes
from hrmodel.prediction.golden import golden_check
from hrmodel.prediction.predictor import Predictor, Query
from hrmodel.signals.features import history_feature, motion_features
from hrmodel.signals.grid import forward_fill, to_grid
from hrmodel.signals.scale import population_scale
from hrmodel.signals.steps import elapsed_steps, measured_heart_rate
from hrmodel.workouts.workout import Array, Workout
from tests.prediction_builders import (
    LEVEL,
    half_width,
    make_checkpoint,
    make_predictor,
    make_response,
    predict_one,
    predict_views,
)

RESPONSE = make_response(level=3.0, speed_120s=4.0, climb=-1.0, rise_300s=5.0, drift=2.0, hilliness=-3.0)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return make_predictor()


def recorded(samples: int, spacing: float = 10.0, *, known: int = 0, gap_at: int | None = None) -> Workout:
    t = np.arange(samples) * spacing
    if gap_at is not None:
        t[gap_at:] += 300.0
    heart_rate = np.where(np.arange(samples) < known, 145 + 12 * np.sin(t / 70), np.nan)
    return Workout(
        t=t, speed=2.8 + 0.6 * np.sin(t / 90), altitude=20 * np.sin(t / 150), heart_rate=heart_rate if known else None
    )


def run_network(predictor: Predictor, workout: Workout, history: np.ndarray) -> np.ndarray:
    segment = to_grid(workout).segments[0]
    motion = motion_features(segment, LEVEL, predictor.checkpoint.contract)
    inputs = torch.from_numpy(np.column_stack([motion, history]).astype(np.float32))[None]
    with torch.no_grad():
        return predictor.checkpoint.build()(inputs)[0].numpy().astype(np.float64)


def added_by(predictor: Predictor, workout: Workout) -> Array:
    """(S,) bpm of RESPONSE."""
    return response_features(to_grid(workout), LEVEL, predictor.checkpoint.contract) @ RESPONSE.weights


def test_a_blind_prediction_is_the_network_on_motion_alone_in_the_subjects_scale(predictor):
    workout = recorded(60)
    scaled = run_network(predictor, workout, np.zeros(60))
    prediction = predict_one(predictor, workout, level=LEVEL)
    np.testing.assert_allclose(prediction.heart_rate, LEVEL.heart_rate + LEVEL.spread * scaled, atol=1e-4)


def test_the_persons_response_is_added_to_a_blind_prediction(predictor):
    workout = recorded(60)
    without, having = (
        predict_one(predictor, workout, level=LEVEL, response=response).heart_rate for response in (None, RESPONSE)
    )
    np.testing.assert_allclose(having - without, added_by(predictor, workout), atol=1e-9)
    assert np.ptp(having - without) > 5.0


def test_without_correction_the_answer_is_the_network_with_the_carried_prefix_as_history(predictor):
    workout = recorded(60, known=20)
    history = history_feature(forward_fill(workout.heart_rate), LEVEL.heart_rate, LEVEL.spread)
    expected = LEVEL.heart_rate + LEVEL.spread * run_network(predictor, workout, history)
    prediction = predict_one(predictor, workout, level=LEVEL, correct=False)
    np.testing.assert_allclose(prediction.heart_rate, expected, atol=1e-4)


def test_the_history_of_the_free_run_is_heart_rate_less_the_response(predictor):
    workout = recorded(60, known=20)
    added = added_by(predictor, workout)
    history = history_feature(forward_fill(workout.heart_rate - added), LEVEL.heart_rate, LEVEL.spread)
    expected = LEVEL.heart_rate + LEVEL.spread * run_network(predictor, workout, history) + added
    prediction = predict_one(predictor, workout, level=LEVEL, response=RESPONSE, correct=False)
    np.testing.assert_allclose(prediction.heart_rate, expected, atol=1e-4)


def test_a_heart_rate_that_is_all_response_leaves_the_network_what_it_had_without_both(predictor):
    workout = recorded(60, known=20)
    higher = replace(workout, heart_rate=workout.heart_rate + added_by(predictor, workout))
    plain = predict_one(predictor, workout, level=LEVEL, response=make_response(variance=RESPONSE.variance))
    shifted = predict_one(predictor, higher, level=LEVEL, response=RESPONSE)
    np.testing.assert_allclose(shifted.heart_rate - plain.heart_rate, added_by(predictor, workout), atol=1e-4)


def test_after_a_prefix_the_answer_is_the_blind_one_plus_the_correction(predictor):
    workout = recorded(60, known=20)
    gridded = to_grid(workout)
    blind = predict_views(predictor, gridded, [np.full(60, np.nan)], level=LEVEL, response=RESPONSE)[0].blind
    state = observed_state(elapsed_steps(gridded), workout.heart_rate - blind, RESPONSE.variance)
    answer = predict_one(predictor, workout, level=LEVEL, response=RESPONSE).heart_rate
    # steps are predicted by torch, samples by ONNX Runtime
    np.testing.assert_allclose(answer, blind + state.correction, atol=1e-4)
    assert np.abs(state.correction[20:]).max() > 1.0


def test_a_person_who_was_never_followed_is_as_one_whose_response_is_new(predictor):
    workout = recorded(60, known=20)
    for level, start in ((LEVEL, NEW), (None, UNKNOWN)):
        answer, expected = (predict_one(predictor, workout, level=level, response=given) for given in (None, start))
        assert np.array_equal(answer.heart_rate, expected.heart_rate)


def test_the_less_sure_the_response_the_further_a_prefix_moves_the_answer(predictor):
    workout = recorded(200, known=12)
    high = replace(workout, heart_rate=workout.heart_rate + 40)
    moves = []
    for variance in (1.0, 20.0, 225.0):
        response = make_response(variance=variance)
        one, other = (predict_one(predictor, w, level=LEVEL, response=response).heart_rate for w in (workout, high))
        moves.append((other - one)[150])
    assert moves == sorted(moves)
    assert moves[2] - moves[0] > 5


def test_the_level_of_the_checkpoint_serves_when_none_is_given(predictor):
    personal = Predictor(replace(predictor.checkpoint, level=LEVEL))
    answer, expected = predict_one(personal, recorded(30)), predict_one(predictor, recorded(30), level=LEVEL)
    assert answer.level == "subject"
    assert np.array_equal(answer.heart_rate, expected.heart_rate)
    assert predict_one(predictor, recorded(30)).level == "population"


def test_without_a_level_the_answer_moves_to_the_prefix(predictor):
    workout = recorded(300, known=60)
    gridded = to_grid(workout)
    steps = predict_views(predictor, gridded, [measured_heart_rate(gridded)])[0]
    state = observed_state(elapsed_steps(gridded), workout.heart_rate - steps.blind, UNKNOWN.variance)
    np.testing.assert_allclose(steps.heart_rate, steps.blind + state.correction, atol=1e-9)
    high = replace(workout, heart_rate=workout.heart_rate + 30)
    move = predict_one(predictor, high).heart_rate - predict_one(predictor, workout).heart_rate
    assert move[0] == 0
    assert (move[61:] > 0.6 * 30).all()


def test_without_a_level_an_uncorrected_answer_is_the_free_run_in_the_populations_scale(predictor):
    workout = recorded(60, known=20)
    scale = population_scale(predictor.checkpoint.contract, to_grid(workout).mean_speed)
    free = predict_one(predictor, workout, correct=False).heart_rate
    assert np.array_equal(free, predict_one(predictor, workout, level=scale, correct=False).heart_rate)


def test_given_intervals_are_used_instead_of_the_checkpoints_which_are_used_instead_of_the_default():
    of_one_width = [{**DEFAULT_INTERVALS, "blind": [width] * 11} for width in (7.0, 3.0)]
    personal = make_predictor(intervals=of_one_width[0])
    for predictor, intervals, width in (
        (make_predictor(), None, half_width(DEFAULT_INTERVALS, "blind", 0.8)),
        (personal, None, 7.0),
        (personal, of_one_width[1], 3.0),
    ):
        prediction = predict_one(predictor, recorded(30), level=LEVEL, coverage=0.8, intervals=intervals)
        np.testing.assert_allclose(prediction.upper - prediction.heart_rate, width)
        np.testing.assert_allclose(prediction.heart_rate - prediction.lower, width)


@pytest.mark.parametrize(
    ("workout", "observed_until", "protocol"),
    [
        (recorded(60), None, "blind"),
        (recorded(60, known=20), 200.0, "forecast"),
        (recorded(60, known=60), 600.0, "nowcast"),
        (recorded(600, 1.0, known=195), 200.0, "forecast"),
        (recorded(60, known=60, gap_at=30), 900.0, "nowcast"),
    ],
)
def test_the_answer_says_until_when_heart_rate_was_known(predictor, workout, observed_until, protocol):
    prediction = predict_one(predictor, workout, level=LEVEL)
    assert (prediction.observed_until, prediction.protocol) == (observed_until, protocol)


def test_at_one_sample_per_step_every_sample_gets_its_own_step(predictor):
    workout = recorded(60, known=20)
    gridded = to_grid(workout)
    steps = predict_views(predictor, gridded, [measured_heart_rate(gridded)], level=LEVEL)[0]
    np.testing.assert_allclose(predict_one(predictor, workout, level=LEVEL).heart_rate, steps.heart_rate, atol=1e-5)


def test_blind_samples_denser_than_steps_lie_on_lines_between_the_middles_of_their_steps(predictor):
    workout = recorded(600, 1.0)
    gridded = to_grid(workout)
    steps = predict_views(predictor, gridded, [measured_heart_rate(gridded)], level=LEVEL)[0]
    expected = np.interp(workout.t, np.arange(60) * 10 + 5.0, steps.heart_rate)
    np.testing.assert_allclose(predict_one(predictor, workout, level=LEVEL).heart_rate, expected, atol=1e-5)


def test_while_heart_rate_is_observed_the_samples_of_a_step_share_one_value(predictor):
    prediction = predict_one(predictor, recorded(600, 1.0, known=300), level=LEVEL)
    by_step = prediction.heart_rate.reshape(60, 10)
    assert (np.ptp(by_step[1:31], axis=1) == 0).all()
    assert (np.ptp(by_step[31:], axis=1) > 0).all()


def test_the_band_is_as_wide_as_what_was_known_before_each_step_allows(predictor):
    prediction = predict_one(predictor, recorded(60, known=20), level=LEVEL, coverage=0.8)
    width = (prediction.upper - prediction.lower) / 2
    for step, kind in [(0, "blind"), (1, "nowcast"), (20, "nowcast"), (21, "forecast_180"), (59, "forecast_180")]:
        assert width[step] == pytest.approx(half_width(predictor.intervals, kind, 0.8)), step


def test_bands_widen_with_coverage_and_another_coverage_is_refused(predictor):
    narrow, wide = (predict_one(predictor, recorded(30), level=LEVEL, coverage=c) for c in (0.5, 0.95))
    assert (wide.lower < narrow.lower).all()
    assert (wide.upper > narrow.upper).all()
    with pytest.raises(ValueError, match=r"1\.5"):
        predict_one(predictor, recorded(30), coverage=1.5)


def test_a_heart_rate_that_no_heart_has_is_not_observed(predictor):
    workout = recorded(60, known=60)
    dropout = replace(workout, heart_rate=np.where(np.arange(60) % 7 == 3, 0.0, workout.heart_rate))
    missing = replace(workout, heart_rate=np.where(np.arange(60) % 7 == 3, np.nan, workout.heart_rate))
    one, other = predict_one(predictor, dropout, level=LEVEL), predict_one(predictor, missing, level=LEVEL)
    assert np.array_equal(one.heart_rate, other.heart_rate)


def test_the_network_starts_anew_after_a_recording_gap_and_the_correction_goes_on(predictor):
    workout = recorded(60, known=30, gap_at=30)
    second = replace(
        workout,
        t=workout.t[30:] - workout.t[30],
        speed=workout.speed[30:],
        altitude=workout.altitude[30:],
        heart_rate=None,
    )
    alone = predict_one(predictor, second, level=LEVEL).heart_rate
    whole = predict_one(predictor, workout, level=LEVEL, correct=False).heart_rate
    np.testing.assert_allclose(whole[30:], alone, atol=1e-4)
    assert not np.allclose(predict_one(predictor, workout, level=LEVEL).heart_rate[30:], alone, atol=0.1)


def test_several_views_at_once_are_each_view_alone(predictor):
    gridded = to_grid(recorded(60, known=60))
    truth = measured_heart_rate(gridded)
    views = [np.where(np.arange(60) < known, truth, np.nan) for known in (0, 5, 30, 60)]
    for level, response in ((LEVEL, None), (LEVEL, RESPONSE), (None, None)):
        together = predict_views(predictor, gridded, views, level=level, response=response)
        for view, steps in zip(views, together, strict=True):
            alone = predict_views(predictor, gridded, [view], level=level, response=response)[0]
            np.testing.assert_allclose(steps.heart_rate, alone.heart_rate, atol=1e-3)
            assert np.array_equal(steps.regimes, alone.regimes)


def test_a_workout_without_speed_altitude_or_heart_rate_still_gets_finite_plausible_numbers(predictor):
    nothing = Workout(t=np.array([0.0, 5.0, 4000.0]), speed=np.full(3, np.nan))
    for prediction in (
        predict_one(predictor, nothing),
        predict_one(predictor, nothing, level=LEVEL, response=RESPONSE),
    ):
        for values in (prediction.heart_rate, prediction.lower, prediction.upper):
            assert values.shape == (3,)
            assert ((values >= 25) & (values <= 240)).all()


def test_a_day_of_steps_and_fifty_thousand_samples_go_through(predictor):
    long = recorded(50_000, 86_390 / 50_000, known=50_000)
    assert np.isfinite(predict_one(predictor, long, level=LEVEL).heart_rate).all()


def test_threads_share_a_predictor(predictor):
    workouts = [recorded(50 + i, known=10 * (i % 3)) for i in range(12)]
    alone = [predict_one(predictor, workout, level=LEVEL).heart_rate for workout in workouts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda workout: predict_one(predictor, workout, level=LEVEL).heart_rate, workouts))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_the_golden_workout_passes_a_sane_model_and_stops_a_broken_one():
    golden_check(make_predictor())
    golden_check(make_predictor(level=LEVEL))
    for value in (float("nan"), 1e3, -1e3):
        broken = make_checkpoint()
        broken.weights["fc.bias"].fill_(value)
        with pytest.raises(ValueError, match="golden"):
            golden_check(Predictor(broken))


@pytest.mark.parametrize("hidden", [8, 64])
def test_no_bit_of_a_prediction_depends_on_what_is_predicted_together(hidden):
    predictor = make_predictor(hidden=hidden)
    queries = [
        Query(workout=recorded(samples, known=known), level=level, response=RESPONSE)
        for samples, known in ((500, 0), (500, 18), (490, 250), (505, 505), (512, 1), (480, 0), (500, 18))
        for level in (LEVEL, None)
    ]
    alone = [predictor.predict([query])[0] for query in queries]
    for size in (2, 3, 5, 8, len(queries)):
        together = [answer for i in range(0, len(queries), size) for answer in predictor.predict(queries[i : i + size])]
        for one, other in zip(alone, together, strict=True):
            assert np.array_equal(one.heart_rate, other.heart_rate), size


def test_predictions_made_together_are_those_made_alone(predictor):
    workouts = [
        *(recorded(samples) for samples in (40, 41, 60, 58, 1)),
        *(recorded(60, known=known) for known in (1, 18, 60)),
        recorded(90, 4.0, known=30),
        recorded(50, known=20, gap_at=30),
        recorded(50, known=40, gap_at=30),
    ]
    queries = [
        Query(workout=workout, level=level, response=response, correct=correct, coverage=coverage)
        for workout in workouts
        for level, response, correct, coverage in (
            (LEVEL, RESPONSE, True, 0.9),
            (None, None, True, 0.5),
            (LEVEL, None, False, 0.8),
        )
    ]
    for query, together in zip(queries, predictor.predict(queries), strict=True):
        (alone,) = predictor.predict([query])
        for name in ("heart_rate", "lower", "upper"):
            np.testing.assert_allclose(getattr(together, name), getattr(alone, name), atol=1e-3)
        assert together.observed_until == alone.observed_until
        assert (together.protocol, together.level) == (alone.protocol, alone.level)


def noted_shapes(monkeypatch) -> list[tuple[int, ...]]:
    """Filled with the shape of every pass from now on."""
    shapes: list[tuple[int, ...]] = []
    real = Inference.run
    monkeypatch.setattr(Inference, "run", lambda self, inputs: shapes.append(inputs.shape) or real(self, inputs))
    return shapes


def test_many_long_workouts_are_run_in_batches_of_bounded_size(predictor, monkeypatch):
    shapes = noted_shapes(monkeypatch)
    lengths = [5000] * 8 + [500] * 3 + [100]
    answers = predictor.predict([Query(workout=recorded(samples), level=LEVEL) for samples in lengths])
    assert [len(answer.heart_rate) for answer in answers] == lengths
    assert all(rows * steps <= passes.MAX_STEPS for rows, steps, _ in shapes)
    assert sorted(rows for rows, _, _ in shapes) == [1, 2, 3, 6]


def in_segments(lengths: list[int], known: np.ndarray | None = None) -> Workout:
    """One sample a step, and 2 minutes without any between segments of these lengths."""
    t = 10.0 * np.concatenate(
        [np.arange(n) + start for n, start in zip(lengths, np.cumsum([0, *lengths]), strict=False)]
    )
    t += 120.0 * np.repeat(np.arange(len(lengths)), lengths)
    heart_rate = None if known is None else np.where(known, 145 + 12 * np.sin(t / 70), np.nan)
    return Workout(t=t, speed=2.8 + 0.6 * np.sin(t / 90), altitude=20 * np.sin(t / 150), heart_rate=heart_rate)


def test_each_of_many_segments_is_answered_as_alone(predictor):
    lengths = [1, 40, 3, 17, 1, 33, 40, 2, 16]
    workout = in_segments(lengths)
    whole, end = predict_one(predictor, workout, level=LEVEL).heart_rate, 0
    for length in lengths:
        begin, end = end, end + length
        part = replace(
            workout,
            t=workout.t[begin:end] - workout.t[begin],
            speed=workout.speed[begin:end],
            altitude=workout.altitude[begin:end],
        )
        np.testing.assert_allclose(whole[begin:end], predict_one(predictor, part, level=LEVEL).heart_rate, atol=1e-4)


def test_a_day_of_segments_takes_as_few_passes_as_there_are_lengths(predictor, monkeypatch):
    shapes = noted_shapes(monkeypatch)
    workout = in_segments([1] * 660, np.ones(660, dtype=bool))
    predictor.predict([Query(workout=workout, level=LEVEL)] * 8)
    assert sum(rows for rows, _, _ in shapes) == 8 * 660
    assert {steps for _, steps, _ in shapes} == {1}
    assert len(shapes) <= 2


def test_which_segments_hold_heart_rate_moves_no_bit_of_the_earlier_ones(predictor):
    lengths = [7] * 60 + [30] * 3
    steps = sum(lengths)
    rng = np.random.default_rng(4)
    known = rng.random(steps) < 0.4
    one = predict_one(predictor, in_segments(lengths, known), level=LEVEL, response=RESPONSE)
    for first in (8, 150, 421, 500):
        later = known & (np.arange(steps) < first)
        other = predict_one(predictor, in_segments(lengths, later), level=LEVEL, response=RESPONSE)
        assert np.array_equal(one.heart_rate[: first + 1], other.heart_rate[: first + 1]), first
