"""The slowest request that is accepted, by endpoint: a search over what the schema's bounds allow, on `stagewise up`.

python -m tests.end_to_end.costs

Prints processor time of the API process (that of two other clients' requests meanwhile included), wall time, the
longest wait of these clients (GET /healthz, and predictions of another account), and the growth of memory. Asserts
nothing.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import write_parquet
from service.client.client import Client
from service.local.background import Running, running
from tests.end_to_end.attacks import Neighbour, neighbour
from tests.processes import command_line, descendants

TICKS = os.sysconf("SC_CLK_TCK")
DAY = 86_390.0


@dataclass(frozen=True)
class Case:
    """A request that the schema may accept."""

    endpoint: str
    what: str
    path: str
    body: Any = None  # None: a GET


@dataclass
class Found:
    """What a request cost."""

    case: Case
    status: int
    cpu: float
    wall: float
    others: float  # s, the longest wait of somebody else
    grown: float  # MB


@contextmanager
def others(port: int, key: str) -> Iterator[list[Neighbour]]:
    """Two clients, of an account of their own: one asks for health, the other for predictions."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    asks = {"path": "/predict", "headers": headers, "body": json.dumps({"speed": [2.5] * 60})}
    with neighbour(port, fresh=False) as first, neighbour(port, fresh=False, **asks) as second:
        yield [first, second]


def rows(samples: int, span: float, *, known: bool, gap: int = 0) -> dict[str, Any]:
    """A prediction of so many samples over `span` seconds; each `gap` samples more than a minute apart begin a segment."""
    t = np.arange(samples) * (span / samples)
    if gap:
        t = (np.arange(samples) // gap) * (61.0 + 10 * (gap - 1)) + np.arange(samples) % gap * 10.0
        t = t[t <= DAY]
    body: dict[str, Any] = {"speed": np.round(2.8 + 0.6 * np.sin(t / 90), 2).tolist(), "t": np.round(t, 2).tolist()}
    body["altitude"] = np.round(20 * np.sin(t / 150), 1).tolist()
    if known:
        body["heart_rate"] = np.round(140 + 10 * np.sin(t / 70)).tolist()
    return body


def predictions() -> Iterator[Case]:
    """Of one workout: many samples, many steps, many segments, with and without heart rate."""
    for known in (False, True):
        for samples, span in ((500, 5000.0), (1465, DAY), (8640, DAY), (50_000, DAY), (50_000, 50_000.0)):
            body = rows(samples, span, known=known)
            yield Case("POST /predict", f"{samples} samples, {span / 3600:.0f} h, known {known}", "/predict", body)
        for gap in (1, 2, 9, 80):
            body = rows(3000, DAY, known=known, gap=gap)
            yield Case("POST /predict", f"segments of {gap}, known {known}", "/predict", body)


def batches() -> Iterator[Case]:
    """As many of each as are accepted: all sizes are tried."""
    kinds = {
        "1 s apart": lambda n: rows(min(50_000, 90_000 // n), 90_000 / n, known=True),
        "10 s apart": lambda n: rows(min(8640, 32_000 // n), min(DAY, 320_000 / n), known=True),
        "days": lambda n: rows(1465, DAY, known=True),
        "segments of 1": lambda n: rows(min(1416, 5000 // n), DAY, known=True, gap=1),
        "days of segments of 1": lambda n: rows(1416, DAY, known=True, gap=1),
        "50,000 samples": lambda n: rows(50_000, 28_000.0, known=False),
    }
    for name, make in kinds.items():
        for count in (4, 16, 64):
            what = f"{count} x {name}"
            yield Case("POST /predict/batch", what, "/predict/batch", {"requests": [make(count)] * count})


def plans() -> Iterator[Case]:
    """Long and short, flat and hilly, at caps that are easy and hard to keep."""
    for km in (15, 42, 45, 100, 200):
        distance = np.linspace(0, km * 1000, 2000)
        for cap in (120, 140, 150, 165):
            body = {"distance": distance.tolist(), "heart_rate_cap": cap}
            body["altitude"] = (200 + 80 * np.sin(distance / 1500)).tolist()
            yield Case("POST /predict/plan", f"{km} km, {cap} bpm", "/predict/plan", body)


def reads(dataset: str, job: str, version: str, workout: str) -> Iterator[Case]:
    """Everything else that may be large, or takes a picture."""
    junk = [{"": 0}] * 3000
    yield Case("POST /jobs/stage1", "8 MB of objects", "/jobs/stage1", {"dataset_id": dataset, "x": junk * 250})
    yield Case("POST /jobs/stage1", "60 kB of objects", "/jobs/stage1", {"dataset_id": dataset, "x": junk})
    yield Case("POST /predict", "8 MB of objects", "/predict", {"speed": [2.5], "x": junk * 250})
    for path in (
        *(f"/datasets/{dataset}/report", f"/datasets/{dataset}/report.png"),
        *(f"/jobs/{job}/{what}" for what in ("metrics", "log", "events", "curves.png", "evaluation.png")),
        *(f"/models/{version}", f"/models/{version}/download?format=onnx", f"/models/{version}/evaluation"),
        *(f"/subjects/me/workouts/{workout}", "/ui/people/me", "/", f"/ui/datasets/{dataset}", f"/ui/jobs/{job}"),
        *(f"/{what}?limit=200" for what in ("datasets", "jobs", "models", "subjects")),
        *("/openapi.json", "/readyz", "/metrics"),
    ):
        yield Case("GET " + path.replace(dataset, "*").replace(job, "*").replace(version, "*")[:40], "", path)


def measure(case: Case, service: Running, api: int, other: str) -> Found:
    """Send it once."""
    content = None if case.body is None else json.dumps(case.body, separators=(",", ":")).encode()
    port = urlsplit(service.url).port or 0
    headers = {"Authorization": f"Bearer {service.key}", "Content-Type": "application/json"}
    with others(port, other) as clients:
        time.sleep(0.2)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        used, held, started = cpu(api), resident(api), time.monotonic()
        try:
            connection.request("GET" if content is None else "POST", case.path, content, headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):  # refused before the body was read
            status = 0
        wall = time.monotonic() - started
        spent = cpu(api) - used
        connection.close()
    if errors := [error for client in clients for error in client.errors]:
        print(f"{case.endpoint} {case.what}: another client met {errors[0]}")
    longest = max(client.longest for client in clients)
    return Found(case, status, spent, wall, longest, (resident(api) - held) / 2**20)


def cpu(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def api_of(service: Running) -> int:
    """The API among the supervisor's children."""
    named = ("service.app", "service.web.serve")
    return next(pid for pid in descendants(service.pid) if any(name in command_line(pid) for name in named))


def fill(client: Client, folder: Path) -> tuple[str, str, str, str]:
    """A person with a dataset, a training job, its version and a workout."""
    upload = write_parquet(simulate_runner(workouts=12), folder / "runner.parquet")
    dataset = client.upload_dataset(upload, subject="me")
    client.wait(dataset["job_id"])
    body = {"dataset_id": dataset["id"], "hyperparameters": {"epochs": 2}}
    job = client.wait(client.post("/jobs/stage1", body)["id"])
    version = client.get("/models?subject=me")["items"][0]["id"]
    workout = client.get(f"/datasets/{dataset['id']}/report")["workouts"][0]["digest"]
    return dataset["id"], job["id"], version, workout


def key_of(account: str, state: Path) -> str:
    """A new key of another account."""
    command = [sys.executable, "-m", "service.cli", "keys", "create", "--name", account, "--account", account]
    variables = {**os.environ, "STAGEWISE_STATE_DIR": str(state)}
    said = subprocess.run([*command, "--scopes", "read,train,predict"], env=variables, capture_output=True, check=True)
    return next(word for word in said.stdout.decode().split() if word.startswith("sw_"))


def show(found: Sequence[Found]) -> None:
    """Of each endpoint the slowest that was accepted."""
    print(f"{'endpoint':44} {'slowest accepted':38} {'status':>6} {'cpu s':>6} {'wall':>6} {'others':>6} {'MB':>6}")
    for endpoint in dict.fromkeys(one.case.endpoint for one in found):
        own = [one for one in found if one.case.endpoint == endpoint]
        accepted = [one for one in own if one.status in (200, 202)] or own
        for one in sorted(accepted, key=lambda each: -each.cpu)[:2]:
            figures = f"{one.cpu:6.2f} {one.wall:6.2f} {one.others:6.2f} {one.grown:6.0f}"
            print(f"{endpoint:44} {one.case.what:38} {one.status:6} {figures}")
        if refused := [one for one in own if one.status not in (200, 202)]:
            one = max(refused, key=lambda each: each.cpu)
            print(f"{'':44} {'dearest refused: ' + one.case.what:38.38} {one.status:6} {one.cpu:6.2f} {one.wall:6.2f}")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="stagewise-costs-") as name:
        folder = Path(name)
        with (
            running(folder / "state", STAGEWISE_API_PROCESSES="1") as service,
            Client(service.url, service.key) as client,
        ):
            cases = [*predictions(), *batches(), *plans(), *reads(*fill(client, folder))]
            other = key_of("other", folder / "state")
            measure(cases[0], service, api_of(service), other)  # models are read at the first request
            show([measure(case, service, api_of(service), other) for case in cases])


if __name__ == "__main__":
    main()
