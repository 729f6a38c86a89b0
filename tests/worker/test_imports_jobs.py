"""Imports: from an uploaded file to a ready dataset with its base scored, or a failure with a reason."""

from dataclasses import replace

from sqlalchemy import select

from hrmodel.workouts.simulate import simulate_workouts
from service.registry import champions, imports, model_versions
from service.registry.tables import (
    Dataset,
    DatasetFile,
    DatasetKind,
    DatasetState,
    DatasetWorkout,
    Job,
    JobState,
    Subject,
    Workout,
)


def dataset_row(context, dataset_id):
    with context.database.reading() as session:
        return session.get_one(Dataset, dataset_id)


def job_of(context, dataset_id):
    with context.database.reading() as session:
        return session.scalars(select(Job).where(Job.dataset_id == dataset_id)).one()


def test_an_upload_becomes_a_split_dataset_with_a_level_and_the_base_as_champion(
    context, upload, work, runner_workouts
):
    dataset_id = upload(runner_workouts)
    work()
    dataset = dataset_row(context, dataset_id)
    assert (dataset.state, dataset.error_message) == (DatasetState.READY, None)
    assert (dataset.train_workouts, dataset.val_workouts, dataset.test_workouts) == (7, 2, 3)
    with context.database.reading() as session:
        shipped = model_versions.shipped(session)
        assert champions.require(session, dataset.subject_id).model_version_id == shipped.id
        evaluation = model_versions.evaluation(session, shipped.id, dataset_id)
        assert evaluation.score > 0
        tracked = model_versions.tracked(session, dataset.subject_id, shipped.id)
        assert (tracked.response, tracked.intervals) == tuple(evaluation.report["tracking"].values())
        assert tracked.offset != 0.0
        assert session.get_one(Subject, dataset.subject_id).level["workouts"] == 9
    assert job_of(context, dataset_id).result["test_workouts"] == 3


def test_the_uploaded_file_is_gone_once_it_is_imported(context, upload, work, runner_workouts):
    dataset = dataset_row(context, upload(runner_workouts))
    assert context.store.path(dataset.account_id, dataset.upload_sha256).exists()
    work()
    assert not context.store.path(dataset.account_id, dataset.upload_sha256).exists()


def test_a_file_that_is_no_workout_fails_with_a_sentence_and_is_deleted(context, upload, work):
    dataset_id = upload(b"these are not workouts")
    work()
    dataset, job = dataset_row(context, dataset_id), job_of(context, dataset_id)
    assert (dataset.state, job.state) == (DatasetState.FAILED, JobState.FAILED)
    assert (dataset.error_code, job.error_code) == ("unreadable_upload", "unreadable_upload")
    assert dataset.error_message.endswith((".", "zip", "parquet", "gpx")) or dataset.error_message
    assert not context.store.path(dataset.account_id, dataset.upload_sha256).exists()


def test_workouts_that_cannot_be_used_are_listed_with_their_reason(context, upload, work, runner_workouts):
    short = runner_workouts[0]
    short = replace(
        short, **{n: getattr(short, n)[:20] for n in ("t", "speed", "altitude", "heart_rate")}, cadence=None
    )
    dataset_id = upload([*runner_workouts[1:], short])
    work()
    with context.database.reading() as session:
        rows = session.scalars(select(DatasetWorkout).where(DatasetWorkout.dataset_id == dataset_id)).all()
        files = session.scalars(select(DatasetFile).where(DatasetFile.dataset_id == dataset_id)).all()
    dropped = [row for row in rows if row.verdict == "dropped"]
    assert [(row.split, row.reasons[0]["code"]) for row in dropped] == [(None, "too_short")]
    assert [(file.format, file.workouts) for file in files] == [("parquet", 12)]


def test_a_later_upload_shares_the_old_workouts_and_never_trains_on_a_test_workout(
    context, upload, work, runner_workouts
):
    first = upload(runner_workouts[:10])
    work()
    second = upload(runner_workouts)
    work()
    with context.database.reading() as session:
        old = {w.digest: w.split for w in imports.stored_workouts(session, first)}
        new = {w.digest: w.split for w in imports.stored_workouts(session, second)}
        assert len(session.scalars(select(Workout)).all()) == 12
    assert len(new) == 12
    assert {digest: new[digest] for digest in old} == old


def test_workouts_of_several_people_are_refused_for_one_subject_and_split_by_person_in_a_population(
    context, upload, work
):
    workouts = simulate_workouts(people=3, workouts=3, seed=1)
    refused = upload(workouts)
    taken = upload(workouts, kind=DatasetKind.POPULATION, subject_id=None)
    work()
    assert job_of(context, refused).error_code == "several_people"
    assert dataset_row(context, taken).state == DatasetState.READY
    with context.database.reading() as session:
        stored = imports.stored_workouts(session, taken)
    splits = {person: {w.split for w in stored if w.person == person} for person in ("s000", "s001", "s002")}
    assert sorted(splits.values(), key=str) == [{"train"}, {"train"}, {"val"}]


def test_fewer_than_eight_workouts_all_train_and_the_base_serves(context, upload, work, runner_workouts):
    dataset_id = upload(runner_workouts[:5])
    work()
    dataset = dataset_row(context, dataset_id)
    assert (dataset.train_workouts, dataset.val_workouts, dataset.test_workouts) == (5, 0, 0)
    with context.database.reading() as session:
        assert champions.require(session, dataset.subject_id).revision == 0
