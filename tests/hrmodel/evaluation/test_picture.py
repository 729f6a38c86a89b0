import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from matplotlib.image import imread

from hrmodel.evaluation.picture import draw_evaluation, strongest_baseline


def make_report(examples=3):
    """A report as it is read back from JSON: None for what is not known."""
    means = {"mae": 5.0, **{f"mae_zone_{zone}": 4.0 + zone for zone in (2, 3, 4)}, "mae_zone_1": None}
    means |= {f"share_zone_{zone}": share for zone, share in enumerate((0.0, 0.004, 0.3, 0.6, 0.09), start=1)}
    bands = {level: {"measured": float(level) - 0.05, "half_width": 20 * float(level)} for level in ("0.5", "0.9")}
    table = {"workouts": 3, "mean": means, "median": means, "reliability": bands}
    names = ("best", "median", "worst")[:examples]
    return {
        "score": 5.0,
        "test_workouts": 3,
        "protocols": {"P1": table, "P2-180": table, "P2-600": {"mean": {}, "reliability": {}}, "P3-30": table},
        "baselines": {"ridge": {"P1": {"mae": 5.5}}, "training_mean": {"P1": {"mae": 9.0}}, "none": {"P1": {}}},
        "examples": [make_example(which, steps) for which, steps in zip(names, (20, 60, 40), strict=False)],
    }


def make_example(which, steps):
    measured = (140 + 10 * np.sin(np.arange(steps) / 5)).round(1).tolist()
    measured[3] = None
    minutes = [round(step / 6 + (5 if step > steps / 2 else 0), 2) for step in range(steps)]  # with a pause
    blind = [142.0] * steps
    bands = {"predicted": blind, "lower": [130.0] * steps, "upper": [154.0] * steps, "after_180_s": [None] * steps}
    errors = {"ridge": {"P1": 6.0, "P2-180": None}, "training_mean": {"P1": 9.0, "P2-180": None}}
    return (
        {"which": which, "P1": 4.0, "P2-180": None, "baselines": errors, "minutes": minutes}
        | bands
        | {"measured": measured}
    )


def drawn(report) -> np.ndarray:
    """(height, width, 4) pixels; a warning, such as a layout that does not fit, fails."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_evaluation(report, buffer, "stage 1")
    buffer.seek(0)
    return imread(buffer)


def test_the_picture_is_1000_pixels_wide_and_has_a_row_per_example():
    heights = []
    for examples in (0, 1, 3):
        pixels = drawn(make_report(examples))
        assert pixels.shape[1] == 1000
        heights.append(pixels.shape[0])
    assert np.diff(heights).tolist() == [230, 460]


def test_a_report_without_examples_bands_zones_and_score_can_be_drawn():
    bare = {"mean": {"mae": None}}
    drawn({"score": None, "test_workouts": 1, "protocols": {"P1": bare}, "baselines": {"ridge": {"P1": {"mae": None}}}})
    drawn({"score": None, "test_workouts": 0, "protocols": {}, "baselines": {}, "examples": []})


def test_a_workout_of_one_step_can_be_drawn():
    drawn(make_report(0) | {"examples": [make_example("best", 4), make_example("worst", 4)]})
    single = {name: value[:1] if isinstance(value, list) else value for name, value in make_example("best", 9).items()}
    drawn(make_report(0) | {"examples": [single]})


def test_the_strongest_baseline_has_the_lowest_blind_error():
    assert strongest_baseline(make_report()) == "ridge"
    assert strongest_baseline({"baselines": {"ridge": {"P1": {"mae": None}}}}) is None


def test_a_png_is_written_to_a_path_and_by_many_threads_at_once(tmp_path):
    def draw(place):
        target = tmp_path / f"{place}.png"
        draw_evaluation(make_report(1), target, "stage 2")
        return target.read_bytes()

    with ThreadPoolExecutor(3) as pool:
        (picture,) = set(pool.map(draw, range(3)))
    assert picture.startswith(b"\x89PNG")
