"""Live feeds of a job: its events with their epochs, or its log lines."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session
from starlette.responses import Response

from service.jobs import views
from service.jobs.live import Live, LiveResponse, MessagePage, message
from service.registry import jobs
from service.registry.tables import TERMINAL_STATES

PAGE = 500
Feed = Callable[[Session, UUID, UUID, int], MessagePage]


def stream(live: Live, session: Session, account_id: UUID, job_id: UUID, after: int, feed: Feed) -> Response:
    """The stream until the job ends; 204 when the job has ended, so that EventSource does not reconnect.

    Raises NotFound, and TooManyRequests or Unavailable, as the answer does, when there are too many streams.
    """
    live.check_room(account_id)
    if jobs.require(session, account_id, job_id).state in TERMINAL_STATES:
        page = feed(session, account_id, job_id, after)
        if page.ended and page.last <= after:
            return Response(status_code=204)
    read = partial(_read, feed=feed, account_id=account_id, job_id=job_id)
    return LiveResponse(live, account_id, live.follow(job_id, after, read))


def events(session: Session, account_id: UUID, job_id: UUID, after: int) -> MessagePage:
    """The job's progress (a message without a number), then its events behind `after`. Raises NotFound."""
    job = views.show(session, account_id, job_id)
    rows = views.events(session, account_id, job_id, after, PAGE).events
    more = len(rows) == PAGE
    return MessagePage(
        messages=[message("progress", job), *(message(event.event, event, event.id) for event in rows)],
        last=rows[-1].id if rows else after,
        more=more,
        ended=job.state in TERMINAL_STATES and not more,
    )


def log_lines(session: Session, account_id: UUID, job_id: UUID, after: int) -> MessagePage:
    """The job's log lines behind `after`. Raises NotFound."""
    ended = jobs.require(session, account_id, job_id).state in TERMINAL_STATES
    lines = views.log_lines(session, account_id, job_id, after, PAGE)
    more = len(lines) == PAGE
    last = lines[-1].id if lines else after
    return MessagePage(
        messages=[message("line", line, line.id) for line in lines], last=last, more=more, ended=ended and not more
    )


def _read(session: Session, after: int, *, feed: Feed, account_id: UUID, job_id: UUID) -> MessagePage:
    return feed(session, account_id, job_id, after)
