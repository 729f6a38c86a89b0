"""Training jobs in a worker: versions, decisions, resume, cancel, shutdown, full disks."""

import errno
from dataclasses import replace

import pytest
import torch
from sqlalchemy import select

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.personal.state import PersonState
from service.registry import jobs, model_versions, promotion
from service.registry.artifacts import ArtifactStore
from service.registry.tables import EpochMetrics, Job, JobEvent, JobLogLine, JobState, ModelVersion
from worker.runner import run_job

EPOCHS = 4


@pytest.fixture
def shipped_id(context):
    with context.database.reading() as session:
        return model_versions.shipped(session).id


@pytest.fixture
def submit_stage1(submit, dataset_id, shipped_id):
    return lambda **hyper: submit(dataset_id, "stage1", start=shipped_id, **{"epochs": EPOCHS, **hyper})


def version_of(context, job_id):
    with context.database.reading() as session:
        return model_versions.of_job(session, job_id)


def checkpoint_of(context, version) -> Checkpoint:
    return Checkpoint.from_bytes(context.store.read(version.account_id, version.sha256))


def claim(context) -> jobs.Claim:
    with context.database.unit_of_work() as session:
        return jobs.claim_next(session, "test", jobs.TRAINING_STAGES, context.lease_seconds)


def test_stage1_then_stage2_make_versions_with_lineage_metrics_and_a_decision(
    context, submit, submit_stage1, work, job_row, dataset_id, shipped_id
):
    stage1 = submit_stage1()
    with context.database.unit_of_work() as session:
        dataset = session.get_one(jobs.Dataset, dataset_id)
        configuration = job_row(stage1).configuration | {"stage": "stage2", "freeze_layers": []}
        stage2 = jobs.add(session, dataset, stage="stage2", configuration=configuration, depends_on=stage1).id
    work()
    for job_id in (stage1, stage2):
        job = job_row(job_id)
        assert (job.state, job.error_message, job.progress) == (JobState.SUCCEEDED, None, 1.0)
    first, second = version_of(context, stage1), version_of(context, stage2)
    assert (first.parent_id, second.parent_id) == (shipped_id, first.id)
    with context.database.reading() as session:
        epochs = session.scalars(select(EpochMetrics.epoch).where(EpochMetrics.job_id == stage1)).all()
        assert sorted(epochs) == list(range(1, EPOCHS + 1))
        scores = {
            v.id: model_versions.evaluation(session, v.id, dataset_id).score
            for v in session.scalars(select(ModelVersion))
        }
        champion = promotion.require(session, job_row(stage1).subject_id)
        assert scores[champion.model_version_id] == min(scores.values())
        lines = session.scalars(select(JobLogLine.message).where(JobLogLine.job_id == stage1)).all()
    assert any(line.startswith("Epoch 4/4") for line in lines)
    assert job_row(stage2).result["decision"]["selected_on"] == "test"


def test_after_stage1_layer_0_is_bit_identical_and_the_rest_is_not(context, submit_stage1, work, shipped_id):
    job_id = submit_stage1()
    work()
    with context.database.reading() as session:
        base = checkpoint_of(context, session.get_one(ModelVersion, shipped_id)).weights
    trained = checkpoint_of(context, version_of(context, job_id)).weights
    for name, before in base.items():
        assert torch.equal(before, trained[name]) == name.endswith("_l0"), name


def test_a_registered_version_has_its_level_in_its_file_and_response_and_bands_beside_it(context, submit_stage1, work):
    job_id = submit_stage1()
    work()
    version = version_of(context, job_id)
    checkpoint = checkpoint_of(context, version)
    assert checkpoint.level.workouts == 9
    with context.database.reading() as session:
        state = PersonState.from_dict(model_versions.person_state(session, version.subject_id, version.id).state)
    assert state.filter.response.offset != 0.0
    assert set(state.intervals) >= {"blind", "forecast_180", "nowcast"}
    assert checkpoint.training is None
    assert checkpoint.build().training is False


class StopAfter:
    """Says stop at the n-th question; reading 12 workouts asks 12 times, following 9 of them 9 times, an epoch 4 times."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_job_interrupted_anywhere_ends_with_the_same_tensors_as_an_uninterrupted_one(
    context, submit, dataset_id, shipped_id, work, job_row, stage
):
    whole = submit(dataset_id, stage, start=shipped_id, epochs=EPOCHS, batch_size=4)
    work()
    pieces = submit(dataset_id, stage, start=shipped_id, epochs=EPOCHS, batch_size=4)
    attempts = 0
    while job_row(pieces).state != JobState.SUCCEEDED:
        run_job(replace(context, stopping=StopAfter(12 + 9 + 5 + 10 * attempts)), claim(context), "cpu")
        attempts += 1
        assert attempts < 40
    assert attempts > 2
    assert job_row(pieces).crashes == 0
    one, other = (checkpoint_of(context, version_of(context, job_id)) for job_id in (whole, pieces))
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    timeless = [[{k: v for k, v in e.items() if k != "epoch_time"} for e in c.history] for c in (one, other)]
    assert timeless[0] == timeless[1]


def test_a_damaged_latest_checkpoint_is_replaced_by_the_one_before(context, submit_stage1, job_row, work):
    job_id = submit_stage1(batch_size=4)
    run_job(replace(context, stopping=StopAfter(12 + 9 + 12)), claim(context), "cpu")
    job = job_row(job_id)
    assert job.previous_sha256
    context.store.path(job.account_id, job.latest_sha256).write_bytes(b"torn")
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    with context.database.reading() as session:
        lines = session.scalars(select(JobLogLine.message).where(JobLogLine.job_id == job_id)).all()
    assert any("cannot be used" in line for line in lines)
    assert any(line.startswith(f"Goes on after epoch {job.epoch - 1}") for line in lines)


def test_the_latest_checkpoint_and_the_one_before_stay_until_the_end_of_the_job(context, submit_stage1, job_row, work):
    job_id = submit_stage1(batch_size=4)
    run_job(replace(context, stopping=StopAfter(12 + 9 + 12)), claim(context), "cpu")
    job = job_row(job_id)

    def left() -> list[str]:
        with context.database.reading() as session:
            events = (JobEvent.job_id == job_id) & (JobEvent.event == "checkpoint")
            written = session.scalars(select(JobEvent.detail).where(events).order_by(JobEvent.id)).all()
        return [d["sha256"] for d in written if context.store.path(job.account_id, d["sha256"]).exists()]

    assert left() == [job.previous_sha256, job.latest_sha256]
    work()
    assert job_row(job_id).state == JobState.SUCCEEDED
    assert left() == []


class FullDisk(ArtifactStore):
    """No room for anything while `full`."""

    full = True

    def put(self, account_id, data):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().put(account_id, data)


def test_training_goes_on_over_a_full_disk_but_a_model_that_cannot_be_stored_fails_the_job(
    context, submit_stage1, job_row
):
    job_id = submit_stage1()
    run_job(replace(context, store=FullDisk(context.store.root)), claim(context), "cpu")
    job = job_row(job_id)
    assert (job.state, job.error_code, job.epoch) == (JobState.FAILED, "storage_full", 0)
    with context.database.reading() as session:
        assert len(session.scalars(select(EpochMetrics.epoch).where(EpochMetrics.job_id == job_id)).all()) == EPOCHS
    assert not list(context.store.root.rglob("*.part"))


def test_a_cancelled_job_stops_and_registers_nothing(context, submit_stage1, job_row):
    job_id = submit_stage1()
    mine = claim(context)
    with context.database.unit_of_work() as session:
        jobs.request_cancel(session, session.get_one(Job, job_id))
    run_job(context, mine, "cpu")
    assert job_row(job_id).state == JobState.CANCELLED
    assert version_of(context, job_id) is None


def test_a_job_run_twice_with_the_same_claim_is_trained_once(context, submit_stage1, job_row):
    job_id = submit_stage1()
    mine = claim(context)
    run_job(context, mine, "cpu")
    run_job(context, mine, "cpu")
    with context.database.reading() as session:
        assert len(session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).all()) == 1
        events = session.scalars(select(JobEvent.event).where(JobEvent.job_id == job_id)).all()
    assert events.count("succeeded") == 1


def test_a_job_whose_start_model_was_deleted_fails_with_that_reason(context, submit, dataset_id, work, job_row):
    job_id = submit(dataset_id, "stage2", start=dataset_id)
    work()
    assert job_row(job_id).error_code == "start_model_missing"


def test_a_loss_that_is_not_finite_fails_the_job_and_promotes_nothing(
    context, submit_stage1, work, job_row, monkeypatch
):
    monkeypatch.setattr("hrmodel.training.fit.masked_mse", lambda p, t, m: (p * float("nan")).sum())
    job_id = submit_stage1()
    work()
    assert job_row(job_id).error_code == "non_finite_loss"
    with context.database.reading() as session:
        assert promotion.require(session, job_row(job_id).subject_id).revision == 0
