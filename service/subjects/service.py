"""Subjects: the version that serves them, its history, roll back, and deletion."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.personal.state import PersonState
from service.predict.cache import check_serves
from service.predict.deps import PredictServices
from service.registry import model_pages, model_versions, promotion, removal, standing, subjects
from service.registry.pages import PageRequest
from service.registry.subjects import SubjectRow
from service.registry.tables import Champion, Evaluation, ModelVersion
from service.subjects.schemas import (
    ChampionRead,
    ChangePage,
    ChangeRead,
    ServingRead,
    SubjectDetail,
    SubjectPage,
    SubjectRead,
    Summary,
)
from service.subjects.words import why
from service.web.deps import Services


def show_page(session: Session, account_id: UUID, request: PageRequest) -> SubjectPage:
    """Subjects, newest first."""
    page = subjects.page(session, account_id, request)
    return SubjectPage(items=[_read(row) for row in page.items], next_cursor=page.next_cursor)


def show(session: Session, account_id: UUID, name: str) -> SubjectDetail:
    """One subject, and why this version serves them. Raises NotFound."""
    row = subjects.with_champion(session, account_id, name)
    return SubjectDetail(**_read(row).model_dump(), why=why(standing.read(session, row)))


def read_champion(services: Services, account_id: UUID, name: str) -> ChampionRead:
    """What serves a subject, after a change of it. Raises NotFound."""
    with services.database.reading() as session:
        return show_champion(session, account_id, name)


def show_champion(session: Session, account_id: UUID, name: str) -> ChampionRead:
    """What serves a subject, and how good it is beside the base on the same workouts. Raises NotFound."""
    subject, champion, version = subjects.with_champion(session, account_id, name)
    if champion is None or version is None:
        champion = promotion.require(session, subject.id)
        version = model_versions.require(session, account_id, champion.model_version_id)
    own = model_pages.evaluation(session, account_id, version.id, subject_id=subject.id)
    base = model_pages.base_evaluation(session, account_id, own.dataset_id) if own else None
    change = promotion.latest_change(session, champion)
    state = model_versions.person_state(session, subject.id, version.id)
    return ChampionRead(
        **_serving(champion, version).model_dump(),
        subject=subject.name,
        offset=PersonState.from_dict(state.state).filter.response.offset if state else 0.0,
        reason=change.reason if change else "",
        decision=change.decision if change else None,
        evaluation=_summary(own),
        base=_summary(base),
    )


def history(session: Session, account_id: UUID, name: str, request: PageRequest) -> ChangePage:
    """Every change of a subject's champion, newest first. Raises NotFound."""
    subject = subjects.require(session, account_id, name)
    page = promotion.history(session, subject.id, request)
    items = [
        ChangeRead(
            revision=change.revision,
            model_version_id=change.model_version_id,
            stage=version.stage if version else None,
            reason=change.reason,
            decision=change.decision,
            created_at=change.created_at,
        )
        for change, version in page.items
    ]
    return ChangePage(items=items, next_cursor=page.next_cursor)


def rollback(services: Services, account_id: UUID, name: str) -> ChampionRead:
    """Go back to the version that served before. Raises NotFound, Conflict, or Unavailable when its file is gone."""
    with services.database.reading() as session:
        subject = subjects.require(session, account_id, name)
        version = promotion.version_before(session, subject.id)
    check_serves(services.store, version)  # before the transaction: it takes a while
    with services.database.unit_of_work() as session:
        promotion.roll_back(session, subject.id, version.id)
    return read_champion(services, account_id, name)


def delete(services: PredictServices, account_id: UUID, name: str) -> None:
    """Delete a person and every model trained on their data: rows first, then files. Raises NotFound or Conflict."""
    removal.remove(
        services.database,
        services.store,
        lambda session: removal.remove_subject(session, subjects.require(session, account_id, name)),
        services.models.forget,
    )


def _read(row: SubjectRow) -> SubjectRead:
    subject, champion, version = row
    serving = _serving(champion, version) if champion and version else None
    return SubjectRead(name=subject.name, level=subject.level, champion=serving, created_at=subject.created_at)


def _serving(champion: Champion, version: ModelVersion) -> ServingRead:
    return ServingRead(
        model_version_id=version.id, stage=version.stage, revision=champion.revision, since=champion.updated_at
    )


def _summary(scored: Evaluation | None) -> Summary | None:
    if scored is None:
        return None
    report = scored.report
    return Summary(
        model_version_id=scored.model_version_id,
        dataset_id=scored.dataset_id,
        score=scored.score,
        test_workouts=report.get("test_workouts", 0),
        mae={protocol: table["mean"].get("mae") for protocol, table in report.get("protocols", {}).items()},
        baselines={name: _errors(tables) for name, tables in report.get("baselines", {}).items()},
    )


def _errors(tables: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    return {protocol: means.get("mae") for protocol, means in tables.items()}
