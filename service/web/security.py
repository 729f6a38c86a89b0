"""Authentication: API keys, their scopes, and a cache of valid keys that outlives a database outage."""

import hmac
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from starlette.requests import Request

from service.errors import Forbidden, Unauthorized
from service.registry import accounts
from service.registry.accounts import KeyParts
from service.registry.faults import DATABASE_UNAVAILABLE
from service.registry.session import Database
from service.registry.tables import ApiKey
from service.web.together import Together

FRESH_SECONDS = 60.0
OUTAGE_SECONDS = 600.0
MAX_KEYS = 10_000
SAFE_METHODS = ("GET", "HEAD")
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Caller:
    """The account of a request and its key's scopes."""

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
    """A cache of valid keys, so that most requests need no query; a revoked key works for a minute at most."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._known: dict[str, _Known] = {}
        self._together = Together(self._load)

    async def find(self, parts: KeyParts) -> Caller | None:
        """The caller by memory or by the database; while that is away, by memory for longer.

        Raises what the driver raises. Whatever the number of wrong keys, the database gets one short query at a time.
        """
        entry = self._known.get(parts.public)
        if entry is not None and self._clock() - entry.since <= FRESH_SECONDS:
            return _proven(entry, parts)  # a key's secret never changes
        try:
            row = await self._together.find(parts.public)
        except DATABASE_UNAVAILABLE:
            if entry is None or self._clock() - entry.since > OUTAGE_SECONDS:
                raise
            return _proven(entry, parts)
        if row is None:
            self._known.pop(parts.public, None)
            return None
        if len(self._known) >= MAX_KEYS:
            self._known.clear()
        entry = _Known(Caller(row.account_id, row.public, frozenset(row.scopes)), row.secret_sha256, self._clock())
        self._known[parts.public] = entry
        return _proven(entry, parts)

    def _load(self, publics: Collection[str]) -> dict[str, ApiKey]:
        with self._database.reading() as session:
            return accounts.find_keys(session, publics)


def _proven(entry: _Known, parts: KeyParts) -> Caller | None:
    return entry.caller if hmac.compare_digest(entry.secret_sha256, parts.secret_sha256) else None


def check_origin(request: Request) -> None:
    """Raise Forbidden unless the request's origin is this server: same scheme, host and port.

    CSRF protection: a browser sends the cookie with requests of any page, but it names the page's origin in requests
    that change something, and no page can forge that.
    """
    own_origin = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if _origin(request.headers.get("origin", "")) != _origin(own_origin):
        detail = "This request did not come from a page of this server. Behind a proxy, set STAGEWISE_TRUSTED_PROXIES."
        raise Forbidden("cross_site", detail)


def _origin(text: str) -> object:
    """Scheme, host and port; something that equals nothing when the text is no origin."""
    try:
        parts = urlsplit(text)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return object()
    whole = text == f"{parts.scheme}://{parts.netloc}" and "@" not in text
    return (parts.scheme, parts.hostname, port) if whole and port and parts.hostname else object()


def bearer(authorization: str | None) -> KeyParts | None:
    """The key in an Authorization header; None when it is malformed. Raises Unauthorized when there is none."""
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("key_required", "Send an API key: Authorization: Bearer sw_...")
    return accounts.split_key(key.strip())


def unknown_key() -> Unauthorized:
    """The error for an unknown or revoked key."""
    return Unauthorized("unknown_key", "This API key is not valid; it may have been revoked.")
