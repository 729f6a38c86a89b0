"""A training job: from its dataset and start model to a registered version and the decision on who serves."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from sqlalchemy.orm import Session

from hrmodel.evaluation.population import calibrate_people, whiten_people
from hrmodel.evaluation.targets import personal_targets
from hrmodel.network.architectures import build_network
from hrmodel.network.checkpoint import Checkpoint, InvalidCheckpoint
from hrmodel.network.config import NetworkConfig
from hrmodel.network.network import HeartRateNetwork
from hrmodel.network.whitening import Whitening
from hrmodel.personal.bands import Intervals
from hrmodel.prediction.predictor import Predictor
from hrmodel.signals.contract import FeatureContract
from hrmodel.signals.scale import SubjectScale
from hrmodel.training.batches import ScaledWorkout
from hrmodel.training.fit import fit
from hrmodel.training.stages import STAGES, StageConfig
from hrmodel.training.state import TrainingState
from hrmodel.training.views import TrainingViews, ValidationViews
from hrmodel.version import CODE_VERSION
from service.registry import imports, model_versions
from service.registry.artifacts import ArtifactDamaged, ArtifactMissing
from service.registry.tables import Dataset, Job, ModelVersion, Phase
from worker import completion
from worker.data import PERSONAL, PersonData, by_person, load_checkpoint, load_person
from worker.failures import JobFailure
from worker.reporter import EpochReport, Reporter


@dataclass(frozen=True, kw_only=True, eq=False)
class Assignment:
    """The inputs of a training job."""

    job: Job
    dataset: Dataset
    stage: StageConfig
    people: dict[str, PersonData]
    parent: ModelVersion | None
    start: Checkpoint | None

    @property
    def level(self) -> SubjectScale | None:
        """The subject's level; a base model has none."""
        return self.people[PERSONAL].level if self.job.stage.personal else None

    def targets(self, reporter: Reporter) -> tuple[list[ScaledWorkout], list[ScaledWorkout]]:
        """Training and validation workouts: for a base those of all people, each in their own scale."""
        if self.start is not None:
            data = self.people[PERSONAL].for_evaluation(None)
            total = len(data.train) + len(data.val)
            reporter.enter(Phase.TARGETS, total)
            return personal_targets(self.start, data, lambda share: reporter.advance(round(share * total)))
        people = self.people.values()
        train = [workout for person in people for workout in person.scaled("train")]
        return train, [workout for person in people for workout in person.scaled("val")]


def train(reporter: Reporter, job: Job, device: str) -> None:
    """Train, calibrate, evaluate, decide, end. Raises Stop and JobFailure."""
    assignment = _load(reporter, job)
    state = _fit(reporter, assignment, device)
    best = replace(_checkpoint(assignment, state), weights=state.best_weights, training=None, training_meta=None)
    best = replace(best, last_layer=best.last_layer or _whitening(reporter, assignment, best))
    best = replace(best, intervals=_bands(reporter, assignment, best))
    completion.complete(reporter, assignment.job, assignment.dataset, assignment.people, assignment.parent, best)


def _whitening(reporter: Reporter, assignment: Assignment, best: Checkpoint) -> Whitening | None:
    """Of the last layer: a base's own, of the people that it trained on. A personal version keeps that of its start."""
    if assignment.start is not None:
        return None
    people = [person.splits["train"] for person in assignment.people.values() if person.splits["train"]]
    return whiten_people(Predictor(best), people, reporter.advance)


def _bands(reporter: Reporter, assignment: Assignment, best: Checkpoint) -> Intervals | None:
    """The population's bands: a base's own, of all its people. A personal version keeps those of its start:
    the subject's follow with each workout (`followed`)."""
    if assignment.start is not None:
        return assignment.start.intervals
    workouts_of_people = [person.workouts for person in assignment.people.values()]
    total = sum(map(len, workouts_of_people))
    reporter.enter(Phase.CALIBRATING, total)
    return calibrate_people(Predictor(best), workouts_of_people, lambda share: reporter.advance(round(share * total)))


def _load(reporter: Reporter, job: Job) -> Assignment:
    context = reporter.context
    with context.database.reading() as session:
        dataset = session.get_one(Dataset, job.dataset_id)
        stored = imports.stored_workouts(session, dataset.id)
        parent = _parent(session, job)
    level = SubjectScale.from_dict(dataset.level) if dataset.level else None
    reporter.enter(Phase.READING, len(stored))
    people = {
        name: load_person(context.store, job.account_id, workouts, reporter.advance, level=level)
        for name, workouts in ({PERSONAL: stored} if job.stage.personal else by_person(stored)).items()
    }
    reporter.say(f"Read {len(stored)} workouts of {len(people)} {'person' if len(people) == 1 else 'people'}.")
    return Assignment(
        job=job,
        dataset=dataset,
        stage=StageConfig.from_dict({k: v for k, v in job.configuration.items() if k != "recipe"}),
        people=people,
        parent=parent,
        start=load_checkpoint(context.store, parent) if parent else None,
    )


def _parent(session: Session, job: Job) -> ModelVersion | None:
    """The version that the job starts from: named by the job, or made by the job before it."""
    if job.start_model_version_id is not None:
        version = session.get(ModelVersion, job.start_model_version_id)
    elif job.depends_on is not None:
        version = model_versions.of_job(session, job.depends_on)
    elif STAGES[job.stage].starts_from is None:
        return None
    else:
        version = None
    if version is None:
        raise JobFailure("start_model_missing", "The model that this job was to start from has been deleted.")
    return version


def _fit(reporter: Reporter, assignment: Assignment, device: str) -> TrainingState:
    contract = assignment.start.contract if assignment.start else FeatureContract()
    train, val = assignment.targets(reporter)
    train_views = TrainingViews(train, contract, assignment.stage.seed, assignment.stage.batch_size)
    val_views = ValidationViews(val, contract)
    if len(train_views) == 0:
        raise JobFailure("too_few_workouts", "No training workout has a measured heart rate.")
    model = _start_model(assignment).to(torch.device(device))
    resume, epochs = _resume(reporter, assignment, model), assignment.stage.epochs
    reporter.enter(Phase.TRAINING, epochs, resume.epoch if resume else 0)

    def on_batch(state: TrainingState) -> None:
        reporter.advance(round(epochs * state.progress, 3))

    def on_epoch(_model: HeartRateNetwork, state: TrainingState) -> None:
        reporter.epoch(_report(reporter, assignment, state))

    return fit(
        model,
        train_views,
        val_views,
        assignment.stage,
        resume=resume,
        on_batch=on_batch,
        on_validation=on_batch,
        on_epoch=on_epoch,
    )


def _start_model(assignment: Assignment) -> HeartRateNetwork:
    if assignment.start is not None:
        return assignment.start.build()
    with torch.random.fork_rng():
        torch.manual_seed(assignment.stage.seed)
        return build_network(NetworkConfig(dropout=assignment.stage.dropout))


def _resume(reporter: Reporter, assignment: Assignment, model: HeartRateNetwork) -> TrainingState | None:
    """The state of the newest checkpoint that can be read: the latest, else the one before."""
    for sha256 in (assignment.job.latest_sha256, assignment.job.previous_sha256):
        if sha256 is None:
            continue
        try:
            data = reporter.context.store.read(assignment.job.account_id, sha256)
            checkpoint = Checkpoint.from_bytes(data)
            state = TrainingState.from_tensors(
                model, assignment.stage, checkpoint.training or {}, checkpoint.training_meta or {}
            )
        except (ArtifactMissing, ArtifactDamaged, InvalidCheckpoint, KeyError) as error:
            reporter.say(f"Checkpoint {sha256[:12]} cannot be used: {error}.")
            continue
        reporter.say(f"Goes on after epoch {state.epoch} (attempt {reporter.claim.attempt}).")
        return state
    return None


def _checkpoint(assignment: Assignment, state: TrainingState) -> Checkpoint:
    tensors, meta = state.to_tensors()
    start = assignment.start
    return Checkpoint(
        network=replace(state.model.config, dropout=assignment.stage.dropout),
        contract=start.contract if start else FeatureContract(),
        weights=state.weights(),
        stage=assignment.job.stage.value,
        configuration=assignment.job.configuration,
        history=state.history,
        level=assignment.level,
        intervals=None,
        last_layer=start.last_layer if start else None,
        data_digest=assignment.dataset.digest or "",
        code_version=CODE_VERSION,
        training=tensors,
        # The job's id makes the file this job's alone: it can be deleted once the job has newer checkpoints.
        training_meta={**meta, "job_id": str(assignment.job.id)},
    )


def _report(reporter: Reporter, assignment: Assignment, state: TrainingState) -> EpochReport:
    """Write the epoch's checkpoint. On a full disk training goes on from memory; the last checkpoint stays valid."""
    metrics = dict(state.history[-1])
    losses = f"train {_number(metrics['train_loss'])}, val {_number(metrics['val_loss'])}"
    message = f"Epoch {state.epoch}/{assignment.stage.epochs}: {losses}, learning rate {metrics['learning_rate']:g}."
    try:
        sha256 = reporter.context.store.put(assignment.job.account_id, _checkpoint(assignment, state).to_bytes())
    except OSError as error:
        return EpochReport(metrics=metrics, sha256=None, message=f"{message} No checkpoint: {error.strerror}.")
    return EpochReport(metrics=metrics, sha256=sha256, message=message)


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}"
