"""Cold starts: `stagewise up` on an empty state folder until its first prediction, and until a job's first epoch.

python benchmarks/bench_start.py [--rounds 3]

Beside the time until plain FastAPI with the same network answers. CPU: of all processes until the first prediction.
Of two jobs, the first on a fresh worker: the time from POST to claim, and to the first batch (the end of the first
epoch, less what that took). Prints; asserts nothing. What stays in memory: bench_memory.py.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import write_parquet
from service.client.client import Client, Json
from service.local.background import running as running_service
from serving import trees
from serving.loads import ask, bodies
from serving.servers import OURS, PLAIN, running


def start_server(name: str) -> dict[str, float]:
    """Seconds until it listens and until it has predicted, and the processor time until then."""
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder, running(name, Path(folder)) as server:
        listens = time.monotonic() - server.started
        ask(server, bodies()["blind"])
        predicts = time.monotonic() - server.started
        return {"listens": listens, "predicts": predicts, "cpu": trees.cpu_seconds(server.pid)}


def run_jobs() -> list[tuple[float, float]]:
    """Of a fresh service's two first trainings: seconds from POST to claim, and to the first batch."""
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder:
        upload = write_parquet(simulate_runner(workouts=40), Path(folder) / "runner.parquet")
        with running_service(Path(folder) / "state") as service, Client(service.url, service.key) as client:
            dataset = client.upload_dataset(upload, subject="me")
            client.wait(dataset["job_id"])
            found = []
            for _ in range(2):
                job = client.wait(client.post("/jobs/stage1", {"dataset_id": dataset["id"]})["id"])
                found.append((since(job, job["started_at"]), first_batch(client, job)))
            return found


def first_batch(client: Client, job: Json) -> float:
    """Seconds from POST to the first batch: the end of the first epoch less what it took."""
    events = client.get(f"/jobs/{job['id']}/events")["events"]
    end = next(event["created_at"] for event in events if event["event"] == "checkpoint")
    return since(job, end) - float(client.get(f"/jobs/{job['id']}/metrics")["epochs"][0]["epoch_time"])


def since(job: Json, moment: str) -> float:
    """Seconds after the job was posted."""
    return (datetime.fromisoformat(moment) - datetime.fromisoformat(job["created_at"])).total_seconds()


def main() -> None:
    """Read the options, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, torch {version('torch')}")
    rows = {name: [start_server(name) for _ in range(options.rounds)] for name in (OURS, PLAIN)}
    print(f"{'server':16}{'listens, s':>12}{'predicts, s':>12}{'CPU, s':>12}")
    for name, runs in rows.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(f"{name:16}{middle['listens']:12.1f}{middle['predicts']:12.1f}{middle['cpu']:12.1f}")
    print(f"\n{'a fresh service':24}{'POST to claim, s':>18}{'to first batch, s':>18}")
    for what, (claimed, batch) in zip(("its first training", "the next one"), run_jobs(), strict=True):
        print(f"{what:24}{claimed:18.2f}{batch:18.2f}")


if __name__ == "__main__":
    main()
