"""Contents of pages, from the API's own answers."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from hrmodel.workouts.sandbox import confinement
from service.datasets import service as datasets
from service.datasets.schemas import DatasetRead, WorkoutRead
from service.errors import NotFound
from service.jobs import views
from service.jobs.schemas import JobRead
from service.models import service as models
from service.registry import promotion
from service.registry.job_history import JobFilter
from service.registry.model_pages import ModelFilter
from service.registry.pages import PageRequest
from service.registry.tables import PERSONAL_STAGES, DatasetState, JobState
from service.subjects import service as subjects

Values = dict[str, Any]
LIST = PageRequest(50, None)
FEW = PageRequest(10, None)
Row = TypeVar("Row")
NEWEST_WORKOUTS = 10
FIRST_ROWS, ROWS = 10, 50  # of a table that goes on, at first and with each "Show more"
LOG_LINES = 10_000
PROTOCOLS = {
    "P1": "plan (blind)",
    "P2-60": "after 1 min",
    "P2-180": "after 3 min",
    "P2-600": "after 10 min",
    "P3-30": "next 30 s",
}


class Piece(Generic[Row]):
    """A few rows of a long table, and where the next ones begin. `read`: from a start and a limit to rows."""

    def __init__(self, start: int, read: Callable[[int, int], Sequence[Row]]) -> None:
        count = ROWS if start else FIRST_ROWS
        found = read(start, count + 1)
        self.rows, self.start = found[:count], start
        self.next = start + count if len(found) > count else None


def home(session: Session, account_id: UUID, cursor: str | None) -> Values:
    """People, and the newest jobs."""
    page = subjects.show_page(session, account_id, PageRequest(LIST.limit, cursor))
    return {
        "people": page.items,
        "more": page.next_cursor,
        "datasets": datasets.show_page(session, account_id, None, FEW).items,
        "jobs": jobs(session, account_id),
        "not_confined": confinement.missing(),
    }


def jobs(session: Session, account_id: UUID) -> list[JobRead]:
    """The newest jobs."""
    return views.show_page(session, account_id, JobFilter(), FEW).items


def job(session: Session, account_id: UUID, job_id: UUID) -> Values:
    """A job, its epochs and its log."""
    lines = views.log_lines(session, account_id, job_id, 0, LOG_LINES)
    shown = views.show(session, account_id, job_id)
    result = shown.result or {}  # an import's holds no decision
    return {
        "job": shown,
        "verdict": (result.get("decision") or {}).get("reason"),
        "scored": result.get("score") is not None,
        "epochs": views.metrics(session, account_id, job_id).epochs,
        "lines": lines[-200:],
        "last_line": lines[-1].id if lines else 0,
        "children": views.show_page(session, account_id, JobFilter(parent_id=job_id), FEW).items,
    }


def dataset(
    session: Session, account_id: UUID, dataset_id: UUID, verdict: str | None, start: int, file_start: int
) -> Values:
    """A dataset and a piece of its report: workouts (of one verdict) behind the first `start`, files behind the first
    `file_start`.
    """  # fmt: skip
    shown = datasets.show(session, account_id, dataset_id)
    whose = session, account_id, dataset_id
    return {
        "dataset": shown,
        "summary": datasets.summary(*whose),
        "verdict": verdict,
        "workouts": Piece(start, partial(datasets.workouts_to_read, *whose, verdict)),
        "files": Piece(file_start, partial(datasets.files_to_read, *whose)),
        "done": shown.state in (DatasetState.READY, DatasetState.FAILED),
    }


def person(session: Session, account_id: UUID, name: str) -> Values:
    """The model that serves a person and why, the errors of each stage, and the history. Raises NotFound."""
    detail = subjects.show(session, account_id, name)
    own = datasets.show_page(session, account_id, name, LIST).items
    newest = next((dataset for dataset in own if dataset.state == DatasetState.READY), None)
    columns = list(_columns(session, account_id, name, newest)) if newest else []
    serving = detail.champion.model_version_id if detail.champion else None
    return {
        "person": detail,
        "datasets": own,
        "newest": newest,
        "columns": columns,
        "protocols": PROTOCOLS,
        "changes": subjects.history(session, account_id, name, FEW).items,
        "jobs": views.show_page(session, account_id, JobFilter(subject=name), FEW).items,
        "charts": _charts(own, columns, serving),
        "workouts": _newest_workouts(session, account_id, newest),
        "serving": serving,
    }


def _columns(session: Session, account_id: UUID, name: str, newest: DatasetRead) -> Iterable[Values]:
    """Base, stage 1 and stage 2 on the newest test workouts, then the baselines, as far as they were scored there."""
    versions = [promotion.default_base(session, account_id).id]
    for stage in PERSONAL_STAGES:
        page = models.show_page(session, account_id, ModelFilter(subject=name, stage=stage), PageRequest(1, None))
        versions += [version.id for version in page.items]
    baselines: dict[str, Any] = {}
    for version in versions:
        try:
            scored = models.evaluation(session, account_id, version, newest.id)
        except NotFound:
            continue
        report = scored.report
        baselines = report["baselines"] or baselines
        yield {
            "id": version,
            "stage": models.show(session, account_id, version).stage.value,
            "score": scored.score,
            "mae": {name: report["protocols"].get(name, {}).get("mean", {}).get("mae") for name in PROTOCOLS},
            "bands": {name: _band(report["protocols"].get(name, {})) for name in PROTOCOLS},
            "per_workout": report["per_workout"],
        }
    for title, tables in baselines.items():
        errors = {name: tables.get(name, {}).get("mae") for name in PROTOCOLS}
        yield {"id": None, "stage": title, "score": None, "mae": errors, "bands": {}, "per_workout": []}


def _band(table: Values) -> Values | None:
    """How much of the heart rates the 90 % band held, and how wide it is."""
    return (table.get("reliability") or {}).get("0.9")


def _charts(
    own: Sequence[DatasetRead],
    columns: Sequence[Values],
    serving: UUID | None,
) -> Values:
    """Level over time, by dataset; errors of the version that serves, by test workout."""
    levels = [(dataset.ready_at, dataset.level) for dataset in reversed(own) if dataset.level and dataset.ready_at]
    chosen = next((column for column in columns if column["id"] == serving), None)
    rows = chosen["per_workout"] if chosen else []
    return {
        "level": {
            "x": [at.timestamp() for at, _ in levels],
            "xKind": "date",
            "yLabel": "bpm",
            "series": [
                {"label": "level", "values": [level["heart_rate"] for _, level in levels], "color": "a", "points": True}
            ],
        },
        "errors": {
            "x": list(range(1, len(rows) + 1)),
            "xKind": "count",
            "yLabel": "bpm",
            "series": [
                {"label": "plan (blind)", "values": [row.get("P1") for row in rows], "color": "a", "points": True},
                {"label": "after 3 min", "values": [row.get("P2-180") for row in rows], "color": "b", "points": True},
            ],
        },
    }


def _newest_workouts(session: Session, account_id: UUID, newest: DatasetRead | None) -> list[WorkoutRead]:
    if newest is None:
        return []
    counts = newest.workouts
    last = counts.train + counts.val + counts.test + counts.dropped - 1
    behind = last - NEWEST_WORKOUTS
    workouts = datasets.report(session, account_id, newest.id, behind, NEWEST_WORKOUTS, -1, 0).workouts
    return [workout for workout in reversed(workouts) if workout.digest]


def waits(state: JobState) -> bool:
    """Whether something of a job is still to come."""
    return state in (JobState.QUEUED, JobState.RUNNING)
