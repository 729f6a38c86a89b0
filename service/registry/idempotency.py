"""Idempotency keys: a POST with an Idempotency-Key makes its resource once, also for repeated concurrent requests."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.errors import Conflict
from service.registry.session import insert_ignoring
from service.registry.tables import IdempotencyKey, utc_now


@dataclass(frozen=True)
class Once:
    """A caller's key, and the digest of the whole request."""

    key: str
    request_sha256: str


def begin(session: Session, account_id: UUID, once: Once | None) -> UUID | None:
    """The resource that the same request made before; None: make it, then call `finish`. Raises Conflict.

    The row is written first: of concurrent requests all but the first wait here, on the unique key, for its commit. If
    it rolls back, the next request makes the resource.
    """
    if once is None:
        return None
    row = insert_ignoring(session, IdempotencyKey).values(
        account_id=account_id,
        key=once.key,
        request_sha256=once.request_sha256,
        resource_id=uuid4(),
        created_at=utc_now(),
    )
    if session.scalar(row.returning(IdempotencyKey.key)) is not None:
        return None
    stored = select(IdempotencyKey).where(IdempotencyKey.account_id == account_id, IdempotencyKey.key == once.key)
    earlier = session.scalars(stored).one()
    if earlier.request_sha256 != once.request_sha256:
        raise reused()
    return earlier.resource_id


def reused() -> Conflict:
    """The error for a key that comes with another request than before."""
    detail = "This Idempotency-Key came with another request before; use a new key for a new request."
    return Conflict("idempotency_key_reused", detail)


def made_by(session: Session, account_id: UUID, key: str) -> UUID | None:
    """The resource that a request with this key made before; None: none has."""
    resource_id = select(IdempotencyKey.resource_id)
    return session.scalar(resource_id.where(IdempotencyKey.account_id == account_id, IdempotencyKey.key == key))


def finish(session: Session, account_id: UUID, once: Once | None, resource_id: UUID) -> None:
    """Record the resource in the transaction that makes it."""
    if once is None:
        return
    row = update(IdempotencyKey).where(IdempotencyKey.account_id == account_id, IdempotencyKey.key == once.key)
    session.execute(row.values(resource_id=resource_id))
