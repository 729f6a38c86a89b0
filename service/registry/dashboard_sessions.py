"""Sessions of the dashboard: made by signing in with a key, ended by signing out, by time, or with their key."""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from service.registry.tables import ApiKey, DashboardSession, utc_now

LONGEST = timedelta(days=30)
LONGEST_IDLE = timedelta(days=7)
TOUCHED_AFTER = timedelta(hours=1)  # the last use is written no more often
MOST = 100  # of one key; the least recently used sessions end


@dataclass(frozen=True, kw_only=True)
class OpenSession:
    """A session that has not ended, and what its key may do."""

    account_id: UUID
    public: str
    scopes: frozenset[str]
    used_at: datetime


def digest_of(token: str) -> str:
    """The stored digest of a token. The prefix keeps it apart from digests of other secrets."""
    return hashlib.sha256(f"stagewise dashboard session {token}".encode()).hexdigest()


def open_session(session: Session, public: str) -> str | None:
    """A new session's token, stored only as a digest; None when the key with that public part is revoked."""
    key_id = session.scalar(select(ApiKey.id).where(ApiKey.public == public, ApiKey.revoked_at.is_(None)))
    if key_id is None:
        return None
    token, now = secrets.token_urlsafe(32), utc_now()
    past = or_(DashboardSession.created_at < now - LONGEST, DashboardSession.used_at < now - LONGEST_IDLE)
    session.execute(delete(DashboardSession).where(past))
    sessions = select(DashboardSession.token_sha256).where(DashboardSession.key_id == key_id)
    late = session.scalars(sessions.order_by(DashboardSession.used_at.desc()).offset(MOST - 1)).all()
    session.execute(delete(DashboardSession).where(DashboardSession.token_sha256.in_(late)))
    session.add(DashboardSession(token_sha256=digest_of(token), key_id=key_id))
    return token


def find_sessions(session: Session, digests: Collection[str]) -> dict[str, OpenSession]:
    """The open sessions among the digests: not ended, their key not revoked."""
    now = utc_now()
    rows = session.execute(
        select(DashboardSession, ApiKey)
        .join(ApiKey, ApiKey.id == DashboardSession.key_id)
        .where(
            DashboardSession.token_sha256.in_(digests),
            DashboardSession.created_at >= now - LONGEST,
            DashboardSession.used_at >= now - LONGEST_IDLE,
            ApiKey.revoked_at.is_(None),
        )
    )
    return {
        row.token_sha256: OpenSession(
            account_id=key.account_id, public=key.public, scopes=frozenset(key.scopes), used_at=row.used_at
        )
        for row, key in rows
    }


def touch_session(session: Session, digest: str) -> None:
    """Record that the session was used now."""
    session.execute(update(DashboardSession).where(DashboardSession.token_sha256 == digest).values(used_at=utc_now()))


def close_session(session: Session, digest: str) -> None:
    """End the session, if it exists."""
    session.execute(delete(DashboardSession).where(DashboardSession.token_sha256 == digest))
