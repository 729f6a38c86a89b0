"""Jobs: what may be asked for, and when."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.training.stages import STAGES, InvalidHyperparameter, resolve
from service.errors import Conflict, FieldError, Unprocessable
from service.jobs import views
from service.jobs.schemas import Hyperparameters, JobCreate, JobRead
from service.operations.queue import hint
from service.registry import datasets, fleets, idempotency, job_history, jobs, model_versions, promotion, quotas
from service.registry.idempotency import Once
from service.registry.tables import Dataset, DatasetState, Job, JobState, Stage
from service.web.fields import pointing


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A request for a job: account, transaction, quota of jobs, and idempotency key."""

    session: Session
    account_id: UUID
    max_jobs: int
    once: Once | None


def submit(request: Submission, stage: Stage, body: JobCreate) -> JobRead:
    """Queue a training job; its start may be a job of the stage before that still trains.

    Raises NotFound, Conflict, Unprocessable or TooManyRequests.
    """
    return submit_once(request, lambda: _add(request.session, request.account_id, stage, body))


def cancel(session: Session, account_id: UUID, job_id: UUID) -> JobRead:
    """Cancel a queued job; ask a running one to stop. Raises NotFound or Conflict."""
    job = jobs.require(session, account_id, job_id)
    if job.stage == Stage.FLEET:
        fleets.cancel(session, job)
    else:
        jobs.request_cancel(session, job)
    return views.show(session, account_id, job_id)


def retry(request: Submission, job_id: UUID) -> JobRead:
    """Do a failed or cancelled job again as a new one. Raises NotFound, Conflict or TooManyRequests."""
    return submit_once(
        request, lambda: jobs.retry(request.session, jobs.require(request.session, request.account_id, job_id))
    )


def submit_once(request: Submission, make: Callable[[], Job]) -> JobRead:
    """The job of `make`, or the job of the same earlier request (idempotency); hints workers after the commit."""
    session, account_id = request.session, request.account_id
    made = idempotency.begin(session, account_id, request.once)
    if made is None:
        quotas.lock(session, account_id)
        quotas.check_jobs(session, account_id, request.max_jobs)
        job = make()
        made = job.id
        idempotency.finish(session, account_id, request.once, made)
        hint(session, job.stage)
    return views.show(session, account_id, made)


def _add(session: Session, account_id: UUID, stage: Stage, body: JobCreate) -> Job:
    """Record a job. Raises NotFound, Conflict or Unprocessable."""
    with pointing("/dataset_id"):
        dataset = datasets.require(session, account_id, body.dataset_id)
    check_dataset(dataset, stage)
    start, depends_on = find_start(session, account_id, stage, dataset, body.start)
    configuration = configure(stage, body.recipe, body.hyperparameters, dataset.train_workouts)
    return jobs.add(
        session,
        dataset,
        stage=stage,
        configuration=configuration,
        start_model_version_id=start,
        depends_on=depends_on,
    )


def check_dataset(dataset: Dataset, stage: Stage, pointer: str = "/dataset_id") -> None:
    """Raise Conflict unless the stage can train on the dataset, which the request names at `pointer`."""
    if dataset.state != DatasetState.READY:
        reason = "its import failed" if dataset.state == DatasetState.FAILED else "wait until it is ready"
        code = "dataset_failed" if dataset.state == DatasetState.FAILED else "dataset_not_ready"
        raise Conflict(
            code, f"Dataset {dataset.id} is {dataset.state}; {reason}.", [FieldError(pointer, dataset.state)]
        )
    if dataset.kind != stage.trains:
        detail = f"Dataset {dataset.id} is {dataset.kind}; {stage} trains on a {stage.trains} dataset."
        raise Conflict("wrong_dataset_kind", detail, [FieldError(pointer, f"is {dataset.kind}")])
    if dataset.train_workouts == 0 or dataset.val_workouts == 0:
        detail = (
            f"Dataset {dataset.id} has {dataset.train_workouts} workouts to train on and {dataset.val_workouts} to "
            "validate with. A person needs 8 usable workouts; until then the base model serves."
        )
        raise Conflict("too_few_workouts", detail, [FieldError(pointer, "has too few workouts")])


def find_start(
    session: Session, account_id: UUID, stage: Stage, dataset: Dataset, named: UUID | None
) -> tuple[UUID | None, UUID | None]:
    """The version that a stage starts from, or the job that it waits for; both None for a new network.

    `named` is the version that the request names; without it the newest job of the stage before counts, or the
    account's default base. Raises NotFound, Conflict or Unprocessable.
    """
    before = STAGES[stage].starts_from
    if before is None:
        return None, None
    if not STAGES[before].personal:
        return find_base(session, account_id, stage, named), None
    if named is None:
        return _newest(session, dataset, Stage(before))
    pointer = f"/{before}_model_version_id"
    with pointing(pointer):
        version = model_versions.require(session, account_id, named)
    if version.stage != before or version.subject_id != dataset.subject_id:
        raise _wrong_start(pointer, f"is no {Stage(before).label} version of this dataset's subject")
    return version.id, None


def find_base(session: Session, account_id: UUID, stage: Stage, named: UUID | None) -> UUID:
    """The base that a stage starts from. Raises NotFound or Unprocessable."""
    if named is None:
        return promotion.default_base(session, account_id).id
    with pointing("/base_model_version_id"):
        version = model_versions.require(session, account_id, named)
    if version.stage != Stage.BASE:
        raise _wrong_start("/base_model_version_id", f"is a {version.stage} version; {stage.label} starts from a base")
    return version.id


def _newest(session: Session, dataset: Dataset, before: Stage) -> tuple[UUID | None, UUID | None]:
    """The version of the newest job of the stage before, or the job itself while it waits or trains."""
    job = job_history.newest_of_stage(session, dataset.id, before)
    if job is None:
        detail = f"Dataset {dataset.id} has no {before.label} yet; start one with POST /jobs/{before} first."
        raise Conflict(f"{before}_required", detail, [FieldError("/dataset_id", f"has no {before.label}")])
    if job.state != JobState.SUCCEEDED:
        return None, job.id
    made = model_versions.of_job(session, job.id)
    assert made is not None, "a training job succeeds together with its version"
    return made.id, None


def _wrong_start(pointer: str, message: str) -> Unprocessable:
    return Unprocessable("wrong_start_version", f"The start version {message}.", [FieldError(pointer, message)])


def configure(stage: Stage, recipe: str, hyperparameters: Hyperparameters, workouts: int) -> dict[str, Any]:
    """The recipe's hyperparameters for so many training workouts, overridden by the request's. Raises Unprocessable."""
    values = hyperparameters.model_dump(exclude_none=True)
    try:
        return {**resolve(stage, recipe, values, workouts=workouts).to_dict(), "recipe": recipe}
    except InvalidHyperparameter as error:
        place = FieldError(f"/hyperparameters/{error.field}", "is out of its bounds")
        raise Unprocessable("invalid_request", "A hyperparameter is out of its bounds.", [place]) from error
