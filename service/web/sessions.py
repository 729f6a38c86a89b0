"""Sessions of the dashboard. Every request asks the database: a sign-out holds in every process at once."""

from collections.abc import Collection

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from service.registry import dashboard_sessions as rows
from service.registry.dashboard_sessions import OpenSession
from service.registry.faults import DATABASE_UNAVAILABLE
from service.registry.session import Database
from service.registry.tables import utc_now
from service.web.security import Caller, unknown_key
from service.web.together import Together

COOKIE, SECURE_COOKIE = "stagewise_session", "__Host-stagewise_session"
KEY_COOKIE = "stagewise_key"  # what earlier versions left in browsers: the key itself
MAX_TOKEN = 100


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together = Together(self._load)

    async def find(self, token: str) -> Caller | None:
        """The caller of a valid session, else None. Raises what the driver raises."""
        if len(token) > MAX_TOKEN:
            return None
        digest = rows.digest_of(token)
        session = await self._together.find(digest)
        if session is None:
            return None
        if utc_now() - session.used_at > rows.TOUCHED_AFTER:
            await to_thread.run_sync(self._touch, digest)
        return Caller(session.account_id, session.public, session.scopes)

    def open(self, caller: Caller) -> str:
        """A new session's token. Raises Unauthorized when the key has been revoked meanwhile."""
        with self._database.unit_of_work() as session:
            made = rows.open_session(session, caller.key)
        if made is None:
            raise unknown_key()
        return made

    def close(self, token: str) -> None:
        """End the session in every process."""
        with self._database.unit_of_work() as session:
            rows.close_session(session, rows.digest_of(token))

    def _load(self, digests: Collection[str]) -> dict[str, OpenSession]:
        with self._database.reading() as session:
            return rows.find_sessions(session, digests)

    def _touch(self, digest: str) -> None:
        try:
            with self._database.unit_of_work() as session:
                rows.touch_session(session, digest)
        except DATABASE_UNAVAILABLE:
            return  # the next request tries again


def cookie_of(request: Request) -> str | None:
    """The session's token, as the request brings it."""
    return request.cookies.get(_cookie(request))


def keep(request: Request, response: Response, token: str) -> None:
    """Put it into the browser: no script reads it, no other site's page sends it, and over TLS it stays there."""
    seconds = int(rows.LONGEST.total_seconds())
    secure = request.url.scheme == "https"
    response.set_cookie(_cookie(request), token, seconds, httponly=True, samesite="strict", secure=secure)


def forget(request: Request, response: Response) -> None:
    """Delete the cookie."""
    secure = request.url.scheme == "https"
    response.delete_cookie(_cookie(request), httponly=True, samesite="strict", secure=secure)


def forget_key(request: Request, response: Response) -> None:
    """Delete the cookie of earlier versions."""
    if KEY_COOKIE in request.cookies:
        response.delete_cookie(KEY_COOKIE, httponly=True, samesite="strict")


def _cookie(request: Request) -> str:
    return SECURE_COOKIE if request.url.scheme == "https" else COOKIE
