"""The base model that comes with the software."""

import json
from pathlib import Path

import pytest
import torch

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.export import from_seed_pt
from hrmodel.prediction.golden import golden_check
from hrmodel.prediction.predictor import Predictor

FOLDER = Path(__file__).resolve().parents[2] / "hrmodel" / "pretrained"


@pytest.fixture(scope="module")
def base() -> Checkpoint:
    return Checkpoint.read(FOLDER / "base.safetensors")


def test_it_is_the_seeds_network_and_rebuilds_from_its_file_alone(base):
    assert sum(p.numel() for p in base.build().parameters()) == 51_009
    assert base.level is None


def test_it_gives_plausible_heart_rates(base):
    golden_check(Predictor(base))


def test_its_seed_format_twin_has_the_same_weights(base):
    twin = from_seed_pt(FOLDER / "base.pt")
    assert all(torch.equal(twin.weights[name], weights) for name, weights in base.weights.items())


def test_nobody_of_the_personal_data_was_in_its_training():
    made_from = json.loads((FOLDER / "base.json").read_text())
    people = {*made_from["train_people"], *made_from["held_out_people"]}
    assert len(people) == 17
    assert all(person.startswith("a") for person in people)


def test_its_bands_widen_with_the_coverage_and_narrow_with_what_is_known(base):
    rows = {kind: row for kind, row in base.intervals.items() if kind != "levels"}
    assert all(row == sorted(row) for row in rows.values())
    at_90 = base.intervals["levels"].index(0.9)
    assert rows["nowcast"][at_90] < rows["forecast_600"][at_90] < rows["blind"][at_90]
