"""Jobs: what may be asked for, and when."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.training.stages import InvalidHyperparameter, resolve
from service.errors import Conflict, FieldError, Unprocessable
from service.jobs import views
from service.jobs.schemas import (
    Hyperparameters,
    JobCreate,
    JobRead,
    Stage1JobCreate,
    Stage2JobCreate,
)
from service.operations.queue import hint
from service.registry import datasets, fleets, idempotency, job_history, jobs, model_versions, promotion, quotas
from service.registry.idempotency import Once
from service.registry.tables import Dataset, DatasetKind, DatasetState, Job, JobState, Stage
from service.web.fields import pointing


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A request for a job: account, transaction, quota of jobs, and idempotency key."""

    session: Session
    account_id: UUID
    max_jobs: int
    once: Once | None


def submit(request: Submission, stage: Stage, body: JobCreate) -> JobRead:
    """Queue a training stage; `body` is that stage's. Stage 2 may wait for a stage 1 that still trains.

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
    """The job of `make`, or the one that the same request made before; say after the commit that there is work."""
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
    start, depends_on = None, None
    if isinstance(body, Stage1JobCreate):
        start = find_base(session, account_id, body.base_model_version_id)
    elif isinstance(body, Stage2JobCreate):
        start, depends_on = _stage1(session, account_id, dataset, body.stage1_model_version_id)
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
    wanted = DatasetKind.POPULATION if stage == Stage.BASE else DatasetKind.PERSONAL
    if dataset.kind != wanted:
        detail = f"Dataset {dataset.id} is {dataset.kind}; {stage} trains on a {wanted} dataset."
        raise Conflict("wrong_dataset_kind", detail, [FieldError(pointer, f"is {dataset.kind}")])
    if dataset.train_workouts == 0 or dataset.val_workouts == 0:
        detail = (
            f"Dataset {dataset.id} has {dataset.train_workouts} workouts to train on and {dataset.val_workouts} to "
            "validate with. A person needs 8 usable workouts; until then the base model serves."
        )
        raise Conflict("too_few_workouts", detail, [FieldError(pointer, "has too few workouts")])


def find_base(session: Session, account_id: UUID, wanted: UUID | None) -> UUID:
    """The base that stage 1 starts from. Raises NotFound or Unprocessable."""
    if wanted is None:
        return promotion.default_base(session, account_id).id
    with pointing("/base_model_version_id"):
        version = model_versions.require(session, account_id, wanted)
    if version.stage != Stage.BASE:
        raise _wrong_start("/base_model_version_id", f"is a {version.stage} version; stage 1 starts from a base")
    return version.id


def _stage1(
    session: Session, account_id: UUID, dataset: Dataset, wanted: UUID | None
) -> tuple[UUID | None, UUID | None]:
    """The version that stage 2 starts from, or the job that it waits for."""
    if wanted is not None:
        with pointing("/stage1_model_version_id"):
            version = model_versions.require(session, account_id, wanted)
        if version.stage != Stage.STAGE1 or version.subject_id != dataset.subject_id:
            raise _wrong_start("/stage1_model_version_id", "is no stage-1 version of this dataset's subject")
        return version.id, None
    job = job_history.newest_stage1(session, dataset.id)
    if job is None:
        detail = f"Dataset {dataset.id} has no stage 1 yet; start one with POST /jobs/stage1 first."
        raise Conflict("stage1_required", detail, [FieldError("/dataset_id", "has no stage 1")])
    if job.state != JobState.SUCCEEDED:
        return None, job.id
    made = model_versions.of_job(session, job.id)
    assert made is not None, "a training job succeeds together with its version"
    return made.id, None


def _wrong_start(pointer: str, message: str) -> Unprocessable:
    return Unprocessable("wrong_start_version", f"The start version {message}.", [FieldError(pointer, message)])


def configure(stage: Stage, recipe: str, hyperparameters: Hyperparameters, workouts: int) -> dict[str, Any]:
    """The recipe's hyperparameters for so many training workouts, with the given ones. Raises Unprocessable."""
    given = hyperparameters.model_dump(exclude_none=True)
    try:
        return {**resolve(stage, recipe, given, workouts=workouts).to_dict(), "recipe": recipe}
    except InvalidHyperparameter as error:
        place = FieldError(f"/hyperparameters/{error.field}", "is out of its bounds")
        raise Unprocessable("invalid_request", "A hyperparameter is out of its bounds.", [place]) from error
