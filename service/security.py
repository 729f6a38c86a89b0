"""Who calls: API keys, their scopes, and a short memory of valid ones that outlives a database outage."""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from starlette.requests import Request

from service.error_handlers import DATABASE_AWAY
from service.errors import Forbidden, Unauthorized
from service.registry import accounts
from service.registry.accounts import KeyParts
from service.registry.session import Database

FRESH_SECONDS = 60.0
OUTAGE_SECONDS = 600.0
MAX_KEYS = 10_000
COOKIE = "stagewise_key"
SAFE_METHODS = ("GET", "HEAD")


@dataclass(frozen=True)
class Caller:
    """The account behind a request and what its key may do."""

    account_id: UUID
    key: str  # the public part
    scopes: frozenset[str]

    def must(self, scope: str) -> None:
        """Raise Forbidden unless the key has the scope; `admin` has all."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Forbidden("missing_scope", f"This key lacks the scope {scope!r}; make one that has it.")


@dataclass(frozen=True)
class _Known:
    caller: Caller
    secret_sha256: str
    since: float


class KeyRing:
    """Valid keys seen lately, so that most requests need no query; a revoked key works for a minute at most."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._known: dict[str, _Known] = {}

    def known(self, parts: KeyParts, max_age: float = FRESH_SECONDS) -> Caller | None:
        """The caller, if this key was valid lately. Never blocks."""
        entry = self._known.get(parts.public)
        if entry is None or self._clock() - entry.since > max_age:
            return None
        return entry.caller if hmac.compare_digest(entry.secret_sha256, parts.secret_sha256) else None

    def load(self, parts: KeyParts) -> Caller | None:
        """The caller by the database; by memory while the database is away. Raises what the driver raises else."""
        try:
            with self._database.reading() as session:
                row = accounts.find_key(session, parts.public)
        except DATABASE_AWAY:
            caller = self.known(parts, OUTAGE_SECONDS)
            if caller is None:
                raise
            return caller
        if row is None:
            self._known.pop(parts.public, None)
            return None
        if not hmac.compare_digest(row.secret_sha256, parts.secret_sha256):
            return None
        if len(self._known) >= MAX_KEYS:
            self._known.clear()
        caller = Caller(row.account_id, row.public, frozenset(row.scopes))
        self._known[parts.public] = _Known(caller, row.secret_sha256, self._clock())
        return caller


def credentials(request: Request) -> KeyParts:
    """The key of a request: in its Authorization header, or in the dashboard's cookie. Raises Unauthorized, Forbidden.

    A browser sends a cookie along with whatever any page makes it send, so a request that changes something must come
    from a page of ours: browsers name the page's origin in it, and no page can change that.
    """
    cookie = request.cookies.get(COOKIE)
    if cookie is None or "authorization" in request.headers:
        return bearer(request.headers.get("authorization"))
    if request.method not in SAFE_METHODS:
        check_origin(request)
    parts = accounts.split_key(cookie)
    if parts is None:
        raise unknown_key()
    return parts


def check_origin(request: Request) -> None:
    """Raise Forbidden unless the request comes from a page that this server gave."""
    origin = request.headers.get("origin", "")
    if not origin or urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("cross_site", "This request did not come from a page of this server.")


def bearer(authorization: str | None) -> KeyParts:
    """The key in an Authorization header. Raises Unauthorized."""
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("key_required", "Send an API key: Authorization: Bearer sw_...")
    parts = accounts.split_key(key.strip())
    if parts is None:
        raise unknown_key()
    return parts


def unknown_key() -> Unauthorized:
    """The error for a key that is not known, or not any more."""
    return Unauthorized("unknown_key", "This API key is not valid; it may have been revoked.")
