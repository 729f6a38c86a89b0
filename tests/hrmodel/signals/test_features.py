import numpy as np
import pytest

from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.features import history_feature, motion_features
from hrmodel.signals.grid import Segment
from hrmodel.signals.scale import SubjectScale

CONTRACT = FeatureContract()
LEVEL = SubjectScale(heart_rate=150.0, spread=10.0, speed=3.0, speed_spread=0.5, workouts=20)
NAN = float("nan")


def make(speed, altitude=None):
    steps = len(speed)
    altitude = np.full(steps, NAN) if altitude is None else np.array(altitude, dtype=float)
    return Segment(first_step=0, speed=np.array(speed, dtype=float), altitude=altitude, heart_rate=np.full(steps, NAN))


def test_speed_is_in_the_subjects_scale_and_zero_where_it_is_unknown():
    features = motion_features(make([3.0, 4.0, NAN]), LEVEL, CONTRACT)
    np.testing.assert_allclose(features, [[0, 0], [2, 0], [0, 0]])
    assert features.dtype == np.float32


def test_vertical_speed_is_the_centred_difference_and_one_sided_at_the_ends():
    features = motion_features(make([3.0] * 4, [0, 2, 6, 4]), LEVEL, CONTRACT)
    np.testing.assert_allclose(features[:, 1] * CONTRACT.vertical_speed_scale, [0.2, 0.3, 0.1, -0.2], rtol=1e-6)


def test_vertical_speed_is_clipped_and_zero_next_to_an_unknown_altitude():
    features = motion_features(make([3.0] * 5, [0, 100, 0, NAN, 0]), LEVEL, CONTRACT)
    np.testing.assert_allclose(features[:, 1], [10, 0, 0, 0, 0])


def test_a_single_step_has_no_vertical_speed():
    np.testing.assert_array_equal(motion_features(make([3.5], [10]), LEVEL, CONTRACT), [[1, 0]])


def test_history_is_the_heart_rate_of_the_step_before():
    history = history_feature(np.array([160.0, NAN, 140.0, 170.0]), 150.0, 10.0)
    np.testing.assert_allclose(history, [0, 1, 0, -1])
    assert history.dtype == np.float32


def test_the_heart_rate_of_a_step_never_reaches_its_own_or_an_earlier_history():
    heart_rate = np.linspace(120, 160, 9)
    before = history_feature(heart_rate, 150.0, 10.0)
    for t in range(9):
        changed = heart_rate.copy()
        changed[t:] = 60.0
        assert history_feature(changed, 150.0, 10.0)[: t + 1].tobytes() == before[: t + 1].tobytes()


def test_the_contract_survives_json_and_refuses_another_one():
    assert FeatureContract.from_dict(CONTRACT.to_dict()) == CONTRACT
    with pytest.raises(ValueError, match="step_seconds"):
        FeatureContract.from_dict({"altitude_mean": 1.0})
