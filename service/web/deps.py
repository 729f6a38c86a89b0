"""Dependencies of endpoints: caller, transaction, page, idempotency key; and the route that authenticates."""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any, Protocol
from uuid import UUID

from anyio import fail_after, to_thread
from fastapi import Depends, Header, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.responses import Response

from service.errors import Unauthorized, Unavailable
from service.registry.artifacts import ArtifactStore
from service.registry.idempotency import Once
from service.registry.pages import PageRequest
from service.registry.session import Database
from service.settings import Settings
from service.web.body import IN_THREAD_BYTES, LIMITS, USUAL, read_json_body, to_json
from service.web.fields import PAGE_LIMIT, CursorQuery, LimitQuery
from service.web.pictures import Pictures
from service.web.processes import Processes
from service.web.rate_limits import RateLimits
from service.web.security import SAFE_METHODS, Caller, KeyRing, bearer, check_origin, unknown_key
from service.web.sessions import Sessions, cookie_of
from service.web.turns import Turns

TRANSACTIONS = 12  # of all processes at once; SQLAlchemy's pool for SQLite has 15 connections, anyio 40 threads
OF_ONE_ACCOUNT = 4
WAITING_TRANSACTIONS = 256  # of one account
SLOT_SECONDS = 10.0
BEARER = HTTPBearer(auto_error=False, description="An API key, `sw_<public>_<secret>`: `stagewise keys create`.")


def transactions(processes: Processes) -> Turns:
    """The places of one process for transactions."""
    places = processes.share(TRANSACTIONS, at_least=3)
    of_one_account = processes.share(OF_ONE_ACCOUNT, at_least=2)
    return Turns(places, per_account=of_one_account, most_waiting=WAITING_TRANSACTIONS)


class RequestCounter(Protocol):
    """Counts answers for the metrics."""

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer; `seconds` passed until it began."""


class AccountCache(Protocol):
    """Remembers rows of accounts."""

    def changed(self, account_id: UUID) -> None:
        """Forget the account's rows, in every process: this one has changed some."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """What every endpoint of one API process may use. A noun that needs more adds it in a subclass."""

    settings: Settings
    database: Database
    store: ArtifactStore
    send_hints: Callable[[Session], None]  # after the transaction's commit, tells workers of new jobs
    keys: KeyRing
    sessions: Sessions
    limits: RateLimits
    lookup: AccountCache
    metrics: RequestCounter
    transactions: Turns  # fewer at once than there are threads and connections
    decoding: Turns  # of large bodies: the event loop waits while a thread holds the GIL
    compute: Turns  # one plan or picture per core
    pictures: Pictures


async def get_services(request: Request) -> Services:
    """The application's own."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]


class ApiRoute(APIRoute):
    """A route that admits by key before it reads anything, and then reads JSON strictly."""

    changes = True  # whether what it does, unless it is a GET, may change who answers predictions

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()
        scopes = _scopes(self.dependant)
        limit = LIMITS.get(self.name, USUAL)

        async def authenticate_and_handle(request: Request) -> Response:
            caller = await admit(request, scopes)
            if self.body_field is not None:
                body = await read_json_body(request, limit)
                request._json = await self._parse(request, body)  # where Starlette keeps what `request.json()` gave
            response = await handle(request)
            if self.changes and request.method != "GET":
                (await get_services(request)).lookup.changed(caller.account_id)
            return response

        return authenticate_and_handle

    async def _parse(self, request: Request, body: bytes) -> Any:
        if len(body) < IN_THREAD_BYTES:
            return to_json(body)
        async with (await get_services(request)).decoding.of(request.state.caller.account_id):
            return await to_thread.run_sync(to_json, body)


async def admit(request: Request, scopes: Iterable[str]) -> Caller:
    """The caller, who has these scopes. Raises what `authenticate` raises."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:  # else `Shortcut` has looked already
        request.state.caller = caller = await authenticate(request)
    for scope in scopes:
        caller.must(scope)
    return caller


async def authenticate(request: Request, authorization: str | None = None) -> Caller:
    """The account of the request's key (or of `authorization`); without a key, of its session.

    Raises Unauthorized, Forbidden, TooManyRequests, or what the driver raises.
    """
    services = await get_services(request)
    header = request.headers.get("authorization") if authorization is None else authorization
    with_key = authorization is not None or (header or "").lower().startswith("bearer")  # a proxy may ask for another
    cookie = None if with_key else cookie_of(request)
    if cookie is None:
        caller = await _with_key(services, request, header)
    else:
        caller = await _signed_in(services, request, cookie)
    if request.method == "POST":
        services.limits.count_post(caller.account_id)
    return caller


async def _signed_in(services: Services, request: Request, token: str) -> Caller:
    if request.method not in SAFE_METHODS:
        check_origin(request)
    caller = await services.sessions.find(token)
    if caller is None:
        raise Unauthorized("session_ended", "This session has ended; sign in again.")
    return caller


async def _with_key(services: Services, request: Request, authorization: str | None) -> Caller:
    """A valid key passes, however many wrong keys came from its address."""
    parts = bearer(authorization)
    caller = None if parts is None else await services.keys.find(parts)
    if caller is None:
        services.limits.count_failure(request.client.host if request.client else "unknown")
        raise unknown_key()
    return caller


def _with_scope(scope: str) -> Any:
    async def caller(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]) -> Caller:
        admitted: Caller = request.state.caller
        admitted.must(scope)
        return admitted

    caller.scope = scope  # type: ignore[attr-defined]  # `ApiRoute` looks at it before it reads a body
    return Depends(caller)


def _scopes(dependant: Dependant) -> set[str]:
    """The scopes that an endpoint and its dependencies require."""
    own: str | None = getattr(dependant.call, "scope", None)
    return ({own} if own else set()).union(*(_scopes(dependency) for dependency in dependant.dependencies))


ReadCaller = Annotated[Caller, _with_scope("read")]
TrainCaller = Annotated[Caller, _with_scope("train")]
PredictCaller = Annotated[Caller, _with_scope("predict")]


async def transaction_slot(request: Request) -> AsyncIterator[None]:
    """Wait for the turn of the caller's account where waiting takes no thread. Raises Unavailable.

    The holder of SQLite's write lock, or of a row lock, needs a thread to answer and commit. If waiting requests took
    all threads, it would never get one (deadlock).
    """
    services: Services = request.app.state.services
    caller: Caller | None = getattr(request.state, "caller", None)
    async with AsyncExitStack() as held:
        try:
            with fail_after(SLOT_SECONDS):
                await held.enter_async_context(services.transactions.of(caller and caller.account_id))
        except TimeoutError as error:
            raise Unavailable("busy", "Too many requests at once; try again in a moment.", retry_after=5) from error
        yield


def get_session(request: Request, _: Annotated[None, Depends(transaction_slot, scope="function")]) -> Iterator[Session]:
    """One request is one transaction; what it says to workers goes out after the commit."""
    services: Services = request.app.state.services
    if request.method in ("GET", "HEAD"):
        with services.database.reading() as session:
            yield session
        return
    with services.database.unit_of_work() as session:
        services.send_hints(session)
        yield session


# The scope matters: without it the commit would come after the answer, and a failed commit has answered 202 already.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]

IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of yours; the same request with the same key is done once.",
        examples=["5f0c7c7e-upload-1"],
    ),
]


async def get_once(request: Request, key: IdempotencyHeader = None) -> Once | None:
    """The request's idempotency key, if it has one."""
    return None if key is None else once(request, key, hashlib.sha256(await request.body()).hexdigest())


OnceDep = Annotated[Once | None, Depends(get_once)]


def once(request: Request, key: str, body_sha256: str) -> Once:
    """The key with the digest of everything that the request says."""
    said = "\n".join((request.method, request.url.path, request.url.query, body_sha256))
    return Once(key, hashlib.sha256(said.encode()).hexdigest())


async def get_page(limit: LimitQuery = PAGE_LIMIT, cursor: CursorQuery = None) -> PageRequest:
    """The page of a list to read."""
    return PageRequest(limit, cursor)


PageDep = Annotated[PageRequest, Depends(get_page)]
