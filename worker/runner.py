"""One job, from claim to end: an exception becomes a state, an error code and a sentence."""

from collections.abc import Callable
from contextlib import suppress

import structlog
from structlog.contextvars import bound_contextvars

from hrmodel.training.fit import NonFiniteLoss
from service.registry import job_history, jobs, leftovers
from service.registry.faults import DATABASE_UNAVAILABLE, NO_SPACE
from service.registry.session import spoken_reason
from service.registry.tables import Job, JobState, Stage
from worker import ingest, training
from worker.catching_up import catch_up
from worker.failures import JobFailure
from worker.reporter import Cancelled, Context, HandBack, LeaseLost, Reporter

OUT_OF_MEMORY = (
    "The GPU is out of memory. Submit the job again with a smaller hyperparameters.batch_size; "
    "or let the worker train on the CPU (STAGEWISE_DEVICE=cpu)."
)

log = structlog.get_logger(__name__)


def run_job(context: Context, claim: jobs.Claim, device: str) -> None:
    """Run one claimed job to its end. A lost claim ends here without a trace: another attempt has the job."""
    request_id = _request_of(context, claim)
    with bound_contextvars(job=str(claim.job_id), attempt=claim.attempt, request_id=request_id):
        _run_to_end(Reporter(context, claim), device)
        _clear_up(context, claim)


def _run_to_end(reporter: Reporter, device: str) -> None:
    claim = reporter.claim
    try:
        _run(reporter, device)
    except LeaseLost:
        log.warning("claim lost")
    except Cancelled:
        _end(reporter, lambda session: jobs.cancel_running(session, claim))
    except HandBack:
        _end(reporter, lambda session: jobs.hand_back(session, claim))
    except DATABASE_UNAVAILABLE as error:
        # Nothing can be written now; the lease ends by itself, and the job goes on from its checkpoint.
        log.error("database away", reason=spoken_reason(error))
    except Exception as error:
        failure = explain(error)
        log.exception("job failed", code=failure.code)
        _end(reporter, lambda session: jobs.fail(session, claim, failure.code, failure.message))
    log.info("job left")


def _clear_up(context: Context, claim: jobs.Claim) -> None:
    """Delete files that the job left unreferenced; the reconciler retries what fails here. Then bring versions that do
    not serve up to the newest workouts.
    """  # fmt: skip
    with suppress(*DATABASE_UNAVAILABLE, OSError):
        with context.database.reading() as session:
            job = session.get(Job, claim.job_id)
        if job is not None:
            leftovers.work_off(context.database, context.store, job.account_id)
        if job is not None and job.subject_id is not None and job.state == JobState.SUCCEEDED:
            catch_up(context, job.subject_id)


def _run(reporter: Reporter, device: str) -> None:
    reporter.report()
    with reporter.context.database.reading() as session:
        job = session.get_one(Job, reporter.claim.job_id)
    reporter.importing = job.stage == Stage.IMPORT
    log.info("job taken", stage=job.stage.value, worker=reporter.context.worker)
    if reporter.importing:
        ingest.import_upload(reporter, job)
    else:
        training.train(reporter, job, device)


def _request_of(context: Context, claim: jobs.Claim) -> str | None:
    """The request id of the job, read first, so that each log line has it; None during a database outage."""
    try:
        with context.database.reading() as session:
            return job_history.request_of(session, claim.job_id)
    except DATABASE_UNAVAILABLE:
        return None


def explain(error: Exception) -> JobFailure:
    """The code and sentence for a permanent error."""
    if isinstance(error, JobFailure):
        return error
    if isinstance(error, NonFiniteLoss):
        return JobFailure("non_finite_loss", f"{str(error)[:1].upper()}{str(error)[1:]}.")
    if type(error).__name__ == "OutOfMemoryError":  # torch.cuda's: a RuntimeError by inheritance
        return JobFailure("gpu_out_of_memory", OUT_OF_MEMORY)
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        then = "retry the job: it starts from the beginning; an import is retried by uploading again."
        return JobFailure("storage_full", f"The disk is full. Make room and {then}")
    return JobFailure("internal_error", f"{type(error).__name__}; the worker's log has the details.")


def _end(reporter: Reporter, change: Callable[..., bool]) -> None:
    """Write the end of the job; after a lost claim that changes no row."""
    try:
        with reporter.context.database.unit_of_work() as session:
            change(session)
    except DATABASE_UNAVAILABLE as error:
        log.error("end not written; the lease will run out", reason=spoken_reason(error))
