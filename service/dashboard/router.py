"""The dashboard: pages for a browser, signed in with an API key."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from service.dashboard import pages
from service.dashboard.forms import HOME, local_page, read_form
from service.dashboard.rendering import render
from service.errors import ServiceError, Unavailable, Unprocessable
from service.jobs import service as jobs
from service.jobs.router import JobId, SubmissionDep
from service.jobs.schemas import REQUESTS, JobCreate, JobRead
from service.predict.deps import PredictServicesDep
from service.registry.faults import DATABASE_UNAVAILABLE
from service.registry.tables import PERSONAL_STAGES
from service.subjects import service as subjects
from service.subjects.review import review
from service.subjects.review_schemas import WorkoutId
from service.web.deps import ApiRoute, ReadCaller, Services, ServicesDep, SessionDep, TrainCaller, authenticate
from service.web.fields import CursorQuery, SubjectPath
from service.web.security import check_origin
from service.web.sessions import cookie_of, forget, forget_key, keep

SIGN_IN = "/ui/sign-in"
SEE_OTHER = 303
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


Verdict = Literal["kept", "repaired", "dropped"]
Start = Annotated[int, Query(ge=0, le=1_000_000)]
FormDep = Annotated[dict[str, str], Depends(read_form)]


class PageRoute(ApiRoute):
    """A page: without a session it leads to the sign-in form, and errors are pages too."""

    def get_route_handler(self) -> Handler:
        """Wrap the operation's handler."""
        handle = super().get_route_handler()

        async def show(request: Request) -> Response:
            try:
                return await handle(request)
            except ServiceError as error:
                if error.status == 401:
                    return _to_sign_in(request)
                return _error_page(request, error)
            except DATABASE_UNAVAILABLE:
                return _error_page(request, Unavailable("database_unavailable", "The database does not answer."))

        return show


class OpenPageRoute(APIRoute):
    """A page that needs no key."""

    def get_route_handler(self) -> Handler:
        """Wrap the handler: errors are pages."""
        handle = super().get_route_handler()

        async def show(request: Request) -> Response:
            try:
                return await handle(request)
            except ServiceError as error:
                return render(request, "sign_in.html", error.status, problem=error.detail, to=HOME)
            except DATABASE_UNAVAILABLE:
                return render(request, "sign_in.html", 503, problem="The database does not answer.", to=HOME)

        return show


router = APIRouter(include_in_schema=False, route_class=PageRoute)
entrance = APIRouter(include_in_schema=False, route_class=OpenPageRoute)


@entrance.get(SIGN_IN)
async def show_sign_in(request: Request, to: str = HOME) -> Response:
    """Ask for a key."""
    page = render(request, "sign_in.html", problem=None, to=local_page(to))
    forget_key(request, page)
    return page


@entrance.post(SIGN_IN)
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Open a session for a valid key, and keep its token in the browser, where no script can read it."""
    check_origin(request)
    form = await read_form(request)
    key, to = form.get("key", "").strip(), local_page(form.get("to", HOME))
    try:
        caller = await authenticate(request, f"Bearer {key}")
        caller.must("read")
        token = await to_thread.run_sync(services.sessions.open, caller)
    except ServiceError as error:
        return render(request, "sign_in.html", error.status, problem=error.detail, to=to)
    await _end_session(request, services)
    response = RedirectResponse(to, SEE_OTHER)
    forget_key(request, response)
    keep(request, response, token)
    return response


@entrance.post("/ui/sign-out")
async def sign_out(request: Request, services: ServicesDep) -> Response:
    """End the session, in every process, and forget it in this browser."""
    check_origin(request)
    await _end_session(request, services)
    response = RedirectResponse(SIGN_IN, SEE_OTHER)
    forget(request, response)
    return response


async def _end_session(request: Request, services: Services) -> None:
    cookie = cookie_of(request)
    if cookie is not None:
        await to_thread.run_sync(services.sessions.close, cookie)


@router.get("/")
def show_home(request: Request, caller: ReadCaller, session: SessionDep, cursor: CursorQuery = None) -> Response:
    """People, the newest jobs, and a place to drop a file."""
    return render(request, "home.html", **pages.home(session, caller.account_id, cursor))


@router.get("/ui/jobs")
def show_jobs(request: Request, caller: ReadCaller, session: SessionDep) -> Response:
    """The newest jobs, as a piece of a page that is fetched again and again."""
    return render(request, "jobs.html", jobs=pages.jobs(session, caller.account_id))


@router.get("/ui/jobs/{job_id}")
def show_job(request: Request, job_id: JobId, caller: ReadCaller, session: SessionDep) -> Response:
    """A job, live."""
    values = pages.job(session, caller.account_id, job_id)
    return render(request, "job.html", **values, live=pages.waits(values["job"].state))


@router.get("/ui/datasets/{dataset_id}")
def show_dataset(
    request: Request,
    dataset_id: UUID,
    caller: ReadCaller,
    session: SessionDep,
    verdict: Verdict | None = None,
    start: Start = 0,
    file_start: Start = 0,
) -> Response:
    """The report of an upload, piece by piece."""
    values = pages.dataset(session, caller.account_id, dataset_id, verdict, start, file_start)
    return render(request, "dataset.html", **values)


@router.get("/ui/people/{subject}")
def show_person(request: Request, subject: SubjectPath, caller: ReadCaller, session: SessionDep) -> Response:
    """The model that serves a person, and its errors."""
    return render(request, "person.html", **pages.person(session, caller.account_id, subject))


@router.get("/ui/people/{subject}/plan")
def show_plan(request: Request, subject: SubjectPath, caller: ReadCaller, session: SessionDep) -> Response:
    """Plan a run."""
    return render(request, "plan.html", person=subjects.show(session, caller.account_id, subject))


@router.get("/ui/people/{subject}/workouts/{workout_id}")
async def show_workout(
    request: Request,
    subject: SubjectPath,
    workout_id: WorkoutId,
    caller: ReadCaller,
    services: PredictServicesDep,
    model_version_id: UUID | None = None,
) -> Response:
    """A workout, measured and predicted."""
    shown = await review(services, caller.account_id, subject, workout_id, model_version_id)
    return render(request, "workout.html", subject=subject, review=shown)


@router.post("/ui/jobs")
def start_jobs(form: FormDep, submission: SubmissionDep) -> Response:
    """Train a stage, or both one after the other."""
    body = {"dataset_id": form.get("dataset_id", ""), "recipe": form.get("recipe", "auto")}
    chosen = form.get("stage", "")
    stages = [stage for stage in PERSONAL_STAGES if chosen in (stage.value, "both")]
    if not stages:
        labels = ", ".join(stage.label for stage in PERSONAL_STAGES)
        raise Unprocessable("invalid_request", f"Choose {labels}, or both.")
    started = [jobs.submit(submission, stage, _checked(REQUESTS[stage], body)) for stage in stages]
    return RedirectResponse(_job_page(started[0]), SEE_OTHER)


@router.post("/ui/jobs/{job_id}/cancel")
def cancel_job(job_id: JobId, caller: TrainCaller, session: SessionDep) -> Response:
    """Stop a job."""
    return RedirectResponse(_job_page(jobs.cancel(session, caller.account_id, job_id)), SEE_OTHER)


@router.post("/ui/jobs/{job_id}/retry")
def retry_job(job_id: JobId, submission: SubmissionDep) -> Response:
    """Do a failed or cancelled job again."""
    return RedirectResponse(_job_page(jobs.retry(submission, job_id)), SEE_OTHER)


@router.post("/ui/people/{subject}/rollback")
def roll_back(subject: SubjectPath, caller: TrainCaller, services: ServicesDep) -> Response:
    """Roll back to the previous champion."""
    subjects.rollback(services, caller.account_id, subject)
    return RedirectResponse(f"/ui/people/{quote(subject, safe='')}", SEE_OTHER)


def _checked(model: type[JobCreate], body: dict[str, str]) -> JobCreate:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise Unprocessable("invalid_request", "Choose a dataset and a recipe.") from error


def _job_page(job: JobRead) -> str:
    return f"/ui/jobs/{job.id}"


def _to_sign_in(request: Request) -> Response:
    """To the form, and back to the page afterwards; an action is lost."""
    to = request.url.path if request.method == "GET" else HOME
    if "hx-request" in request.headers:  # a piece of a page would show the form inside the page
        return Response(status_code=204, headers={"HX-Redirect": SIGN_IN})
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'to': to})}", SEE_OTHER)


def _error_page(request: Request, error: ServiceError) -> Response:
    return render(request, "error.html", error.status, error=error)
