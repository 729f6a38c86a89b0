"""The base model that comes with the software."""

import json
from pathlib import Path

import pytest
import torch

from hrmodel.evaluation.population import held_out_person
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.original_format import from_original_pt
from hrmodel.personal.bands import KINDS, LEVELS, MINUTES, half_width
from hrmodel.prediction.golden import golden_check
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.grid import GriddedWorkout, to_grid
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import Workout
from tests.prediction_builders import report_of
from tests.shared_data import personal_parquet

FOLDER = Path(__file__).resolve().parents[3] / "hrmodel" / "pretrained"


@pytest.fixture(scope="module")
def base() -> Checkpoint:
    return Checkpoint.read(FOLDER / "base.safetensors")


def test_it_is_the_originals_network_and_rebuilds_from_its_file_alone(base):
    assert sum(p.numel() for p in base.build().parameters()) == 51_009
    assert base.level is None


def test_it_gives_plausible_heart_rates(base):
    golden_check(Predictor(base))


def test_its_twin_in_the_originals_format_has_the_same_weights(base):
    twin = from_original_pt(FOLDER / "base.pt")
    assert all(torch.equal(twin.weights[name], weights) for name, weights in base.weights.items())


def test_nobody_of_the_personal_data_was_in_its_training():
    made_from = json.loads((FOLDER / "base.json").read_text())
    people = {*made_from["train_people"], *made_from["held_out_people"]}
    assert len(people) == 17
    assert all(person.startswith("a") for person in people)


def test_its_bands_widen_with_the_coverage_and_narrow_with_what_is_known(base):
    for kind in KINDS:
        for minutes in MINUTES:
            widths = [half_width(base.intervals, kind, coverage, minutes) for coverage in LEVELS]
            assert 0 < widths[0] <= widths[-1], kind
            assert widths == sorted(widths), kind
    for minutes in MINUTES[1:4]:
        widths = [half_width(base.intervals, kind, 0.9, minutes) for kind in ("forecast_600", "forecast_180", "blind")]
        assert widths == sorted(widths), minutes
    nowcast = half_width(base.intervals, "nowcast", 0.9, MINUTES[0])
    assert nowcast < half_width(base.intervals, "forecast_600", 0.9, MINUTES[0])


def test_it_knows_a_simulated_person_better_than_their_own_curves(base):
    report = report_of(Predictor(base), held_out_person(on_grid(simulate_runner(workouts=16, seed=5))))
    blind = report["protocols"]["P1"]["mean"]["mae"]
    assert blind < 6.5
    assert blind < report["baselines"]["elapsed_curve"]["P1"]["mae"] - 1.0
    assert report["score"] < 6.0


def test_it_knows_a_real_person_whom_it_never_saw(base):
    recorded = [workout for workout in read_workouts(personal_parquet()) if workout.person == "p004"]
    latest = sorted(recorded, key=lambda workout: workout.sort_key)[-30:]
    report = report_of(Predictor(base), held_out_person(on_grid(latest)))
    errors = {name: table["mean"]["mae"] for name, table in report["protocols"].items()}
    assert errors["P1"] < 6.6
    assert errors["P2-180"] < 4.2
    assert errors["P3-30"] < 2.4
    assert errors["P1"] < min(table["P1"]["mae"] for table in report["baselines"].values())


def on_grid(workouts: list[Workout]) -> list[GriddedWorkout]:
    return [to_grid(workout, workout.digest) for workout in workouts]
