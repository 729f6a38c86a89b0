"""How long lists and details take in a large installation, beside one of a hundredth of its size.

python benchmarks/bench_lists.py [--databases sqlite,postgresql] [--jobs 10000] [--rounds 50]

Fills a database with 10,000 jobs of 100 epochs, as many model versions, 5,000 datasets, 250,000 workouts in them and
2,000 people (a fifth of everything is one person's, the rest are four fleets), starts `stagewise api` on it and asks
for every list and detail of its OpenAPI document in turn: one client, a connection that stays. Shown are the statements
of a request, median and 95th percentile in ms, and how many times the median with a hundredth of the rows that is.
Pictures, downloads and the review of a workout are left out: those draw, send files and predict. /metrics asks a broker
that is not there. PostgreSQL is the one of TEST_DATABASE_URL, else one started from the wheel. Asserts nothing.
"""

import argparse
import http.client
import io
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import psycopg
from sqlalchemy import event, text
from starlette.testclient import TestClient

from list_rows import Filled, Sizes, fill
from serving.servers import free_port, listening

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' servers

from service.app import create_app
from service.local.preparing import prepare
from service.registry.session import Database
from service.settings import Settings
from tests import servers

SMALL = 100  # times smaller
BUDGET = 100.0  # ms, p95
DEEP = 15  # pages of 200 behind the first
LEFT_OUT = re.compile(r"\.png$|/download$|/workouts/{workout_id}$|^/(healthz|readyz)$")
LIBRARIES = ("fastapi", "sqlalchemy", "pydantic", "psycopg")


@dataclass(frozen=True)
class Row:
    """One request's line of the table."""

    request: str
    statements: int
    p50: float  # ms
    p95: float


def requests(filled: Filled) -> list[str]:
    """Every list, with each filter, the largest page and one far behind the first, and every detail."""
    page, job, model, dataset = "limit=200", filled.job, filled.version, filled.dataset
    whose = ("subject=s0", f"dataset_id={dataset}")
    lists = {
        "/models": (*whose, "stage=base", "stage=stage1", "subject=s0&stage=stage2"),
        "/jobs": (*whose, f"parent_id={filled.fleet}", "stage=base", "stage=fleet", "state=running", "state=failed"),
        "/datasets": ("subject=s0", "subject=s7"),
        "/subjects": (),
        "/subjects/s0/champion/history": (),
    }
    paths = [f"{path}?{query}" for path, filters in lists.items() for query in (page, *filters)]
    paths += list(lists) + [f"{path}?{page}&cursor=deep" for path in lists]
    paths += [f"{path}?subject=s0&{page}&cursor=deep" for path in ("/models", "/jobs", "/datasets")]
    paths += [f"/jobs/{job}{part}" for part in ("", "/metrics", "/events", "/log", "/history.json")]
    paths += [f"/jobs/{filled.running}", f"/jobs/{filled.fleet}"]
    paths += [f"/models/{which}{part}" for which in (model, filled.shipped) for part in ("", "/evaluation")]
    paths += [f"/models/{filled.shipped}/evaluation?dataset_id={dataset}"]
    paths += [f"/datasets/{dataset}", f"/datasets/{dataset}/report", f"/datasets/{dataset}/report?after=900"]
    return [*paths, "/metrics", "/subjects/s0", "/subjects/s7", "/subjects/s0/champion", "/subjects/s7/champion"]


def check_complete(document: dict[str, dict[str, dict[str, object]]], paths: list[str]) -> None:
    """Raise RuntimeError when the API has a list or detail that is not asked for."""
    asked = {path.partition("?")[0] for path in paths}
    wanted = [path for path, methods in document["paths"].items() if "get" in methods and not LEFT_OUT.search(path)]
    left = [path for path in wanted if not any(re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), one) for one in asked)]
    if left:
        raise RuntimeError(f"not asked for: {left}")


class Client:
    """One connection with a key."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": f"Bearer {key}"}

    def get(self, path: str) -> bytes:
        """The body. Raises RuntimeError for any answer but 200."""
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
        return body

    def resolved(self, path: str) -> str:
        """The path with a real cursor, of the last of the first DEEP pages, instead of `deep`."""
        first, asked, _ = path.partition("&cursor=deep")
        cursor = ""
        for _ in range(DEEP if asked else 0):
            after = json.loads(self.get(first + cursor))["next_cursor"]
            if after is None:
                break
            cursor = f"&cursor={after}"
        return first + cursor


def measure(client: Client, path: str, rounds: int) -> tuple[float, float]:
    """Median and 95th percentile in ms."""
    client.get(path)
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        client.get(path)
        seconds.append(time.perf_counter() - began)
    ordered = sorted(seconds)
    return ordered[rounds // 2] * 1e3, ordered[min(rounds - 1, int(rounds * 0.95))] * 1e3


def statements(database: Database, settings: Settings, key: str, paths: list[str]) -> list[int]:
    """How many statements each request sends, from an API in this process."""
    sent: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *of: sent.append(of[2]))
    client = TestClient(create_app(settings, database), headers={"Authorization": f"Bearer {key}"})
    with client, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # the API's log
        client.get(paths[0])  # the key is remembered
        counts = []
        for path in paths:
            sent.clear()
            client.get(path)
            counts.append(sum(not statement.startswith("BEGIN") for statement in sent))
    return counts


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A new database; its URL."""
    with ExitStack() as stack:
        given = os.environ.get("TEST_DATABASE_URL")
        folder.chmod(0o755)
        server = given.rsplit("/", 1)[0] if given else stack.enter_context(servers.postgresql(folder))
        name = f"bench_{uuid4().hex}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        yield f"{server}/{name}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def table(kind: str, sizes: Sizes, rounds: int) -> list[Row]:
    """Fill a new database and ask for everything."""
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-lists-state-")))
        url = f"sqlite:///{state}/stagewise.sqlite3"
        if kind == "postgresql":
            url = stack.enter_context(postgresql(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        settings = Settings(state_dir=state, database_url_setting=url, broker_url_setting="redis://127.0.0.1:1/0")
        prepare(settings, key_file=None)
        database = Database(url)
        stack.callback(database.dispose)
        filled = filled_with(database, kind, sizes)
        port = free_port()
        names = {"DATABASE_URL": url, "STAGEWISE_STATE_DIR": str(state), "BROKER_URL": settings.broker_url}
        variables = {**os.environ, **names, "STAGEWISE_PORT": str(port)}
        command = [sys.executable, "-m", "service.cli", "api"]  # `stagewise up` has a worker, which changes rows
        stack.enter_context(listening(command, port, state / "api.log", variables))
        client = Client(port, filled.key)
        asked = requests(filled)
        check_complete(json.loads(client.get("/openapi.json")), asked)
        paths = [client.resolved(path) for path in asked]
        counts = statements(database, settings, filled.key, paths)
        shown = [named(path, filled) for path in asked]
        times = [measure(client, path, rounds) for path in paths]
        return [Row(name, count, *two) for name, count, two in zip(shown, counts, times, strict=True)]


def filled_with(database: Database, kind: str, sizes: Sizes) -> Filled:
    """Fill it; say how large it is and how long that took."""
    began = time.perf_counter()
    filled = fill(database, sizes)
    with database.reading() as session:
        asked = "sqlite_version()" if kind == "sqlite" else "current_setting('server_version')"
        number = session.scalar(text(f"SELECT {asked}"))
        rows = [session.scalar(text(f"SELECT count(*) FROM {name}")) for name in ("model_versions", "epoch_metrics")]
    seconds = time.perf_counter() - began
    print(f"{kind} {number}: {rows[0]} versions, {rows[1]} epochs, filled in {seconds:.0f} s", flush=True)
    return filled


def named(path: str, filled: Filled) -> str:
    """The path with words instead of ids."""
    for field in fields(filled):
        path = path.replace(str(getattr(filled, field.name)), f"({field.name})")
    return path


def bench(kind: str, jobs: int, rounds: int) -> None:
    """Print the table of one database."""
    small, large = (
        table(kind, Sizes(jobs=count, epochs=100, subjects=count // 5), rounds)
        for count in (max(100, jobs // SMALL), jobs)
    )
    print(f"{'request':48} {'statements':>10} {'p50, ms':>8} {'p95, ms':>8} {'budget':>7} {'p50 ratio':>10}")
    for row, less in sorted(zip(large, small, strict=True), key=lambda pair: pair[0].request):
        over = "  over" if row.p95 > BUDGET else ""
        times = f"{row.p50:8.1f} {row.p95:8.1f} {BUDGET:7.0f} {row.p50 / less.p50:10.1f}{over}"
        print(f"{row.request:48} {row.statements:10} {times}")
    slowest = max(large, key=lambda row: row.p95)
    print(f"the slowest: {slowest.request}, p95 {slowest.p95:.1f} ms of {BUDGET:.0f}\n", flush=True)


def main() -> None:
    """Read the options, print a table per database."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}\n")
    for kind in options.databases.split(","):
        bench(kind, options.jobs, options.rounds)


if __name__ == "__main__":
    main()
