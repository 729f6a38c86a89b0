import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.grid import to_grid
from hrmodel.signals.scale import fit_scale
from hrmodel.training.batches import ScaledWorkout, View, assemble, features_of
from hrmodel.training.views import TrainingViews, ValidationViews, draw_views
from tests.network_builders import small_scaled, small_workout

CONTRACT = FeatureContract()


def scaled(workout):
    gridded = to_grid(workout, workout.digest)
    return ScaledWorkout(gridded=gridded, level=fit_scale([gridded], CONTRACT))


def inputs_of(workout, view):
    """(segments, T, 3) of one workout in one view."""
    return assemble([(features, view) for features in features_of([workout], CONTRACT)], "train").inputs


def test_shares_of_the_drawn_views_are_those_of_the_design():
    views = [view for workout in draw_views([3000.0] * 4000, seed=1) for view in workout]
    prefixes = np.array([view.prefix_seconds for view in views])
    between = prefixes[(prefixes > 0) & np.isfinite(prefixes)]
    assert np.mean(prefixes == 0) == pytest.approx(0.35, abs=0.01)
    assert np.mean(np.isinf(prefixes)) == pytest.approx(0.05, abs=0.01)
    assert np.mean([view.drop_altitude for view in views]) == pytest.approx(0.20, abs=0.01)
    assert between.min() >= 20
    assert between.max() <= 3000
    assert np.median(between) == pytest.approx(math.sqrt(20 * 3000), rel=0.05)  # log-uniform


def test_views_depend_on_the_seed_and_not_on_the_workouts_that_follow():
    assert draw_views([900.0, 1200.0], seed=3) == draw_views([900.0, 1200.0, 600.0], seed=3)[:2]
    assert draw_views([900.0], seed=3) != draw_views([900.0], seed=4)


def test_a_workout_shorter_than_the_shortest_prefix_still_has_views():
    assert all(view.prefix_seconds in (0, 20, math.inf) for view in draw_views([10.0], seed=0)[0])


@pytest.mark.parametrize(("seconds", "known"), [(0, 0), (9.9, 0), (10, 1), (65, 6), (120, 12), (math.inf, 20)])
def test_a_prefix_shows_only_steps_that_ended_within_it(seconds, known):
    workout = scaled(small_workout())
    history = inputs_of(workout, View(seconds))[0, :, 2]
    everything = inputs_of(workout, View(math.inf))[0, :, 2]
    assert torch.equal(history[1 : known + 1], everything[1 : known + 1])
    assert torch.count_nonzero(history[1 : known + 1]) == min(known, 19)
    assert torch.count_nonzero(history[known + 1 :]) == 0


def test_history_is_the_scaled_heart_rate_of_the_step_before():
    workout = scaled(small_workout())
    features = features_of([workout], CONTRACT)[0]
    history = inputs_of(workout, View(math.inf))[0, :, 2]
    assert history[0] == 0
    assert np.allclose(history[1:], features.target[:-1])


def test_a_response_is_taken_off_target_and_history_and_leaves_motion_alone():
    whole = scaled(small_workout())
    response = np.linspace(-8, 12, 20)
    plain, followed = (features_of([replace(whole, response=given)], CONTRACT)[0] for given in (np.zeros(20), response))
    share = response / whole.level.spread
    np.testing.assert_allclose(plain.target - followed.target, share, atol=1e-5)
    np.testing.assert_allclose((plain.history - followed.history)[1:], share[:-1], atol=1e-5)
    assert followed.history[0] == 0
    assert np.array_equal(plain.motion, followed.motion)


def test_a_response_of_zero_is_none():
    whole = scaled(small_workout())
    plain, zero = (features_of([replace(whole, response=given)], CONTRACT)[0] for given in (None, np.zeros(20)))
    for name in ("motion", "history", "target", "mask"):
        assert np.array_equal(getattr(plain, name), getattr(zero, name)), name


def test_each_segment_has_its_own_part_of_the_response():
    workout = small_workout(steps=40)
    keep = (workout.t < 100) | (workout.t >= 200)  # segments [0, 100) and [200, 400)
    channels = {name: getattr(workout, name)[keep] for name in ("t", "speed", "altitude", "heart_rate")}
    whole = scaled(small_workout(**channels))
    response = np.r_[np.full(10, 3.0), np.full(20, -5.0)]
    plain, followed = (features_of([replace(whole, response=given)], CONTRACT) for given in (None, response))
    for segment, bpm in enumerate((3.0, -5.0)):
        change = plain[segment].target - followed[segment].target
        np.testing.assert_allclose(change, bpm / whole.level.spread, atol=1e-5)


def test_steps_without_a_reading_have_no_target_whatever_the_response():
    workout = small_workout()
    heart_rate = np.where((workout.t >= 50) & (workout.t < 80), np.nan, workout.heart_rate)
    whole = replace(scaled(small_workout(heart_rate=heart_rate)), response=np.full(20, 7.0))
    batch = assemble([(features_of([whole], CONTRACT)[0], View(math.inf))], "train")
    assert batch.target[0, 5:8].tolist() == [0, 0, 0]
    assert torch.isfinite(batch.inputs).all()


def test_no_heart_rate_after_the_prefix_reaches_the_inputs():
    quiet = small_workout()
    loud_heart = np.where(quiet.t >= 60, quiet.heart_rate + 30, quiet.heart_rate)
    level = scaled(quiet).level
    both = [
        ScaledWorkout(gridded=to_grid(small_workout(heart_rate=heart_rate)), level=level)
        for heart_rate in (quiet.heart_rate, loud_heart)
    ]
    before, after = (inputs_of(workout, View(60.0)) for workout in both)
    assert torch.equal(before, after)


def test_carried_heart_rate_does_not_reach_over_the_end_of_the_prefix():
    workout = small_workout()
    heart_rate = np.where((workout.t >= 50) & (workout.t < 80), np.nan, workout.heart_rate)
    history = inputs_of(scaled(small_workout(heart_rate=heart_rate)), View(60.0))[0, :, 2]
    assert history[6] != 0  # step 5 has no reading; the one of step 4 is carried
    assert torch.count_nonzero(history[7:]) == 0  # carried on, step 6 would still have a value


def test_a_later_segment_counts_the_prefix_from_the_start_of_the_workout():
    whole = small_workout(steps=40)
    keep = (whole.t < 100) | (whole.t >= 200)  # segments [0, 100) and [200, 400)
    channels = {name: getattr(whole, name)[keep] for name in ("t", "speed", "altitude", "heart_rate")}
    second = inputs_of(scaled(small_workout(**channels)), View(250.0))[1, :, 2]
    assert second[0] == 0
    assert torch.count_nonzero(second) == 5  # steps ending at 210..250 s


def test_dropped_altitude_is_a_vertical_speed_of_zero():
    workout = scaled(small_workout())
    assert torch.count_nonzero(inputs_of(workout, View(0.0))[..., 1]) > 0
    assert torch.count_nonzero(inputs_of(workout, View(0.0, drop_altitude=True))[..., 1]) == 0


def test_steps_without_a_reading_are_masked_and_their_target_is_zero():
    workout = small_workout()
    heart_rate = np.where((workout.t >= 50) & (workout.t < 80), np.nan, workout.heart_rate)
    batch = assemble([(features_of([scaled(small_workout(heart_rate=heart_rate))], CONTRACT)[0], View(0.0))], "train")
    assert batch.mask[0].tolist() == [not 5 <= step < 8 for step in range(20)]
    assert batch.target[0, 5:8].tolist() == [0, 0, 0]


def test_a_workout_without_any_heart_rate_gives_no_sequence():
    workout = small_workout()
    empty = small_workout(heart_rate=np.full(len(workout.t), np.nan))
    views = TrainingViews([ScaledWorkout(gridded=to_grid(empty), level=scaled(workout).level)], CONTRACT, 0, 8)
    assert (len(views), views.workouts) == (0, 0)


def test_an_epoch_is_one_pass_over_every_workout_in_the_epochs_view():
    views = TrainingViews(small_scaled(11), CONTRACT, seed=5, batch_size=4)
    drawn = draw_views([(20 - number % 5) * 10.0 for number in range(11)], seed=5)
    for epoch in (1, 8, 9):
        keys = [key for batch in views.batches(epoch) for key in batch.keys]
        assert sorted(key.workout for key in keys) == list(range(11))
        assert all(key.view == drawn[key.workout][(epoch - 1) % 8] for key in keys)
    assert len(views) == 3


def test_an_epochs_batches_are_the_same_each_time_and_differ_from_the_next_epochs():
    first, again, later = (
        [batch.keys for batch in TrainingViews(small_scaled(11), CONTRACT, 5, 4).batches(epoch)] for epoch in (1, 1, 9)
    )
    assert first == again
    assert first != later


def test_batches_are_padded_to_their_own_longest_sequence_only():
    for batch in TrainingViews(small_scaled(11), CONTRACT, 0, 2).batches(1):
        assert batch.inputs.shape == (len(batch.keys), max(batch.lengths), 3)
        for row, length in enumerate(batch.lengths):
            assert not batch.mask[row, length:].any()
            assert torch.count_nonzero(batch.inputs[row, length:]) == 0


def test_validation_has_every_workout_blind_and_with_180_seconds_observed():
    views = ValidationViews(small_scaled(3), CONTRACT, batch_size=4)
    keys = [key for batch in views.batches() for key in batch.keys]
    assert sorted((key.workout, key.view.prefix_seconds) for key in keys) == [
        (workout, prefix) for workout in range(3) for prefix in (0, 180)
    ]
    assert not any(key.view.drop_altitude for key in keys)
