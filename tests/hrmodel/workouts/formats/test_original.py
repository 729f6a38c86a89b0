import json
import os
import pickle
from contextlib import nullcontext
from datetime import timedelta

import numpy as np
import pytest
import torch

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats import original
from hrmodel.workouts.formats.heads import is_torch
from hrmodel.workouts.formats.source import Source
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import EPOCH, Workout
from tests.original_writer import write_original_dataset


def tensors(**changes):
    """Two workouts in km/h: 500 and 300 steps, the second padded with 0."""
    clock = (torch.arange(500.0, dtype=torch.float64) * 10).reshape(1, 500, 1).repeat(2, 1, 1)
    clock[1, 300:] = 0
    content = {
        "speed": torch.full((2, 500, 1), 10.8),
        "altitude": torch.full((2, 500, 1), 50.0),
        "heart_rate": torch.full((2, 500, 1), 140.0),
        "timestamps": clock,
        "original_lengths": torch.tensor([[500], [300]]),
    }
    return content | changes


def placed(path, **options):
    """The file as the catalogue hands it over: with the files beside it."""

    def beside(name):
        other = path.parent / name
        return nullcontext(Source(path=other) if other.exists() else None)

    return Source(path=path, name=path.name, beside=beside, **options)


@pytest.fixture
def read(tmp_path):
    def save_and_read(content, name="train.pt", **options):
        torch.save(content, tmp_path / name)
        assert is_torch((tmp_path / name).read_bytes()[:4096])
        return list(original.read(placed(tmp_path / name, **options)))

    return save_and_read


def test_the_originals_workouts_are_in_kilometres_an_hour_and_cut_at_their_length(read):
    first, second = read(tensors(), name="val.pt")
    np.testing.assert_allclose(first.speed, 3.0, rtol=1e-6)
    assert (len(first.t), first.t[-1], len(second.t), second.t[-1]) == (500, 4990, 300, 2990)
    assert first.split == "val"
    assert second.started_at - first.started_at == timedelta(hours=1)
    assert (first.started_at - EPOCH).days == 2314  # behind the training workouts


def test_a_clock_that_runs_through_means_a_stretched_workout_that_is_valid_whole(read):
    clock = torch.linspace(0, 900, 500, dtype=torch.float64).reshape(1, 500, 1).repeat(2, 1, 1)
    workouts = read(tensors(timestamps=clock, original_lengths=torch.tensor([[91], [9000]])))
    assert [(len(w.t), round(w.t[-1])) for w in workouts] == [(500, 900)] * 2


def test_dates_in_the_timestamps_are_the_clock(read):
    workout = read(tensors(timestamps=tensors()["timestamps"] + 1.4e9))[0]
    assert (workout.started_at.timestamp(), workout.t[1]) == (1.4e9, 10)


def test_other_units_can_be_declared(read):
    workout = read(tensors(), units=Units(speed="mi/h", altitude="ft"))[0]
    assert workout.speed[0] == pytest.approx(4.828, abs=1e-3)
    assert workout.altitude[0] == pytest.approx(15.24)


def test_people_are_kept_apart(read):
    assert [w.person for w in read(tensors(userId=torch.tensor([[7.0], [8.0]])))] == ["7", "8"]
    assert [w.person for w in read(tensors(userId=["a", "b"]))] == ["a", "b"]


def test_a_scaler_beside_the_file_is_undone(read, tmp_path):
    scaler = {"speed_mean": 10.8, "speed_std": 3.6, "altitude_mean": 100.0, "altitude_std": 20.0}
    (tmp_path / original.SCALER_FILE).write_text(json.dumps(scaler))
    workout = read(tensors(speed=torch.full((2, 500, 1), -1.0), altitude=torch.full((2, 500, 1), 2.0)))[0]
    assert (workout.speed[0], workout.altitude[0]) == (pytest.approx(2.0), pytest.approx(140.0))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"speed_mean": "x"}', '{"speed_mean": NaN}', "[" * 60_000])
def test_a_bad_scaler_is_refused(read, tmp_path, text):
    (tmp_path / original.SCALER_FILE).write_text(text)
    with pytest.raises(InvalidFile) as caught:
        read(tensors())
    assert caught.value.code == "bad_scaler"


def test_standardised_values_without_a_scaler_are_refused_with_the_reason(read):
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(InvalidFile, match=r"standardised.*scaler_params\.json") as caught:
        read(tensors(speed=torch.randn(2, 500, 1, generator=generator)))
    assert caught.value.code == "standardised_without_scaler"


SERIES = torch.rand(2, 500, 1) + 9


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ([1, 2], "unknown_schema"),
        ({}, "unknown_schema"),
        ({1: torch.zeros(1)}, "unknown_schema"),
        (tensors(speed="fast"), "unknown_schema"),
        (tensors(speed=torch.zeros(2, 400, 1)), "unknown_schema"),
        (tensors(speed=torch.zeros(3, 500, 1)), "unknown_schema"),
        (tensors(heart_rate=torch.zeros(2, 500)), "unknown_schema"),
        (tensors(speed=SERIES.to(torch.complex64)), "unknown_schema"),
        (tensors(speed=SERIES.to_sparse()), "unknown_schema"),
        (tensors(speed=torch.zeros(2, 500, 1, device="meta")), "unknown_schema"),
        (tensors(speed=torch.zeros(1).expand(2, 500, 1)), "unknown_schema"),
        (tensors(original_lengths=torch.tensor([[1.0], [float("nan")]])), "unknown_schema"),
        (tensors(original_lengths=torch.tensor([[-1], [3]])), "unknown_schema"),
        (tensors(original_lengths=torch.tensor([3])), "unknown_schema"),
        (tensors(userId=["a"]), "unknown_schema"),
        (tensors(userId="ab"), "unknown_schema"),
        (tensors(timestamps=tensors()["timestamps"] * float("nan")), "invalid_workout"),
        (tensors(timestamps=(tensors()["timestamps"] + 1.4e9).to(torch.float32)), "rounded_timestamps"),
    ],
)
def test_wrong_types_and_shapes_are_refused(read, content, code):
    with pytest.raises(InvalidFile) as caught:
        read(content)
    assert caught.value.code == code


class Hostile:
    def __reduce__(self):
        return (os.mkdir, ("hostile",))


def test_code_in_a_pickle_never_runs(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidFile) as caught:
        read({"speed": Hostile()})
    assert caught.value.code == "broken_pt"
    (tmp_path / "val.pt").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(InvalidFile):
        list(original.read(placed(tmp_path / "val.pt")))
    assert not (tmp_path / "hostile").exists()


def test_a_damaged_file_is_refused(read, tmp_path):
    read(tensors())
    whole = (tmp_path / "train.pt").read_bytes()
    (tmp_path / "train.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidFile) as caught:
        list(original.read(placed(tmp_path / "train.pt")))
    assert caught.value.code == "broken_zip"


def test_the_name_must_say_the_split(read):
    with pytest.raises(InvalidFile, match=r"train\.pt, val\.pt, test\.pt"):
        read(tensors(), name="model.pt")


def test_what_we_write_comes_back(tmp_path):
    runs = simulate_runner(workouts=4)
    t = np.arange(0, 9000.0, 10)
    long = Workout(t=t, speed=np.full(900, 3.0), heart_rate=np.linspace(100, 160, 900), started_at=EPOCH)
    write_original_dataset({"train": runs[:2], "val": [runs[2]], "test": [runs[3], long]}, tmp_path / "data")
    read = {split: [w for w in read_workouts(tmp_path / "data") if w.split == split] for split in original.SPLITS}
    assert {split: len(found) for split, found in read.items()} == {"train": 2, "val": 1, "test": 2}
    for before, after in zip(runs, (*read["train"], *read["val"], read["test"][0]), strict=True):
        assert after.started_at == before.started_at
        assert after.t[-1] == pytest.approx(before.t[-1], abs=10)
        np.testing.assert_allclose(after.speed, np.interp(after.t, before.t, before.speed), atol=1e-4)
        np.testing.assert_allclose(after.altitude, np.interp(after.t, before.t, before.altitude), atol=1e-2)
        assert clean(after).verdict == "kept"
    stretched = read["test"][1]
    assert (len(stretched.t), stretched.t[-1]) == (500, 8990)
    np.testing.assert_allclose(stretched.heart_rate, np.linspace(100, 160, 500), rtol=1e-5)
