"""Datasets over HTTP: uploads that arrive whole or not at all, reports, and deletion with all that came from it."""

import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import anyio
import pytest
from starlette.requests import ClientDisconnect

from service.datasets import service
from service.operations.queue import IMPORTS
from service.registry import imports, leftovers
from service.registry.tables import (
    Dataset,
    DatasetState,
    JobState,
    Stage,
    Subject,
    utc_now,
)
from tests.builders import (
    add_evaluation,
    add_job,
    add_population,
    add_workout,
    crown,
    files_of,
    make_default,
    on_sqlite,
    roll_back,
    row_counts,
    set_offset,
)
from tests.import_rows import a_file, a_reason, a_workout, dropped, repaired
from tests.registry_builders import add_account


@pytest.fixture
def account(database):
    return add_account(database)


def stored(store, account):
    return {path.name for path in files_of(store, account.id)}


@on_sqlite
def test_an_upload_is_stored_and_queued_and_a_hint_goes_out(client, sent, store, account, database):
    response = client.post("/datasets?subject=anna&name=spring", content=b"some bytes")
    accepted = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/datasets/{accepted['id']}"
    assert accepted["state"] == "queued"
    assert sent == [IMPORTS]
    shown = client.get(f"/datasets/{accepted['id']}").json()
    assert (shown["subject"], shown["name"], shown["kind"], shown["upload_size"]) == ("anna", "spring", "personal", 10)
    assert shown["job_id"] == accepted["job_id"]
    job = client.get(f"/jobs/{accepted['job_id']}").json()
    assert (job["stage"], job["state"], job["configuration"]) == ("import", "queued", {"units": None})
    with database.reading() as session:
        sha256 = session.get_one(Dataset, UUID(accepted["id"])).upload_sha256
    assert store.read(account.id, sha256) == b"some bytes"


@on_sqlite
def test_units_go_to_the_import_job_and_the_subject_is_me(client):
    accepted = client.post("/datasets?speed_unit=km/h", content=b"x").json()
    job = client.get(f"/jobs/{accepted['job_id']}").json()
    assert (job["configuration"], job["subject"]) == ({"units": {"speed": "km/h", "altitude": "m"}}, "me")


@on_sqlite
def test_what_files_are_that_name_no_sport_goes_to_the_import_job(client):
    accepted = client.post("/datasets?sport=running", content=b"x").json()
    job = client.get(f"/jobs/{accepted['job_id']}").json()
    assert job["configuration"] == {"units": None, "sport": "running"}


@on_sqlite
def test_a_population_has_no_subject(client):
    accepted = client.post("/datasets?kind=population", content=b"x").json()
    assert client.get(f"/datasets/{accepted['id']}").json()["subject"] is None
    response = client.post("/datasets?kind=population&subject=me", content=b"x")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "?subject")


@on_sqlite
@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/csv", "application/json"])
def test_the_content_type_of_an_upload_does_not_matter(client, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    assert client.post("/datasets", content=b"{", headers=headers).status_code == 202


@on_sqlite
@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b""}, 422, "empty_upload"),
        ({"content": b"x" * 100_001}, 413, "body_too_large"),
        ({"content": iter([b"x" * 60_000, b"x" * 60_000])}, 413, "body_too_large"),
        ({"files": {"file": b"x"}}, 415, "raw_body_required"),
    ],
)
def test_a_refused_upload_leaves_nothing(client, store, account, database, sent, options, status, code):
    before = row_counts(database)
    response = client.post("/datasets", **options)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert (stored(store, account), sent) == (set(), [])
    assert row_counts(database) == before


@on_sqlite
def test_a_full_disk_is_a_503_and_the_temporary_file_goes(client, store, account, monkeypatch):
    name = store.temporary

    def on_a_full_disk(account_id):
        path = name(account_id)
        path.symlink_to("/dev/full")
        return path

    monkeypatch.setattr(type(store), "temporary", lambda _, account_id: on_a_full_disk(account_id))
    response = client.post("/datasets", content=b"x")
    assert (response.status_code, response.json()["code"]) == (503, "storage_full")
    assert response.headers["Retry-After"] == "60"
    assert stored(store, account) == set()


@on_sqlite
def test_a_client_that_disconnects_leaves_nothing(app, store, account):
    async def chunks():
        yield b"x" * 5000
        raise ClientDisconnect

    async def upload():
        with pytest.raises(ClientDisconnect):
            await service.store_upload(app.state.services, account.id, chunks())

    anyio.run(upload)
    assert stored(store, account) == set()


def test_the_same_upload_with_an_idempotency_key_is_taken_once(client, sent, database, store, account):
    headers = {"Idempotency-Key": "u"}
    first = client.post("/datasets?name=a", content=b"one", headers=headers).json()
    assert client.post("/datasets?name=a", content=b"one", headers=headers).json() == first
    for path, content in (("/datasets?name=b", b"one"), ("/datasets?name=a", b"two")):
        response = client.post(path, content=content, headers=headers)
        assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_reused")
    assert (sent, row_counts(database)["datasets"]) == ([IMPORTS], 1)
    assert len(stored(store, account)) == 1


@on_sqlite
def test_a_repeated_upload_after_the_import_leaves_no_file(client, database, store, account):
    headers = {"Idempotency-Key": "u"}
    dataset_id = UUID(client.post("/datasets", content=b"one", headers=headers).json()["id"])
    with database.unit_of_work() as session:
        dataset = imports.finish(session, dataset_id, [], [], digest="d", level=None)
        session.flush()
        leftovers.delete_unreferenced(session, store, account.id, [dataset.upload_sha256])
    assert client.post("/datasets", content=b"one", headers=headers).json()["state"] == "ready"
    assert stored(store, account) == set()


def test_simultaneous_uploads_for_a_new_subject_make_one_subject(client, database):
    client.get("/jobs")
    with ThreadPoolExecutor(6) as pool:
        posts = [pool.submit(client.post, "/datasets?subject=new", content=b"%d" % n) for n in range(6)]
    assert {post.result().status_code for post in posts} == {202}
    assert (row_counts(database)["subjects"], row_counts(database)["datasets"]) == (1, 6)


@on_sqlite
@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a/b", "..", " me", "a%00b"])
def test_a_subject_that_could_not_stand_in_an_address_is_refused(client, name):
    response = client.post(
        f"/datasets?subject={name}" if "%" in name else "/datasets",
        content=b"x",
        params=None if "%" in name else {"subject": name},
    )
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "?subject"


@on_sqlite
@pytest.mark.parametrize("name", ["anna", "Ünïcødé 🏃", "a+b&c=d", "50%", "x" * 100])
def test_a_subject_is_any_text_of_the_clients(client, name):
    assert client.post("/datasets", content=b"x", params={"subject": name}).status_code == 202
    assert [item["name"] for item in client.get("/subjects").json()["items"]] == [name]
    from urllib.parse import quote

    assert client.get(f"/subjects/{quote(name, safe='')}").json()["name"] == name


@on_sqlite
def test_a_misspelt_parameter_is_refused(client):
    response = client.post("/datasets?subjct=me", content=b"x")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "?subjct")


@on_sqlite
def test_the_report_says_what_became_of_each_file_and_workout(client, database, store, make_dataset):
    dataset = make_dataset()
    with database.unit_of_work() as session:
        imports.report_failed(session, dataset.id, [], [a_file("a.gpx")])
    for position in range(3):
        add_workout(database, store, dataset, b"%d" % position, position)
    report = client.get(f"/datasets/{dataset.id}/report?limit=2").json()
    assert (report["verdicts"], report["files"][0]["name"]) == ({"kept": 3, "repaired": 0, "dropped": 0}, "a.gpx")
    assert ([row["position"] for row in report["workouts"]], report["next_after"]) == ([0, 1], 1)
    rest = client.get(f"/datasets/{dataset.id}/report?after=1").json()
    assert ([row["position"] for row in rest["workouts"]], rest["next_after"]) == ([2], None)
    assert rest["summary"] == report["summary"]


def finished(client, database, workouts, files=(), **columns):
    """The id of an uploaded dataset whose import found these."""
    dataset_id = UUID(client.post("/datasets", content=b"x", params=columns).json()["id"])
    with database.unit_of_work() as session:
        imports.finish(session, dataset_id, workouts, files, digest="d", level=None)
    return dataset_id


def test_the_first_page_of_a_report_says_it_all_in_short(client, database):
    found = [a_workout(0), a_workout(1, split="test"), repaired(2, "bad_time"), repaired(3, "bad_time")]
    found += [dropped(4, "not_running", sport="cycling"), dropped(5, "brand_new", started_at=None)]
    files = [a_file("0.gpx"), a_file("b.gpx", "damaged")]
    report = client.get(f"/datasets/{finished(client, database, found, files)}/report?limit=1").json()
    summary = report["summary"]
    assert summary["verdicts"] == report["verdicts"] == {"kept": 2, "repaired": 2, "dropped": 2}
    assert summary["splits"] == {"train": 3, "val": 0, "test": 1}
    assert (summary["workouts"], summary["files"], summary["files_with_problems"]) == (6, 2, 1)
    assert summary["other_sports"] == {"cycling": 1}
    shown = ("2024-03-01T06:30:00Z", "2024-03-09T06:30:00Z")
    assert (summary["first_started_at"], summary["last_started_at"]) == shown
    counts = [(reason["verdict"], reason["code"], reason["workouts"]) for reason in summary["reasons"]]
    assert counts == [("repaired", "bad_time", 2), ("dropped", "not_running", 1), ("dropped", "brand_new", 1)]
    assert summary["reasons"][0] == {
        "verdict": "repaired",
        "code": "bad_time",
        "sentence": "samples without a usable time",
        "workouts": 2,
        "samples": 20,
    }


@on_sqlite
def test_a_workout_in_the_report_has_its_sport_density_digest_and_samples(client, database):
    found = [a_workout(0, sport="trail_run", heart_rate_per_minute=12.5), dropped(1, "not_running", sport="cycling")]
    path = f"/datasets/{finished(client, database, found)}/report"
    kept, other = client.get(path).json()["workouts"]
    assert (kept["sport"], kept["heart_rate_per_minute"]) == ("trail_run", 12.5)
    assert (kept["digest"], kept["samples"]) == (found[0].digest, 2701)
    assert (other["sport"], other["digest"], other["samples"]) == ("cycling", None, None)


@on_sqlite
def test_the_files_of_a_report_come_in_pages(client, connect, database):
    files = [a_file(f"{n}.gpx", "damaged" if n % 3 == 0 else None) for n in range(25)]
    path = f"/datasets/{finished(client, database, [a_workout(0)], files)}/report"
    seen, after = [], -1
    while after is not None:
        page = client.get(path, params={"file_limit": 10, "file_after": after}).json()
        assert (page["summary"]["files"], page["summary"]["files_with_problems"]) == (25, 9)
        assert len(page["files"]) <= 10
        seen += [file["name"] for file in page["files"]]
        after = page["next_file_after"]
    assert seen == [file.name for file in files]
    none = client.get(path, params={"file_limit": 0}).json()
    assert (none["files"], none["next_file_after"]) == ([], None)


def test_of_an_upload_of_thousands_of_tiny_files_a_bounded_part_is_listed_and_all_is_counted(client, database):
    files = [a_file(f"{n}.gpx", "damaged" if n == 5998 else None) for n in range(6000)]
    workouts = [a_workout(0), *(dropped(n, "too_short") for n in range(1, 5999)), a_workout(5999)]
    dataset_id = finished(client, database, workouts, files)
    counts = row_counts(database)
    assert (counts["dataset_files"], counts["dataset_workouts"]) == (imports.MAX_FILES, imports.MAX_DROPPED + 2)
    report = client.get(f"/datasets/{dataset_id}/report?limit=5000&file_limit=5000").json()
    assert "5998.gpx" in [file["name"] for file in report["files"]]
    summary = report["summary"]
    assert (summary["files"], summary["files_with_problems"], summary["workouts"]) == (6000, 1, 6000)
    assert summary["verdicts"] == {"kept": 2, "repaired": 0, "dropped": 5998}
    assert client.get(f"/datasets/{dataset_id}").json()["workouts"]["dropped"] == 5998


def test_words_of_a_file_that_no_table_or_terminal_holds_are_stored_readably(client, database):
    odd = "a\0b\x1b[31m\ud800" + "é" * 600
    found = dropped(0, "not_running", sport=odd, source=odd, person=odd, reasons=[a_reason("odd", message=odd)])
    file = a_file(odd, problem=odd)
    report = client.get(f"/datasets/{finished(client, database, [found], [file])}/report").json()
    (workout,) = report["workouts"]
    shown = [workout["sport"], workout["source"], workout["person"], workout["reasons"][0]["message"]]
    for text in (*shown, report["files"][0]["name"], report["files"][0]["problem"]):
        assert text.startswith("a?b?[31m?é"), text


@on_sqlite
def test_a_long_report_costs_no_more_queries_than_a_short_one(client, database, count_queries):
    def queries(number):
        path = f"/datasets/{finished(client, database, [a_workout(n) for n in range(number)])}/report"
        client.get(path)  # the key is known from here on
        return count_queries(lambda: client.get(path))

    assert queries(400) == queries(2)


@on_sqlite
def test_the_report_as_a_picture(client, connect, stranger, database):
    dataset_id = finished(client, database, [a_workout(0), dropped(1, "too_short")], name="$pring {")
    path = f"/datasets/{dataset_id}/report.png"
    picture = connect("read").get(path)
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/png")
    assert picture.content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", picture.content[16:24]) == (1300, 840)
    assert stranger.get(path).status_code == 404


@on_sqlite
@pytest.mark.parametrize("state", [DatasetState.QUEUED, DatasetState.IMPORTING])
def test_an_import_that_has_not_ended_has_no_picture(client, make_dataset, state):
    response = client.get(f"/datasets/{make_dataset(state=state).id}/report.png")
    assert (response.status_code, response.json()["code"]) == (409, "dataset_not_ready")


@on_sqlite
def test_a_failed_import_has_a_picture_that_says_why(client, make_dataset):
    dataset = make_dataset(state=DatasetState.FAILED, error_code="no_workouts", error_message="No workout can be used.")
    assert client.get(f"/datasets/{dataset.id}/report.png").content.startswith(b"\x89PNG")


def test_pages_go_through_all_datasets_newest_first(client, make_dataset):
    made = [str(make_dataset(name=str(n)).id) for n in range(5)]
    seen, cursor = [], None
    while True:
        page = client.get("/datasets", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


@on_sqlite
def test_the_list_can_be_of_one_subject(client, make_dataset):
    make_dataset(subject="a")
    other = make_dataset(subject="b")
    assert [item["id"] for item in client.get("/datasets?subject=b").json()["items"]] == [str(other.id)]


def test_a_deleted_personal_dataset_takes_jobs_versions_and_files_and_the_champion_falls_back(
    client, database, store, make_dataset, make_version
):
    base, kept, doomed = make_version(), make_dataset(), make_dataset()
    older = make_version(kept, seed=1)
    first, second = make_version(doomed, seed=2), make_version(doomed, Stage.STAGE2, seed=3)
    crown(database, kept.subject_id, base, older, first, second)
    add_workout(database, store, kept, b"both"), add_workout(database, store, doomed, b"both")
    alone = add_workout(database, store, doomed, b"only here", 1)
    assert client.delete(f"/datasets/{doomed.id}").status_code == 204
    assert client.get(f"/datasets/{doomed.id}").status_code == 404
    champion = client.get("/subjects/me/champion").json()
    assert (champion["model_version_id"], champion["revision"]) == (str(older.id), 4)
    assert [item["id"] for item in client.get("/models").json()["items"]] == [str(older.id), str(base.id)]
    counts = row_counts(database)
    assert (counts["jobs"], counts["workouts"], counts["dataset_workouts"], counts["datasets"]) == (1, 1, 1, 1)
    gone = {first.sha256, first.pt_sha256, second.sha256, second.pt_sha256, alone.digest}
    assert gone & {path.name for path in files_of(store, kept.account_id)} == set()
    assert store.read(kept.account_id, older.sha256)


def test_a_rolled_back_version_is_not_what_a_subject_falls_back_to(client, database, make_dataset, make_version):
    base, one, two = make_version(), make_dataset(), make_dataset()
    mine, regretted = make_version(one, seed=1), make_version(two, seed=2)
    crown(database, one.subject_id, base, mine, regretted)
    roll_back(database, one.subject_id)
    assert client.delete(f"/datasets/{one.id}").status_code == 204
    assert client.get("/subjects/me/champion").json()["model_version_id"] == str(base.id)


def test_a_deleted_population_takes_its_bases_and_their_descendants_with_it(
    client, database, store, make_dataset, make_version
):
    shipped, population, person = make_version(), add_population(database), make_dataset()
    base = make_version(population, Stage.BASE, seed=1)
    child = make_version(person, seed=2, parent_id=base.id)
    grandchild = make_version(person, Stage.STAGE2, seed=3, parent_id=child.id)
    waiting = add_job(database, person, Stage.STAGE1, start_model_version_id=base.id)
    crown(database, person.subject_id, base, child, grandchild)
    make_default(database, base)
    add_evaluation(database, child, person, 5.0)
    assert client.delete(f"/datasets/{population.id}").status_code == 204
    assert client.get("/subjects/me/champion").json()["model_version_id"] == str(shipped.id)
    assert [item["id"] for item in client.get("/models").json()["items"]] == [str(shipped.id)]
    assert client.get(f"/jobs/{waiting.id}").status_code == 404
    assert client.get(f"/datasets/{person.id}").status_code == 200
    assert files_of(store, person.account_id) == set()


def test_a_dataset_that_a_worker_is_busy_with_stays(client, database, make_dataset, make_job):
    dataset = make_dataset()
    job = make_job(dataset, state=JobState.RUNNING, lease_until=time.time() + 60)
    before = row_counts(database)
    response = client.delete(f"/datasets/{dataset.id}")
    assert (response.status_code, response.json()["code"]) == (409, "dataset_in_use")
    assert str(job.id) in response.json()["detail"]
    assert row_counts(database) == before


@on_sqlite
def test_a_dead_worker_does_not_hold_a_dataset(client, make_dataset, make_job):
    dataset = make_dataset()
    make_job(dataset, state=JobState.RUNNING, lease_until=time.time() - 1)
    assert client.delete(f"/datasets/{dataset.id}").status_code == 204


@on_sqlite
def test_a_deleted_upload_that_waits_takes_its_file_with_it(client, store, account):
    accepted = client.post("/datasets", content=b"x").json()
    assert client.delete(f"/datasets/{accepted['id']}").status_code == 204
    assert stored(store, account) == set()


@on_sqlite
def test_the_subjects_level_is_that_of_the_newest_dataset_that_is_left(client, database, make_dataset, make_version):
    base = make_version()
    old, new = make_dataset(level={"heart_rate": 140.0}), make_dataset(level={"heart_rate": 150.0})
    crown(database, old.subject_id, base)
    set_offset(database, old.subject_id, base, 2.0)
    with database.unit_of_work() as session:
        session.get_one(Subject, old.subject_id).level = new.level
    assert client.delete(f"/datasets/{new.id}").status_code == 204
    assert client.get("/subjects/me").json()["level"] == {"heart_rate": 140.0}
    assert row_counts(database)["person_states"] == 0


def test_files_that_a_running_import_may_need_wait_for_the_sweep(client, database, store, make_dataset, make_job):
    dataset, other = make_dataset(), make_dataset(subject="other", state=DatasetState.IMPORTING)
    workout = add_workout(database, store, dataset, b"again")
    make_job(other, Stage.IMPORT, state=JobState.RUNNING, lease_until=time.time() + 60, started_at=utc_now())
    store.put(dataset.account_id, b"again")  # what the running import does before its row is there
    assert client.delete(f"/datasets/{dataset.id}").status_code == 204
    assert store.read(dataset.account_id, workout.digest) == b"again"


def test_files_from_long_before_a_running_import_go_at_once(client, database, store, make_dataset, make_job):
    dataset, other = make_dataset(), make_dataset(subject="other", state=DatasetState.IMPORTING)
    workout = add_workout(database, store, dataset, b"long ago")
    hour_ago = time.time() - 3600
    os.utime(store.path(dataset.account_id, workout.digest), (hour_ago, hour_ago))
    make_job(other, Stage.IMPORT, state=JobState.RUNNING, lease_until=time.time() + 60, started_at=utc_now())
    assert client.delete(f"/datasets/{dataset.id}").status_code == 204
    assert not store.path(dataset.account_id, workout.digest).exists()
