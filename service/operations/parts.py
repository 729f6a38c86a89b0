"""Whether broker and worker answer. One check at a time serves all requests."""

import time
from functools import lru_cache

import redis
from anyio import CapacityLimiter, move_on_after, to_thread
from celery import Celery

from service.operations.queue import broker_options

BROKER_SECONDS = 1.0
WORKER_SECONDS = 1.0
LOOK_SECONDS = 3.0  # a longer check counts as no answer
FRESH_SECONDS = 1.0
NO_BROKER = ["broker: does not answer; jobs are accepted and wait", "worker: cannot be asked without a broker"]


class Parts:
    """The parts that do not answer, cached for a second. Any client may ask, and each check takes a thread: so there is
    one at a time. Requests that arrive meanwhile wait without a thread and get the same answer.
    """  # fmt: skip

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._one = CapacityLimiter(1)
        self._found, self._at = NO_BROKER, -FRESH_SECONDS

    async def away(self) -> list[str]:
        """A sentence for each part that does not answer, beginning with its name; takes three seconds at most."""
        asked = time.monotonic()
        with move_on_after(LOOK_SECONDS):
            await to_thread.run_sync(self._look, asked, abandon_on_cancel=True, limiter=self._one)
            return self._found
        return NO_BROKER

    def _look(self, asked: float) -> None:
        if self._at < asked - FRESH_SECONDS:
            self._found, self._at = degradations(self._broker_url), time.monotonic()


def degradations(broker_url: str) -> list[str]:
    """What is away without stopping the API. Takes two seconds at most."""
    try:
        options = {"socket_connect_timeout": BROKER_SECONDS, "socket_timeout": BROKER_SECONDS}
        # Celery's name for a broker on a Unix socket is not the driver's.
        redis.Redis.from_url(broker_url.replace("redis+socket://", "unix://"), **options).ping()
    except (redis.RedisError, OSError, ValueError):
        return NO_BROKER
    try:
        answers = _celery(broker_url).control.ping(timeout=WORKER_SECONDS, limit=1)
    except Exception:  # kombu raises what its transport raises; a probe must not fail
        answers = []
    return [] if answers else ["worker: none answers; jobs wait"]


@lru_cache(maxsize=1)
def _celery(broker_url: str) -> Celery:
    app = Celery("stagewise-health", broker=broker_url)
    # A ping holds one connection while it waits for a second: ten at once would wait for each other for ever.
    app.conf.update(broker_options(), broker_pool_limit=None)
    return app
