"""The demo's parts; the whole of it runs in test_readme.py."""

import io

import httpx2
import numpy as np
import pytest
from rich.console import Console

from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import DemoFailed, play, write_parquet
from service.cli.demo_show import PROTOCOLS, draw_prediction, error_of, error_table, name_of
from service.client.client import Client, RequestFailed


@pytest.fixture
def make_client(monkeypatch):
    """A client whose requests are answered by a function."""
    made, connect = [], httpx2.Client

    def make(answer):
        transport = httpx2.MockTransport(answer)
        monkeypatch.setattr(httpx2, "Client", lambda **options: connect(**options, transport=transport))
        made.append(Client("http://stagewise.test", "sw_key"))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_a_written_table_is_read_back_as_the_same_workouts(tmp_path):
    written = simulate_runner(workouts=3, seed=2)
    write_parquet(written, tmp_path / "runner.parquet")
    read = sorted(read_workouts(tmp_path / "runner.parquet"), key=lambda workout: workout.sort_key)
    for one, other in zip(written, read, strict=True):
        assert np.array_equal(one.t, other.t)
        assert np.array_equal(one.heart_rate, other.heart_rate, equal_nan=True)
        assert np.allclose(one.altitude, other.altitude, equal_nan=True)


def test_an_export_that_cannot_be_read_ends_the_demo_with_a_sentence(tmp_path):
    (tmp_path / "notes.txt").write_text("not a workout")
    with pytest.raises(DemoFailed, match=r"notes\.txt cannot be read: .*no workouts of a known format"):
        play(tmp_path / "notes.txt", tmp_path / "demo")


def test_only_samples_whose_heart_rate_was_not_given_count_as_error():
    t, measured = np.arange(4.0) * 10, np.array([100.0, 110.0, 120.0, np.nan])
    answer = {"heart_rate": [0.0, 111.0, 123.0, 1.0], "observed_until": 10.0}
    assert error_of(answer, t, measured) == pytest.approx(2.0)
    assert error_of({**answer, "observed_until": None}, t, measured) == pytest.approx((100 + 1 + 3) / 3)


def test_the_table_has_every_model_and_baseline_beside_each_other():
    means = {protocol: {"mae": 5.0} for protocol in PROTOCOLS}
    report = {"test_workouts": 3, "baselines": {"elapsed_curve": {**means, "P2-600": {"mae": None}}}}
    report["protocols"] = {protocol: {"mean": mean} for protocol, mean in means.items()}
    shown = Console(file=io.StringIO(), width=160)
    shown.print(error_table({"base": report, "stage 1": report}))
    text = shown.file.getvalue()
    assert "3 test workouts" in text
    assert [name for name in ("base", "stage 1", "elapsed curve", "after 600 s", " - ") if name not in text] == []


def test_a_version_has_the_name_of_its_stage():
    assert name_of("2", {"base": "1", "stage 1": "2"}) == "stage 1"
    assert name_of("3", {"base": "1"}) == "3"


def test_the_picture_is_a_png(tmp_path):
    t = np.arange(0, 600.0, 10)
    band = {"lower": [110.0] * 60, "heart_rate": [120.0] * 60, "upper": [130.0] * 60}
    answers = {"Blind": {**band, "observed_until": None}, "Later": {**band, "observed_until": 180.0}}
    draw_prediction(t, np.full(60, 121.0), answers, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_a_refusal_is_told_in_the_words_of_the_api(make_client):
    problem = {"detail": "Some values are wrong.", "errors": [{"pointer": "/speed/3", "message": "must be a number"}]}
    client = make_client(lambda request: httpx2.Response(422, json=problem))
    with pytest.raises(RequestFailed, match="Some values are wrong") as refused:
        client.post("/predict", {})
    assert "/speed/3: must be a number" in str(refused.value)


def test_an_answer_that_is_no_json_is_shown(make_client):
    client = make_client(lambda request: httpx2.Response(502, text="bad gateway"))
    with pytest.raises(RequestFailed, match="HTTP 502: bad gateway"):
        client.get("/jobs")


def test_a_service_that_does_not_answer_is_a_sentence(make_client):
    def refuse(request):
        raise httpx2.ConnectError("refused")

    with pytest.raises(RequestFailed, match="does not answer"):
        make_client(refuse).get("/jobs")


def test_waiting_shows_each_answer_and_ends_with_the_job(make_client, monkeypatch):
    monkeypatch.setattr("service.client.client.POLL_SECONDS", 0.0)
    states, seen = iter(["queued", "running", "succeeded"]), []
    client = make_client(lambda request: httpx2.Response(200, json={"state": next(states), "error": None}))
    assert client.wait("7", lambda job: seen.append(job["state"]))["state"] == "succeeded"
    assert seen == ["queued", "running", "succeeded"]


def test_waiting_for_a_job_that_fails_gives_its_reason(make_client):
    job = {"state": "failed", "stage": "stage1", "error": {"code": "x", "message": "The GPU is out of memory."}}
    client = make_client(lambda request: httpx2.Response(200, json=job))
    with pytest.raises(RequestFailed, match=r"stage1 job failed: The GPU is out of memory\."):
        client.wait("7")
