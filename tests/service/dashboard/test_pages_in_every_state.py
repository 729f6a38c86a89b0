"""Every page shows itself for every kind of row in every state, and errors of pages are pages."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from starlette.testclient import TestClient

from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import Workout
from service.registry import fleets
from service.registry.session import Database
from service.registry.tables import (
    ChampionChange,
    Dataset,
    DatasetFile,
    DatasetKind,
    DatasetState,
    DatasetWorkout,
    Evaluation,
    Job,
    JobLogLine,
    JobState,
    Stage,
    utc_now,
)
from tests import builders, registry_builders
from tests.builders import add_epochs, add_evaluation, add_job, add_recorded, add_workout, crown, on_sqlite

pytestmark = on_sqlite
CONFIGURATION = {
    "stage": "stage1",
    "recipe": "auto",
    "epochs": 20,
    "learning_rate": 0.001,
    "batch_size": 8,
    "freeze_layers": [0],
}
DECISION = {"promote": True, "reason": "Its error is lower.", "difference": -0.5, "test_workouts": 5}
COUNTS = {"train_workouts": 3, "val_workouts": 1, "test_workouts": 1, "dropped_workouts": 0}
# what jobs of each stage leave, and what older versions of this service left
RESULTS: list[dict[str, Any] | None] = [
    None,
    {},
    COUNTS,
    {"score": 5.4, "promoted": True, "decision": DECISION},
    {"score": None, "promoted": False, "decision": {**DECISION, "promote": False, "difference": None}},
    {"score": 5.4, "decision": {"promote": False}},
    {"score": 5.4, "decision": None},
]
CONFIGURATIONS: list[dict[str, Any]] = [{}, {"epochs": 20}, CONFIGURATION, {"learning_rate": 0.001}]


@pytest.fixture
def shown(connect, database) -> Callable[[str], str | None]:
    """What is wrong with a page: None when it is one, and as it should be."""
    client: TestClient = connect()
    client.follow_redirects = False
    key = builders.add_key(database, "read", "train", "predict")
    client.post("/ui/sign-in", data={"key": key, "to": "/"}, headers={"Origin": "http://testserver"})

    def wrong(address: str, status: int = 200) -> str | None:
        answer = client.get(address)
        html = answer.headers.get("content-type", "").startswith("text/html")
        if (answer.status_code, html) != (status, True):
            return f"{answer.status_code} {answer.text[:200]}"
        return "a traceback" if "Traceback" in answer.text or "jinja2" in answer.text else None

    return wrong


def change(database: Database, row: Any, **columns: Any) -> None:
    with database.unit_of_work() as session:
        stored = session.get_one(type(row), row.id)
        for name, value in columns.items():
            setattr(stored, name, value)


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage != Stage.FLEET])
def test_jobs_of_each_stage_in_each_state(shown, database, make_dataset, stage):
    assert {
        state: faults for state in JobState if (faults := faults_of_job(shown, database, make_dataset, stage, state))
    } == {}


def faults_of_job(shown, database, make_dataset, stage, state) -> dict[str, str]:
    """What is wrong with the pages of such a job, by what it holds."""
    base = {"kind": DatasetKind.POPULATION, "subject_id": None}
    dataset = make_dataset(subject="anna", **(base if stage == Stage.BASE else {}))
    ended = state not in (JobState.QUEUED, JobState.RUNNING)
    failed = {"error_code": "worker_crashed", "error_message": None} if state == JobState.FAILED else {}
    job = add_job(database, dataset, stage, state=state, **failed)
    faults = {}
    for result in RESULTS if state == JobState.SUCCEEDED else RESULTS[:1]:
        for configuration in CONFIGURATIONS:
            change(database, job, result=result, configuration=configuration)
            faults[str((result, configuration))] = shown(f"/ui/jobs/{job.id}")
    add_epochs(database, job, 2)
    with database.unit_of_work() as session:
        session.add(JobLogLine(job_id=job.id, attempt=1, message="<b>Traceb</b>"))
    times = {"started_at": utc_now(), "finished_at": utc_now() if ended else None}
    phase = {"phase": "testing", "phase_done": 31.0, "phase_total": 45.0, "eta_seconds": 1.5}
    about = {"attempt": 2, "epoch": 2, "progress": 0.5, "cancel_requested": True, "configuration": CONFIGURATION}
    change(database, job, **about, **phase, **times)
    faults["with epochs and a log"] = shown(f"/ui/jobs/{job.id}")
    faults["home"], faults["jobs"] = shown("/"), shown("/ui/jobs")
    return {name: fault for name, fault in faults.items() if fault}


@pytest.mark.parametrize("state", [state for state in JobState if state != JobState.QUEUED])
def test_fleets_in_each_state(shown, database, make_dataset, make_version, state):
    base, datasets = make_version(), [make_dataset(subject=f"p{number}") for number in range(2)]
    with database.unit_of_work() as session:
        people = [(dataset, {Stage.STAGE1: CONFIGURATION, Stage.STAGE2: CONFIGURATION}) for dataset in datasets]
        about = {"recipe": "auto", "stages": ["stage1", "stage2"], "people": 2, "skipped": 1}
        fleet = fleets.add(session, datasets[0].account_id, people, start_model_version_id=base.id, configuration=about)
        children = session.query(Job).filter(Job.parent_id == fleet.id).all()
    assert shown(f"/ui/jobs/{fleet.id}") is None
    change(database, children[0], state=JobState.FAILED, error_code="non_finite_loss", finished_at=utc_now())
    change(database, children[1], state=JobState.SUCCEEDED, result={"decision": DECISION}, finished_at=utc_now())
    change(database, fleet, state=state)
    assert [shown(f"/ui/jobs/{job.id}") for job in (fleet, *children)] == [None] * 5
    assert shown("/") is None


@pytest.mark.parametrize("kind", DatasetKind)
@pytest.mark.parametrize("state", DatasetState)
def test_datasets_in_each_state_with_and_without_a_report(shown, database, make_dataset, make_version, kind, state):
    make_version()
    values: dict[str, Any] = {"subject_id": None} if kind == DatasetKind.POPULATION else {}
    failed = {"error_code": "unreadable_upload", "error_message": None} if state == DatasetState.FAILED else {}
    dataset = make_dataset(subject="anna", kind=kind, state=state, name="", **values, **failed)
    before = shown(f"/ui/datasets/{dataset.id}")  # whose import job is gone, too
    add_job(database, dataset, Stage.IMPORT, state=JobState.RUNNING)
    with database.unit_of_work() as session:
        session.add_all(report_of(dataset))
    addresses = [f"/ui/datasets/{dataset.id}", "/", *(["/ui/people/anna", "/ui/people/anna/plan"])]
    assert [before, *map(shown, addresses)] == [None] * 5


def report_of(dataset: Dataset) -> list[Any]:
    """Rows of files and workouts with all that may be missing missing."""
    bare = {"dataset_id": dataset.id, "source": "1.gpx", "duration_s": 0.0, "sport": "", "verdict": "dropped"}
    return [
        DatasetFile(dataset_id=dataset.id, name="1.gpx", format=None, workouts=0, problem=None),
        DatasetFile(dataset_id=dataset.id, name="2.gpx", format="gpx", workouts=1, problem="cut off"),
        DatasetWorkout(position=0, reasons=[], **bare),
        DatasetWorkout(position=1, reasons=[{"code": "x", "message": "of a later version", "samples": 1}], **bare),
    ]


@pytest.mark.parametrize("people", [0, 1, 3])
def test_the_home_page_with_so_many_people(shown, database, people):
    for number in range(people):
        registry_builders.add_subject(database, name=f"p{number}")
    assert shown("/") is None
    assert [shown(f"/ui/people/p{number}") for number in range(people)] == [None] * people
    assert [shown(f"/ui/people/p{number}/plan") for number in range(people)] == [None] * people


def test_a_person_for_each_reason_to_serve(shown, database, make_dataset, make_version):
    base, dataset = make_version(), make_dataset(subject="anna")
    first = make_version(dataset, Stage.STAGE1, seed=1)
    crown(database, dataset.subject_id, base, first)
    faults = {}
    for reason in ("promoted", "manual", "forced", "rollback", "deleted", "damaged", "of a later version"):
        for decision in (None, {}, {"promote": True}, DECISION):
            with database.unit_of_work() as session:
                for row in session.query(ChampionChange).filter(ChampionChange.revision == 1):
                    row.reason, row.decision = reason, decision
            faults[str((reason, decision))] = shown("/ui/people/anna")
    assert {name: fault for name, fault in faults.items() if fault} == {}
    assert shown("/") is None


REPORTS: list[dict[str, Any]] = [
    {"protocols": {}, "baselines": {}, "per_workout": []},
    {"protocols": {"P1": {"workouts": 0, "mean": {}}}, "baselines": {"ridge": {}}, "per_workout": []},
    {
        "protocols": {"P1": {"mean": {"mae": 5.0}, "reliability": {"0.9": {"measured": None, "width": None}}}},
        "baselines": {"ridge": {"P1": {"mae": None}}},
        "per_workout": [{"digest": "0", "P1": None, "P2-180": None}],
    },
    {
        "protocols": {"P1": {"mean": {"mae": 5.0}, "reliability": {"0.9": {}}}},
        "baselines": {},
        "per_workout": [{"digest": "0", "P1": 5.0}],
    },
]


def test_a_person_whose_report_lacks_what_was_not_measured(shown, database, make_dataset, make_version):
    base, dataset = make_version(), make_dataset(subject="anna", test_workouts=0)
    crown(database, dataset.subject_id, base)
    add_evaluation(database, base, dataset, 5.0)
    for report in REPORTS:
        with database.unit_of_work() as session:
            [stored] = session.query(Evaluation).all()
            stored.report = {"test_workouts": 0, "score": None, **report}
            stored.score = None
        assert shown("/ui/people/anna") is None, report


def bare_workouts() -> list[Workout]:
    """A recorded one, one without heart rate, one without altitude, a short one, one with a pause of an hour."""
    whole = simulate_runner(workouts=1)[0]
    n = len(whole.t)
    t, speed, heart_rate = whole.t, whole.speed, whole.heart_rate
    later = np.where(np.arange(n) < n // 2, t, t + 3600)
    return [
        whole,
        Workout(t=t, speed=speed),
        Workout(t=t, speed=speed, heart_rate=heart_rate),
        Workout(t=t[:40], speed=speed[:40], heart_rate=heart_rate[:40]),
        Workout(t=later, speed=speed, heart_rate=heart_rate),
        Workout(t=t, speed=speed, heart_rate=np.full(n, np.nan)),
        Workout(t=t, speed=np.zeros(n), heart_rate=heart_rate),
    ]


def test_workouts_with_what_was_not_recorded(shown, database, store, make_dataset, make_version):
    base, dataset = make_version(), make_dataset(subject="anna")
    crown(database, dataset.subject_id, base)
    rows = [
        add_workout(database, store, dataset, workout.to_bytes(), position)
        for position, workout in enumerate(bare_workouts())
    ]
    with database.unit_of_work() as session:
        session.query(DatasetWorkout).update({"split": None, "started_at": None})
    pages = [f"/ui/people/anna/workouts/{row.digest}" for row in rows]
    pages += [f"{pages[1]}?model_version_id={base.id}", f"/ui/datasets/{dataset.id}", "/ui/people/anna"]
    assert {page: fault for page in pages if (fault := shown(page))} == {}


def test_errors_of_pages_are_pages(shown, connect, database, store, make_dataset, make_version, monkeypatch):
    base, dataset = make_version(), make_dataset(subject="anna")
    crown(database, dataset.subject_id, base)
    digest = add_recorded(database, store, dataset).digest
    store.path(dataset.account_id, digest).unlink()
    for address, status in {
        "/ui/nothing": 404,
        "/ui/": 404,
        "/ui/people": 404,
        "/ui/people/nobody": 404,
        "/ui/people/nobody/plan": 404,
        f"/ui/people/anna/workouts/{'0' * 64}": 404,
        "/ui/people/anna/workouts/nonsense": 422,
        f"/ui/people/anna/workouts/{digest}": 503,
        f"/ui/people/anna/workouts/{digest}?model_version_id=x": 422,
        "/ui/jobs/nonsense": 422,
        f"/ui/jobs/{uuid4()}": 404,
        f"/ui/jobs/{uuid4()}/cancel": 405,
        f"/ui/datasets/{uuid4()}": 404,
        "/ui/datasets/nonsense": 422,
        "/?cursor=nonsense": 422,
    }.items():
        assert shown(address, status) is None, address

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("service.dashboard.pages.home", broken)
    assert shown("/", 500) is None


def test_the_form_to_sign_in_is_a_page_for_everybody(shown, connect):
    assert shown("/ui/sign-in") is None
    assert shown("/ui/sign-in?to=https://elsewhere.example") is None
    answer = connect().post("/ui/sign-in", content=b"\xff" * 10)
    assert answer.headers["content-type"].startswith("text/html")
