"""POST /predict/plan: for whom it plans, in which units, and that the plan is what /predict would say of it."""

from pathlib import Path

import numpy as np
import pytest

from hrmodel.personal.response import NAMES
from service.registry import model_versions
from service.registry.shipped import install_shipped_base
from tests.builders import crown, on_sqlite
from tests.prediction_builders import LEVEL, make_state

pytestmark = on_sqlite
PRETRAINED = Path(__file__).resolve().parents[3] / "hrmodel" / "pretrained"
DISTANCE = [0, 500, 1000, 1500, 2000, 3000]
ALTITUDE = [210, 210, 235, 235, 210, 210]
ROWS = ("t", "distance", "speed", "altitude", "lower", "heart_rate", "upper")


@pytest.fixture
def base(database, store):
    """The base that came with the software: the real one."""
    install_shipped_base(database, store, PRETRAINED)


@pytest.fixture
def person(database, make_dataset, make_version):
    """A subject with a champion of their own that knows them, and the champion."""
    dataset = make_dataset()
    version = make_version(dataset, seed=3)
    crown(database, dataset.subject_id, make_version(), version)
    state = make_state(**dict.fromkeys(NAMES, 0.5), variance=9.0).to_dict()
    with database.unit_of_work() as session:
        model_versions.set_person_state(session, dataset.subject_id, version.id, dataset.id, state)
    return version


def post(client, **body):
    response = client.post("/predict/plan", json={"distance": DISTANCE, "heart_rate_cap": 150, **body})
    assert response.status_code == 200, response.text
    return response.json()


def refused(client, **body):
    response = client.post("/predict/plan", json={"distance": DISTANCE, "heart_rate_cap": 150, **body})
    assert (response.status_code, response.headers["Content-Type"]) == (422, "application/problem+json")
    return response.json()["errors"][0]


def test_a_plan_keeps_the_cap_and_its_parts_agree(client, base):
    plan = post(client, altitude=ALTITUDE)
    assert plan["feasible"]
    assert plan["over_cap_seconds"] == 0
    assert 140 < max(plan["heart_rate"]) <= 150.5
    assert len({len(plan[row]) for row in ROWS}) == 1
    assert plan["t"][:3] == [0, 10, 20]
    segments = plan["segments"]
    assert [segment["ends"] for segment in segments] == [500, 1000, 1500, 2000, 2500, 3000]
    assert sum(segment["seconds"] for segment in segments) == pytest.approx(plan["seconds"], abs=0.5)
    assert all(segment["seconds_per_km"] == pytest.approx(1000 / segment["speed"], rel=0.001) for segment in segments)
    assert segments[1]["climb"] == 25
    assert segments[1]["speed"] < segments[2]["speed"]
    assert max(segment["highest_heart_rate"] for segment in segments) == max(plan["heart_rate"])
    assert all(low < mean < high for low, mean, high in zip(*(plan[row] for row in ROWS[-3:]), strict=True))
    assert max(plan["speed"]) <= plan["fastest"]


def test_without_a_subject_the_plan_is_for_a_usual_runner(client, base):
    plan = post(client)
    assert plan["level"] == "population"
    assert (plan["model"]["stage"], plan["model"]["subject"]) == ("base", None)
    assert plan["altitude"] is None
    assert plan["max_heart_rate"] == 195  # 153 + 3 * 14
    assert 2.2 < 3000 / plan["seconds"] < 3.6


def test_time_in_zones_adds_up(client, base):
    zones = post(client, max_heart_rate=180)["zones"]
    assert [zone["from_bpm"] for zone in zones] == [90, 108, 126, 144, 162]
    assert [zone["to_bpm"] for zone in zones] == [108, 126, 144, 162, None]
    assert sum(zone["seconds"] for zone in zones) == pytest.approx(post(client)["seconds"], abs=0.5)
    assert zones[-1]["seconds"] == 0


def test_predict_says_the_same_of_the_plans_rows(client, person):
    """So a plan can be followed: send its rows again with the heart rate observed so far."""
    plan = post(client, subject="me", altitude=ALTITUDE)
    assert plan["level"] == "subject"
    assert plan["model"] == {"version_id": str(person.id), "stage": "stage1", "subject": "me"}
    assert plan["fastest"] == pytest.approx(LEVEL.speed + 2 * LEVEL.speed_spread)
    again = client.post("/predict", json={"subject": "me", **{row: plan[row] for row in ("t", "speed", "altitude")}})
    for row in ("heart_rate", "lower", "upper"):
        assert again.json()[row] == pytest.approx(plan[row], abs=0.1)


def test_a_version_can_be_named(client, base, person):
    assert post(client, model_version_id=str(person.id))["model"]["version_id"] == str(person.id)


def test_units_are_converted(client, base):
    metric = post(client, altitude=ALTITUDE)
    feet = [value / 0.3048 for value in ALTITUDE]
    for unit, metres in (("km", 1000), ("mi", 1609.344)):
        distance = [value / metres for value in DISTANCE]
        plan = post(client, distance=distance, altitude=feet, units={"distance": unit, "altitude": "ft"})
        assert plan["seconds"] == pytest.approx(metric["seconds"], rel=0.001)
        assert plan["segments"][-1]["ends"] == pytest.approx(3000)


def test_a_cap_that_cannot_be_kept_is_planned_at_the_slowest_speed_and_said(client, base):
    plan = post(client, heart_rate_cap=80)
    assert not plan["feasible"]
    assert plan["over_cap_seconds"] == plan["seconds"] == 3000
    assert all(segment["over_cap"] and segment["speed"] == 1 for segment in plan["segments"])


def test_a_wider_band_for_more_coverage(client, base):
    narrow, wide = post(client, coverage=0.5), post(client, coverage=0.99)
    assert narrow["heart_rate"] == wide["heart_rate"]
    assert all(a > b for a, b in zip(narrow["lower"], wide["lower"], strict=True))


@pytest.mark.parametrize(
    ("distance", "unit", "likely"),
    [
        ([0, 5, 10], "m", "it looks like km or mi"),
        ([0, 0.1, 90], "m", "it looks like km"),
        ([0, 5000, 10_000], "km", "it looks like m"),
        ([0, 5000, 10_000], "mi", "it looks like m"),
    ],
)
def test_a_route_in_another_unit_is_refused_with_the_likely_one(client, base, distance, unit, likely):
    error = refused(client, distance=distance, units={"distance": unit})
    assert error["pointer"] == "/distance"
    assert error["message"].endswith(likely)


def test_a_plan_over_16_hours_is_refused(client, base):
    error = refused(client, distance=[0, 100_000], heart_rate_cap=80)
    assert error["pointer"] == "/heart_rate_cap"
    assert "16 h" in error["message"]


def test_the_longest_routes_are_planned(client, make_version):
    make_version()
    distance = np.linspace(0, 80_000, 2000)
    plan = post(client, distance=distance.tolist(), altitude=(20 * np.sin(distance / 900)).tolist())
    assert len(plan["segments"]) <= 30
    assert len(plan["t"]) == len(plan["heart_rate"])


def test_a_version_without_its_file_is_a_503(client, store, make_version):
    store.delete(None, make_version().sha256)
    response = client.post("/predict/plan", json={"distance": DISTANCE, "heart_rate_cap": 150})
    assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
