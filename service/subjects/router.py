"""Subjects over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from service.predict.deps import PredictServicesDep
from service.subjects import service
from service.subjects.review import review
from service.subjects.review_schemas import ReviewRead, WorkoutId
from service.subjects.schemas import ChampionRead, ChangePage, SubjectDetail, SubjectPage
from service.web.deps import ApiRoute, PageDep, ReadCaller, ServicesDep, SessionDep, TrainCaller
from service.web.fields import SubjectPath
from service.web.openapi import problems

router = APIRouter(prefix="/subjects", tags=["subjects"], route_class=ApiRoute)


@router.get("", responses=problems())
def list_subjects(caller: ReadCaller, session: SessionDep, page: PageDep) -> SubjectPage:
    """List subjects, newest first."""
    return service.show_page(session, caller.account_id, page)


@router.get("/{subject}", responses=problems(404))
def get_subject(subject: SubjectPath, caller: ReadCaller, session: SessionDep) -> SubjectDetail:
    """Show a subject: their level, the version that serves them, and in words why."""
    return service.show(session, caller.account_id, subject)


@router.delete("/{subject}", status_code=204, responses=problems(404, 409))
def delete_subject(subject: SubjectPath, caller: TrainCaller, services: PredictServicesDep) -> None:
    """Delete a person: their workouts, datasets, jobs and every model trained on them, rows and files."""
    service.delete(services, caller.account_id, subject)


@router.get("/{subject}/workouts/{workout_id}", responses=problems(404, 409))
async def review_workout(
    subject: SubjectPath,
    workout_id: WorkoutId,
    caller: ReadCaller,
    services: PredictServicesDep,
    model_version_id: Annotated[UUID | None, Query(description="This version instead of the best one.")] = None,
) -> ReviewRead:
    """Show a recorded workout beside its prediction, blind and after 180 s: bands, errors, zones, sensor faults.

    The version that serves now answers, with all that was followed of the person since. What it would have said before
    the workout is in its evaluation.
    """
    return await review(services, caller.account_id, subject, workout_id, model_version_id)


@router.get("/{subject}/champion", responses=problems(404))
def get_champion(subject: SubjectPath, caller: ReadCaller, session: SessionDep) -> ChampionRead:
    """Show which version serves a subject, and its errors beside the base model's on the same workouts."""
    return service.show_champion(session, caller.account_id, subject)


@router.get("/{subject}/champion/history", responses=problems(404))
def get_champion_history(subject: SubjectPath, caller: ReadCaller, session: SessionDep, page: PageDep) -> ChangePage:
    """List every change of a subject's champion with the evidence for it, newest first."""
    return service.history(session, caller.account_id, subject, page)


@router.post("/{subject}/champion/rollback", responses=problems(404, 409))
def roll_champion_back(subject: SubjectPath, caller: TrainCaller, services: ServicesDep) -> ChampionRead:
    """Roll back to the previous champion."""
    return service.rollback(services, caller.account_id, subject)
