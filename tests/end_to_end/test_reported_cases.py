"""Files of the kinds that people report, through the API of an embedded service and through the offline reader."""

import logging
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from hrmodel.offline.data import load_data
from hrmodel.offline.errors import UserError
from hrmodel.workouts.errors import InvalidFile
from service.local.background import running
from tests.end_to_end.journey import Api
from tests.reported_cases import RIGHT, Right, case_file

pytestmark = pytest.mark.slow
CASES = [(name, right) for name, several in RIGHT.items() for right in several]
IDS = [f"{name}{' as ' + right.sport if right.sport else ''}" for name, right in CASES]


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running(tmp_path_factory.mktemp("state")) as service, Api(service.url, service.key) as api:
        yield api


@pytest.fixture(scope="module")
def uploads(api) -> dict[str, dict[str, Any]]:
    """Every case uploaded for a person of its own; they are imported side by side."""
    made = {}
    for number, ((name, right), case) in enumerate(zip(CASES, IDS, strict=True)):
        sport = f"&sport={right.sport}" if right.sport else ""
        address = f"/datasets?subject=case{number}&name={quote(name)}{sport}"
        made[case] = api.post(address, content=case_file(name).read_bytes()) | {"subject": f"case{number}"}
    return made


def report_of(api: Api, upload: dict[str, Any]) -> dict[str, Any]:
    while api.get(f"/jobs/{upload['job_id']}")["state"] in ("queued", "running"):
        pass
    return api.get(f"/datasets/{upload['id']}/report")


def words(report: dict[str, Any]) -> str:
    """All that the report says."""
    said = [file["problem"] or "" for file in report["files"]]
    said += [reason["message"] for workout in report["workouts"] for reason in workout["reasons"]]
    return "\n".join(said)


def check(api: Api, subject: str, workout: dict[str, Any], right: Right) -> None:
    if right.samples is not None:
        assert workout["samples"] == right.samples
    if right.seconds is not None:
        assert workout["duration_s"] == pytest.approx(right.seconds, abs=4)
    if right.date is not None:
        assert workout["started_at"].startswith(right.date)
    shown = api.get(f"/subjects/{subject}/workouts/{workout['digest']}")
    for channel, allowed in (("heart_rate", 1.0), ("speed", 0.03), ("altitude", 1.0)):
        if (expected := getattr(right, channel)) is not None:
            values = [value for value in shown[channel] if value is not None]
            assert np.mean(values) == pytest.approx(expected, abs=allowed), channel


@pytest.mark.parametrize(("case", "right"), [(case, right) for case, (_, right) in zip(IDS, CASES, strict=True)])
def test_the_service_reads_it_right(api, uploads, case, right):
    report = report_of(api, uploads[case])
    kept = [workout for workout in report["workouts"] if workout["digest"]]
    assert len(kept) == right.kept, words(report)
    for workout in kept:
        check(api, uploads[case]["subject"], workout, right)
    for word in right.said:
        assert word in words(report)


@pytest.mark.parametrize(("name", "right"), CASES, ids=IDS)
def test_the_offline_commands_keep_the_same_workouts(api, uploads, name, right, caplog):
    case = f"{name}{' as ' + right.sport if right.sport else ''}"
    report = report_of(api, uploads[case])
    caplog.set_level(logging.INFO)
    try:
        data = load_data(case_file(name), sport=right.sport)
        kept = {workout.digest for workout in data.workouts}
    except (UserError, InvalidFile):
        kept = set()
    assert kept == {workout["digest"] for workout in report["workouts"] if workout["digest"]}
