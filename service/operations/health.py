"""Is the process alive, can it serve, and what does it count."""

import ipaddress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlsplit

from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from service.errors import Unavailable
from service.operations.metrics import Metrics
from service.operations.parts import Parts
from service.registry import identity
from service.registry.artifacts import ArtifactStore
from service.registry.faults import CODES, DATABASE_UNAVAILABLE, Fault
from service.registry.migrations import schema_is_behind
from service.registry.session import Database, ping
from service.web.deps import Services, authenticate, get_services
from service.web.fields import example
from service.web.openapi import problems
from service.web.proxies import was_forwarded

SQL_SECONDS = 3.0
PROBES = 4
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

EXAMPLE = 'stagewise_jobs{stage="stage1",state="running"} 1.0'
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "Counters", "content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}}}
}

router = APIRouter(tags=["health"])


@dataclass(frozen=True, kw_only=True)
class HealthServices(Services):
    """What is counted and probed."""

    metrics: Metrics
    parts: Parts
    probes: CapacityLimiter  # looks whether the database answers: those that hang keep their thread


HealthServicesDep = Annotated[HealthServices, Depends(get_services)]


class Alive(BaseModel):
    """The process answers."""

    model_config = example({"alive": True})
    alive: bool


class Ready(BaseModel):
    """The API can serve; `degraded` names what is away and what that means."""

    model_config = example({"ready": True, "degraded": ["worker: none answers; jobs wait"]})
    ready: bool
    degraded: list[str]


@router.get("/healthz", responses=problems(key=False))
async def check_alive() -> Alive:
    """Whether this process answers. Looks at nothing else, so that a database outage restarts no container."""
    return Alive(alive=True)


@router.get("/readyz", responses=problems(key=False))
async def check_ready(services: HealthServicesDep) -> Ready:
    """Whether the API can serve. 503 only when SQL is down, damaged or gone, its schema behind, or the artifact folder
    another database's.

    Without a broker or a worker uploads and jobs are still accepted and predictions answered: that is `degraded`.
    """
    try:
        with fail_after(SQL_SECONDS):
            look = partial(check_database, services.database, services.store)
            await to_thread.run_sync(look, abandon_on_cancel=True, limiter=services.probes)
    except TimeoutError as error:
        raise Unavailable("database_unavailable", "The database does not answer.", retry_after=5) from error
    full = ["database: its disk is full; what would be stored is refused"] if services.database.was_full else []
    return Ready(ready=True, degraded=[*full, *await services.parts.away()])


@router.get("/metrics", responses={**_TEXT, **problems(401, 403, 429, key=False)}, response_class=Response)
async def read_metrics(request: Request, services: HealthServicesDep) -> Response:
    """Counters in Prometheus' text format, for a key with the scope `metrics` or a caller on this machine.

    Answers without a database, too: then `stagewise_degraded{part="database"}` is 1, and no jobs are shown.
    """
    if not is_local(request):
        (await authenticate(request)).must("metrics")
    parts = {sentence.partition(":")[0] for sentence in await services.parts.away()}
    if not await _look_at_jobs(services):
        parts.add("database")
    return Response(await to_thread.run_sync(services.metrics.text, parts), media_type=PROMETHEUS)


async def _look_at_jobs(services: HealthServices) -> bool:
    """Whether the database answered: without it everything else is shown."""
    look = partial(services.metrics.jobs.update, services.database, SQL_SECONDS)
    try:
        with fail_after(SQL_SECONDS):
            await to_thread.run_sync(look, abandon_on_cancel=True, limiter=services.probes)
    except (TimeoutError, *DATABASE_UNAVAILABLE):
        return False
    return True


def check_database(database: Database, store: ArtifactStore) -> None:
    """Raise Unavailable when the database's file is damaged, its schema behind, or the artifact folder another one's;
    what the driver raises when there is no database.
    """  # fmt: skip
    ping(database)
    try:
        identity.check(database, store)
    except identity.OtherStore as error:
        detail = "Database and artifact folder do not belong together; `stagewise doctor` says what to do."
        raise Unavailable("other_artifact_folder", detail, retry_after=60) from error
    except OSError as error:
        detail = f"The artifact folder cannot be read ({error.strerror}); is its disk there?"
        raise Unavailable(CODES[Fault.READ_ONLY], detail, retry_after=30) from error
    if schema_is_behind(database):
        detail = "The database lacks tables or columns that this version needs; run `stagewise migrate`."
        raise Unavailable("schema_behind", detail, retry_after=30)


def is_local(request: Request) -> bool:
    """Whether the caller is on this machine, names this machine as host, and is not a proxy.

    The host is checked because of DNS rebinding: another site's name may lead to this machine. Proxies say so in a
    header, or speak HTTP/1.0. Some do neither, so docs/how-to/reverse-proxy.md blocks this address in the proxy.
    """
    if request.client is None or was_forwarded(request.headers) or request.scope.get("http_version") == "1.0":
        return False
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return False
    return is_loopback(request.client.host) and (host == "localhost" or is_loopback(host))


def is_loopback(address: str | None) -> bool:
    """Whether it is an address of this machine for itself."""
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False
