"""Puts the API together; `service.web.serve` runs it."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import FrameType

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.routing import Mount

from service.dashboard import rendering
from service.dashboard import router as dashboard
from service.datasets import router as datasets
from service.datasets.deps import DatasetServices
from service.datasets.in_flight import InFlight
from service.forking import freeze
from service.jobs import router as jobs
from service.jobs.deps import JobServices
from service.jobs.live import Live
from service.logs import log_as_json
from service.models import router as models
from service.operations import health
from service.operations.health import PROBES, HealthServices
from service.operations.metrics import Metrics, share_counters
from service.operations.parts import Parts
from service.operations.queue import BrokerSender, Sender, send_after_commit
from service.predict import router as predict
from service.predict.batcher import MAX_BATCH, Batcher
from service.predict.cache import MAX_BYTES, ModelCache
from service.predict.lookup import Lookup
from service.registry.artifacts import ArtifactStore
from service.registry.session import CONNECTIONS, Database
from service.registry.starting import NotPrepared, check_start
from service.settings import Settings, get_settings
from service.subjects import router as subjects
from service.web.compression import Compression
from service.web.deps import transactions
from service.web.error_handlers import add_error_handlers
from service.web.held_files import HeldFiles
from service.web.openapi import describe, operation_id
from service.web.pictures import Pictures
from service.web.processes import Processes
from service.web.proxies import BehindProxies, Proxies
from service.web.rate_limits import RateLimits
from service.web.request_log import RequestLog
from service.web.security import KeyRing
from service.web.security_headers import STATIC, SecurityHeaders, page_policies
from service.web.sessions import Sessions
from service.web.shortcut import Shortcut
from service.web.turns import Turns

STOPS = (signal.SIGTERM, signal.SIGINT)
# predictions come first: every route before theirs is compared with their address
ROUTERS = (
    *(predict.router, datasets.router, jobs.router, models.router, subjects.router, health.router),
    *(dashboard.router, dashboard.entrance),
)


@dataclass(frozen=True, kw_only=True)
class ApiServices(DatasetServices, JobServices, HealthServices):
    """What the endpoints of one API process work with."""


def create_app(
    settings: Settings | None = None,
    database: Database | None = None,
    store: ArtifactStore | None = None,
    sender: Sender | None = None,
    processes: Processes | None = None,
) -> FastAPI:
    """The API. What is not given is made from the settings, and closed at the end. Starts no thread and opens no
    connection: `service.web.serve` forks it.
    """  # fmt: skip
    settings, processes = settings or get_settings(), processes or Processes()
    at_end = ExitStack()
    if database is None:
        database = Database(settings.database_url, processes.share(CONNECTIONS, at_least=10))
        at_end.callback(database.dispose)
    if sender is None:
        sender = BrokerSender(settings.broker_url)
        at_end.callback(sender.close)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services: ApiServices = app.state.services
        services.metrics.cache.fill(0, 0)  # not what a dead process of this number held
        with at_end, ending_streams(services.live):
            yield
            await services.live.end()

    docs = HeldFiles(Path(str(files("fastapi_offline"))) / "static")
    app = FastAPIOffline(  # /docs from files of ours: nothing is fetched from elsewhere
        redoc_url=None,
        static_url=f"{STATIC}/{docs.version}",
        title="Stagewise",
        version=version("stagewise"),
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # looks for OpenTelemetry in every request
    )
    store = store or ArtifactStore(settings.artifact_dir)
    app.state.services = make_services(settings, database, store, sender, processes)
    app.add_middleware(Shortcut, routes=predict.QUICK_ROUTES)  # the innermost
    app.add_middleware(Compression)
    app.add_middleware(RequestLog)
    app.add_middleware(SecurityHeaders, policies=page_policies(app))
    app.add_middleware(BehindProxies, proxies=Proxies(settings.trusted_proxies))  # the outermost
    add_error_handlers(app, rendering.error_page)
    for router in ROUTERS:
        app.include_router(router)
    hold_files(app, docs)
    app.mount(rendering.STATIC, rendering.static_files(), name="static")
    describe(app)
    log_as_json()
    return app


def hold_files(app: FastAPI, docs: HeldFiles) -> None:
    """Answer with the files of /docs from memory, in place of those that FastAPIOffline would read from the disk."""
    app.router.routes = [route for route in app.routes if not isinstance(route, Mount)]
    app.mount(STATIC, docs, name="docs")


def process_app(processes: Processes) -> FastAPI:
    """The API of processes of its own, with the settings of their environment.

    Objects made so far live until the end, so they are frozen: garbage collection would walk through all of them, which
    delayed one request in twenty by 0.2 s, and write to pages that processes share.
    """
    settings = get_settings()
    if processes.folder is not None:
        share_counters(processes)
    try:
        check_start(settings.database_url, ArtifactStore(settings.artifact_dir))
    except NotPrepared as error:
        raise SystemExit(str(error)) from error
    app = create_app(processes=processes)
    for route in app.routes:  # FastAPI makes most of a route when a request is first compared with it: 0.1 s for all
        route.matches({"type": "http", "method": "GET", "path": "/nothing/has/this", "root_path": "", "headers": []})
    freeze()
    return app


@contextmanager
def ending_streams(live: Live) -> Iterator[None]:
    """End live streams as soon as the process is told to stop: the server waits for every answer, and those go on."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are another's
        return
    loop, before = asyncio.get_running_loop(), {number: signal.getsignal(number) for number in STOPS}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(live.close)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in STOPS:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_services(
    settings: Settings,
    database: Database,
    store: ArtifactStore,
    sender: Sender,
    processes: Processes | None = None,
) -> ApiServices:
    """What the endpoints work with. What the machine has once, the processes of the API share out."""
    processes, cores = processes or Processes(), os.cpu_count() or 1
    live = Live(database, processes)
    compute = Turns(processes.share(cores))
    metrics = Metrics(settings.artifact_dir, lambda: live.streams, MAX_BATCH, processes)
    return ApiServices(
        settings=settings,
        database=database,
        store=store,
        send_hints=partial(send_after_commit, sender=sender),
        keys=KeyRing(database),
        sessions=Sessions(database),
        limits=RateLimits(settings.max_predictions_per_minute, processes=processes),
        models=ModelCache(
            store, max_bytes=processes.share(MAX_BYTES), on_use=metrics.cache.use, on_fill=metrics.cache.fill
        ),
        lookup=Lookup(database, processes=processes),
        batcher=Batcher(processes.share(cores // 2), on_batch=metrics.batches.observe),
        live=live,
        metrics=metrics,
        parts=Parts(settings.broker_url),
        transactions=transactions(processes),
        uploads=InFlight(processes),
        decoding=Turns(1),
        compute=compute,
        pictures=Pictures(compute),
        probes=CapacityLimiter(PROBES),
    )
