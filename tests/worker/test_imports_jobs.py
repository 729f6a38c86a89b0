"""Imports: from an uploaded file to a ready dataset with its base scored, or a failure with a reason."""

import io
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import select

from hrmodel.evaluation.calibration import person_states
from hrmodel.evaluation.forecasters import NetworkForecaster
from hrmodel.personal.state import PersonState
from hrmodel.prediction.predictor import Predictor
from hrmodel.workouts.simulate import simulate_runner, simulate_workouts
from service.registry import imports, model_versions, promotion
from service.registry.tables import (
    Dataset,
    DatasetFile,
    DatasetKind,
    DatasetState,
    DatasetWorkout,
    Job,
    JobState,
    Subject,
    WorkoutRow,
)
from tests import fit_writer
from tests.original_writer import write_original_dataset
from worker import reporter
from worker.data import load_checkpoint, load_person
from worker.reporter import Reporter


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
        assert promotion.require(session, dataset.subject_id).model_version_id == shipped.id
        evaluation = model_versions.evaluation(session, shipped.id, dataset_id)
        assert evaluation.score > 0
        state = model_versions.person_state(session, dataset.subject_id, shipped.id).state
        assert session.get_one(Subject, dataset.subject_id).level["workouts"] == 9
    assert job_of(context, dataset_id).result["test_workouts"] == 3
    assert state == replayed(context, dataset, shipped).to_dict()
    assert (state["workouts"], PersonState.from_dict(state).filter.response.offset != 0.0) == (12, True)


def replayed(context, dataset, version):
    """The person's state under the version after all workouts of the dataset."""
    with context.database.reading() as session:
        stored = imports.stored_workouts(session, dataset.id)
    data = load_person(context.store, dataset.account_id, stored, lambda: None).for_evaluation(None)
    network = NetworkForecaster(predictor=Predictor(load_checkpoint(context.store, version)), level=data.level)
    return person_states(network, data)[-1]


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
        assert len(session.scalars(select(WorkoutRow)).all()) == 12
    assert len(new) == 12
    assert {digest: new[digest] for digest in old} == old


def test_a_single_new_workout_joins_what_was_known(context, upload, work, runner_workouts):
    first = upload(runner_workouts[:11])
    work()
    second = upload(runner_workouts[11:])
    work()
    dataset = dataset_row(context, second)
    with context.database.reading() as session:
        old = {w.digest: w.split for w in imports.stored_workouts(session, first)}
        new = {w.digest: w.split for w in imports.stored_workouts(session, second)}
        rows = session.scalars(select(DatasetWorkout).where(DatasetWorkout.dataset_id == second)).all()
        assert session.get_one(Subject, dataset.subject_id).level["workouts"] == 9
    assert len(new) == 12
    assert {digest: new[digest] for digest in old} == old
    assert sum("known" in [reason["code"] for reason in row.reasons] for row in rows) == 11


def test_the_originals_data_stands_alone_with_its_own_split(context, upload, work, runner_workouts, tmp_path):
    upload(runner_workouts[:10])
    work()
    runs = simulate_runner(workouts=4, seed=7)
    write_original_dataset({"train": runs[:2], "val": [runs[2]], "test": [runs[3]]}, tmp_path / "original")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for file in (tmp_path / "original").iterdir():
            made.write(file, file.name)
    dataset = dataset_row(context, upload(content.getvalue()))
    work()
    dataset = dataset_row(context, dataset.id)
    assert (dataset.train_workouts, dataset.val_workouts, dataset.test_workouts) == (2, 1, 1)


def test_the_same_runs_in_another_format_replace_none_and_stay_held_out(context, upload, work, tmp_path):
    starts = [datetime(2026, 3, day, 7, tzinfo=UTC) for day in range(1, 11)]
    runs = [replace(run, started_at=start) for run, start in zip(simulate_runner(workouts=10), starts, strict=True)]
    first = upload(zipped_gpx(runs))
    work()
    thinner = [
        replace(run, heart_rate=np.where(np.arange(len(run.t)) % 4 == 3, np.nan, run.heart_rate)) for run in runs
    ]
    second = upload(zipped_gpx(thinner))
    work()
    with context.database.reading() as session:
        old = {w.digest: w.split for w in imports.stored_workouts(session, first)}
        assert {w.digest: w.split for w in imports.stored_workouts(session, second)} == old
        rows = session.scalars(select(DatasetWorkout).where(DatasetWorkout.dataset_id == second)).all()
    dropped = [row for row in rows if row.verdict == "dropped"]
    assert [row.reasons[0]["code"] for row in dropped] == ["duplicate"] * 10
    account = dataset_row(context, second).account_id
    assert {path.name for path in context.store.folder(account).iterdir()} == set(old)


def test_an_import_without_a_usable_workout_says_why_of_each(context, upload, work, runner_workouts):
    runs = [replace(run, heart_rate=np.full(len(run.t), np.nan)) for run in runner_workouts[:3]]
    dataset_id = upload(runs)
    work()
    assert dataset_row(context, dataset_id).error_code == "no_workouts"
    with context.database.reading() as session:
        rows = session.scalars(select(DatasetWorkout).where(DatasetWorkout.dataset_id == dataset_id)).all()
    assert [row.reasons[0]["code"] for row in rows] == ["no_heart_rate"] * 3


def test_the_progress_moves_while_an_upload_is_read(context, upload, work, runner_workouts, monkeypatch):
    told = []
    real = Reporter.report

    def report(self):
        told.append(self.progress)
        real(self)

    monkeypatch.setattr(reporter, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(Reporter, "report", report)
    upload(runner_workouts)
    work()
    assert told == sorted(told)
    assert len(set(told)) >= 5


def test_nothing_is_left_of_what_an_import_unpacked(context, upload, work, runner_workouts):
    upload(zipped_gpx(runner_workouts[:2]))
    upload(b"PK nothing")
    work()
    assert list((context.store.root / "scratch").iterdir()) == []


def zipped_gpx(runs):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made:
        for i, run in enumerate(runs):
            made.writestr(f"{i}.gpx", as_gpx(run))
    return content.getvalue()


def as_gpx(run):
    started = run.started_at or datetime(2026, 1, 1, tzinfo=UTC)
    points = "".join(
        f'<trkpt lat="1" lon="1"><ele>{altitude}</ele><time>{(started + timedelta(seconds=t)).isoformat()}</time>'
        f"<extensions><speed>{speed}</speed><hr>{'' if np.isnan(rate) else round(rate)}</hr></extensions></trkpt>"
        for t, speed, altitude, rate in zip(run.t, run.speed, run.altitude, run.heart_rate, strict=True)
    )
    return f"<gpx><trk><type>running</type>{points}</trk></gpx>"


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
        assert promotion.require(session, dataset.subject_id).revision == 0


def test_what_files_are_that_name_no_sport_is_said_with_the_upload(context, upload, work):
    """A watch that was set to "other" is not guessed at."""
    recorded = fit_writer.write(900, sport=0)
    silent, said = upload(recorded), upload(recorded, {"sport": "running"})
    work()
    assert dataset_row(context, silent).state == DatasetState.FAILED
    assert "sport=running" in dataset_row(context, silent).error_message
    assert (dataset_row(context, said).state, dataset_row(context, said).train_workouts) == (DatasetState.READY, 1)
    with context.database.reading() as session:
        (row,) = session.scalars(select(DatasetWorkout).where(DatasetWorkout.dataset_id == said))
    assert (row.sport, [reason["code"] for reason in row.reasons]) == ("running", ["sport_inferred"])
