"""Jobs over HTTP. Literal paths stand before parametrised ones."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from service.jobs import feeds, fleet, live, service, views
from service.jobs.deps import JobServicesDep
from service.jobs.fleet_schemas import FleetJobCreate
from service.jobs.schemas import (
    BaseJobCreate,
    Events,
    History,
    JobMetrics,
    JobPage,
    JobRead,
    Stage1JobCreate,
    Stage2JobCreate,
)
from service.jobs.service import Submission
from service.registry.job_history import JobFilter
from service.registry.tables import JobState, Stage
from service.web.deps import ApiRoute, OnceDep, PageDep, ReadCaller, ServicesDep, SessionDep, TrainCaller
from service.web.fields import MAX_AFTER, After, SubjectFilter, instant
from service.web.openapi import PICTURE, problems

JSON_LINES = "application/x-ndjson"
_STREAM = {
    "schema": {"type": "string"},
    "example": 'event: checkpoint\ndata: {"id": 3, "event": "checkpoint", "epoch": {"epoch": 1}}\nid: 3\n\n',
}
_SAID: dict[int | str, dict[str, Any]] = {204: {"description": "The job has ended, and nothing of it comes any more."}}
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {live.MEDIA_TYPE: _STREAM}}, **_SAID}
_LOG_EXAMPLE = "2026-05-01T08:00:12Z epoch 1: train 0.41, val 0.38\n"
_LOG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Log lines",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": _LOG_EXAMPLE},
            live.MEDIA_TYPE: {**_STREAM, "example": 'event: line\ndata: {"id": 1, "message": "epoch 1"}\nid: 1\n\n'},
            JSON_LINES: {"schema": {"type": "string"}, "example": '{"id": 1, "attempt": 1, "message": "epoch 1"}\n'},
        },
    },
    **_SAID,
}

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=ApiRoute)

JobId = Annotated[UUID, Path(description="The job.")]


async def get_submission(caller: TrainCaller, services: ServicesDep, session: SessionDep, once: OnceDep) -> Submission:
    """What every request for a new job brings beside its body."""
    limit = services.settings.max_jobs
    return Submission(session=session, account_id=caller.account_id, max_jobs=limit, once=once)


SubmissionDep = Annotated[Submission, Depends(get_submission, scope="function")]
LastEventId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=MAX_AFTER, description="Where a stream goes on; more than `after`."),
]
LineLimit = Annotated[int, Query(ge=1, le=10_000, description="How many at most.")]


@router.post("/base", status_code=202, responses=problems(404, 409, body=True))
def submit_base_job(body: BaseJobCreate, response: Response, submission: SubmissionDep) -> JobRead:
    """Train a base model on a population dataset. It becomes the account's default base if it is better."""
    return _accepted(response, service.submit(submission, Stage.BASE, body))


@router.post("/stage1", status_code=202, responses=problems(404, 409, body=True))
def submit_stage1_job(body: Stage1JobCreate, response: Response, submission: SubmissionDep) -> JobRead:
    """Train stage 1 on a person's dataset, from a base model: layer 0 is frozen, layer 1 and the output train."""
    return _accepted(response, service.submit(submission, Stage.STAGE1, body))


@router.post("/stage2", status_code=202, responses=problems(404, 409, body=True))
def submit_stage2_job(body: Stage2JobCreate, response: Response, submission: SubmissionDep) -> JobRead:
    """Train stage 2, everything, from the newest stage 1 on the dataset; waits for one that still trains."""
    return _accepted(response, service.submit(submission, Stage.STAGE2, body))


@router.post("/fleet", status_code=202, responses=problems(404, 409, body=True))
def submit_fleet(body: FleetJobCreate, response: Response, submission: SubmissionDep) -> JobRead:
    """Personalise many people: one parent, with a job per person and stage, which take turns with all other jobs.

    One failed job stops no other. `GET /jobs/{id}` of the parent says how far it is, `GET /jobs?parent_id=` lists its
    jobs, and cancelling it cancels them.
    """
    return _accepted(response, fleet.submit(submission, body))


@router.get("", responses=problems())
def list_jobs(
    caller: ReadCaller,
    session: SessionDep,
    page: PageDep,
    subject: SubjectFilter = None,
    dataset_id: Annotated[UUID | None, Query(description="Only jobs on this dataset.")] = None,
    parent_id: Annotated[UUID | None, Query(description="Only jobs of this fleet.")] = None,
    stage: Annotated[Stage | None, Query(description="Only jobs of this stage.")] = None,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
) -> JobPage:
    """List jobs, newest first."""
    criteria = JobFilter(subject=subject, dataset_id=dataset_id, parent_id=parent_id, stage=stage, state=state)
    return views.show_page(session, caller.account_id, criteria, page)


@router.get("/{job_id}", responses=problems(404))
def get_job(job_id: JobId, caller: ReadCaller, session: SessionDep) -> JobRead:
    """Show a job: state, progress, time left, configuration and result."""
    return views.show(session, caller.account_id, job_id)


@router.get("/{job_id}/metrics", responses=problems(404))
def get_job_metrics(job_id: JobId, caller: ReadCaller, session: SessionDep) -> JobMetrics:
    """Show the epochs so far and, once the job has succeeded, its evaluation beside the baselines (no series)."""
    return views.metrics(session, caller.account_id, job_id)


@router.get("/{job_id}/history.json", responses=problems(404))
def get_job_history(job_id: JobId, caller: ReadCaller, session: SessionDep) -> History:
    """Show the epochs as training_history.json had them."""
    return views.history(session, caller.account_id, job_id)


@router.get("/{job_id}/curves.png", responses={**PICTURE, **problems(404, 409)}, response_class=Response)
async def get_job_curves(job_id: JobId, caller: ReadCaller, services: ServicesDep) -> Response:
    """Draw losses and learning rate over the epochs so far."""
    read = services.database.read, views.epochs_for_curves, caller.account_id, job_id
    return Response(await services.pictures.of(caller.account_id, views.draw, *read), media_type="image/png")


@router.get("/{job_id}/evaluation.png", responses={**PICTURE, **problems(404, 409)}, response_class=Response)
async def get_job_evaluation_picture(job_id: JobId, caller: ReadCaller, services: ServicesDep) -> Response:
    """Draw the best, median and worst test workout as measured and predicted, reliability, and errors by zone."""
    read = services.database.read, views.report_for_picture, caller.account_id, job_id
    return Response(await services.pictures.of(caller.account_id, views.draw_report, *read), media_type="image/png")


@router.get("/{job_id}/events", responses={**_EVENTS, **problems(404)}, response_model=Events)
def get_job_events(
    job_id: JobId,
    request: Request,
    caller: ReadCaller,
    services: JobServicesDep,
    session: SessionDep,
    after: After = 0,
    limit: LineLimit = 1000,
    last_event_id: LastEventId = None,
) -> Events | Response:
    """List changes of a job's state and its checkpoints, in order; live if the Accept header asks for them as SSE.

    Live (`Accept: text/event-stream`) each event is a message with its `id`, and a message `progress` without one
    shows the job whenever it gets ahead. The stream ends after the job's last event; `Last-Event-ID` goes on exactly
    behind the event of that number.
    """
    if _live(request):
        behind = max(after, last_event_id or 0)
        return feeds.stream(services.live, session, caller.account_id, job_id, behind, feeds.events)
    return views.events(session, caller.account_id, job_id, after, limit)


@router.get("/{job_id}/log", responses={**_LOG, **problems(404)}, response_class=Response)
def get_job_log(
    job_id: JobId,
    request: Request,
    caller: ReadCaller,
    services: JobServicesDep,
    session: SessionDep,
    after: After = 0,
    limit: LineLimit = 10_000,
    last_event_id: LastEventId = None,
) -> Response:
    """Show a job's log as text; as JSON lines, or live, if the Accept header asks for application/x-ndjson or SSE."""
    if _live(request):
        behind = max(after, last_event_id or 0)
        return feeds.stream(services.live, session, caller.account_id, job_id, behind, feeds.log_lines)
    lines = views.log_lines(session, caller.account_id, job_id, after, limit)
    if "json" in request.headers.get("accept", ""):
        return Response("".join(f"{line.model_dump_json()}\n" for line in lines), media_type=JSON_LINES)
    text = "".join(f"{instant(line.created_at)} {line.message}\n" for line in lines)
    return Response(text, media_type="text/plain; charset=utf-8")


@router.post("/{job_id}/cancel", responses=problems(404, 409))
def cancel_job(job_id: JobId, caller: TrainCaller, session: SessionDep) -> JobRead:
    """Cancel a queued job at once; a running one stops at its next batch."""
    return service.cancel(session, caller.account_id, job_id)


@router.post("/{job_id}/retry", status_code=202, responses=problems(404, 409))
def retry_job(job_id: JobId, response: Response, submission: SubmissionDep) -> JobRead:
    """Do a failed or cancelled job again, as a new job."""
    return _accepted(response, service.retry(submission, job_id))


def _live(request: Request) -> bool:
    return live.MEDIA_TYPE in request.headers.get("accept", "")


def _accepted(response: Response, job: JobRead) -> JobRead:
    response.headers["Location"] = f"/jobs/{job.id}"
    return job
