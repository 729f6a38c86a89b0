"""Lists and details at size: as many statements however many rows there are, each read along an index."""

import re

import pytest
from sqlalchemy import event

from service.registry.tables import DatasetFile, JobLogLine, JobState, Stage
from tests.builders import add_epochs, add_evaluation, add_recorded, crown, on_sqlite
from tests.openapi_walk import operations

pytestmark = on_sqlite

MOST = 10  # statements of one request
PROBES = ("/healthz", "/readyz", "/metrics")
DRAWN = re.compile(r"\.png$")  # these draw for longer than they ask


@pytest.fixture
def grow(database, store, make_dataset, make_version, make_job):
    """Add so many of everything that a list or detail of the subject `me` shows; gives the newest rows' ids."""
    base = make_version()

    def add(count):
        for number in range(count):
            other = make_dataset(subject=f"other {number}")
            crown(database, other.subject_id, base, make_version(other))
            dataset = make_dataset()
            workout = add_recorded(database, store, dataset, seed=number)
            version, job = make_version(dataset, seed=number), make_job(dataset, Stage.STAGE2, state=JobState.RUNNING)
            for scored in (base, version):
                add_evaluation(database, scored, dataset, 5.0)
            add_epochs(database, job, 3)
            with database.unit_of_work() as session:
                session.add(DatasetFile(dataset_id=dataset.id, name="a.fit", format="fit", workouts=1))
                session.add(JobLogLine(job_id=job.id, attempt=1, message="epoch 1"))
            crown(database, dataset.subject_id, base, version)
        ids = {"dataset_id": dataset.id, "job_id": job.id, "version_id": version.id, "workout_id": workout.digest}
        return {"subject": "me", **ids}

    return add


def gets(client):
    """Every list and detail of the API."""
    said = operations(client.get("/openapi.json").json())
    return [o for o in said if o.method == "GET" and o.path not in PROBES and not DRAWN.search(o.path)]


def list_paths(client, named):
    """Every list, without and with each of its filters."""
    filters = {**named, "stage": "stage1", "state": "running"}
    for operation in gets(client):
        names = {p["name"] for p in operation.parameters if p["in"] == "query"}
        if "cursor" in names:
            path = operation.target(named)
            yield from (path, *(f"{path}?{name}={filters[name]}" for name in sorted(names & filters.keys())))


def paths_by_template(client, named):
    """Every list and detail, by what is the same when the ids are others."""
    details = {operation.path: operation.target(named) for operation in gets(client)}
    return details | {re.sub("=.*", "", path): path for path in list_paths(client, named)}


def test_no_list_or_detail_sends_more_statements_for_more_rows(client, grow, count_queries):
    def counts(named):
        counted = {}
        for template, path in paths_by_template(client, named).items():
            assert client.get(path).status_code == 200, path
            counted[template] = count_queries(lambda path=path: client.get(path))
        return counted

    few = counts(grow(1))
    many = counts(grow(4))
    assert {path: (few[path], many[path]) for path in few if few[path] != many[path]} == {}
    assert {path: count for path, count in many.items() if count > MOST} == {}
    assert {"/models", "/models?subject", "/jobs?state", "/subjects", "/datasets", "/jobs/{job_id}/metrics"} <= set(
        many
    )


def plans_of(database, act):
    """SQLite's plan of each statement that `act` sends, with the statement."""
    sent = []

    def note(connection, cursor, statement, parameters, *_):
        sent.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        act()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    with database.engine.connect() as connection:
        for statement, parameters in sent:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            yield statement, [row.detail for row in plan]


def test_nothing_reads_a_whole_table(client, database, grow):
    for path in paths_by_template(client, grow(2)).values():
        for statement, plan in plans_of(database, lambda path=path: client.get(path)):
            assert not [step for step in plan if re.match(r"SCAN (?!CONSTANT)", step)], (path, statement, plan)


def test_every_list_is_read_in_the_order_of_an_index(client, database, grow):
    paths = list(list_paths(client, grow(2)))
    cursors = {path: client.get(path, params={"limit": 1}).json()["next_cursor"] for path in paths}
    paths += [f"{path}{'&' if '?' in path else '?'}cursor={cursor}" for path, cursor in cursors.items() if cursor]
    assert len(paths) > len(cursors)
    for path in paths:
        for statement, plan in plans_of(database, lambda path=path: client.get(path)):
            assert not [step for step in plan if "TEMP B-TREE FOR ORDER BY" in step], (path, statement, plan)


def test_the_newest_evaluation_of_a_base_is_found_without_sorting_all_of_them(client, database, grow):
    grow(3)
    base = next(item["id"] for item in client.get("/models?stage=base").json()["items"])
    plans = list(plans_of(database, lambda: client.get(f"/models/{base}/evaluation")))
    assert not [plan for _, plan in plans if any("TEMP B-TREE FOR ORDER BY" in step for step in plan)]
    assert [plan for _, plan in plans if any("ix_evaluations_model_version_id_created_at_id" in step for step in plan)]
