"""Many people personalised by one fleet call on one machine, and some of them again one by one.

python benchmarks/bench_fleet.py [--people 200] [--again 10] [--workouts 12]

Starts the service as `stagewise up` does, uploads simulated runners, posts one fleet of stage 1 and stage 2, and says
how many people an hour and a core it personalises. Then the same runners under other names, one job after the other:
the same version must come to serve. Prints; asserts nothing.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from hrmodel.workouts.simulate import simulate_runner
from service.cli.demo import write_parquet
from service.client.client import Client, Json, RequestFailed
from service.local.background import running

POLL_SECONDS = 1.0


def import_people(client: Client, folder: Path, count: int, workouts: int, prefix: str = "p") -> float:
    """Upload so many runners and wait until all are ready; seconds."""
    started, waiting = time.monotonic(), []
    for number in range(count):
        upload = write_parquet(simulate_runner(workouts=workouts, seed=number), folder / "runner.parquet")
        waiting.append(client.upload_dataset(upload, subject=f"{prefix}{number}")["job_id"])
    for job_id in waiting:
        client.wait(job_id)
    return time.monotonic() - started


def run_fleet(client: Client) -> tuple[Json, float]:
    """Post a fleet and wait for its last job; the fleet and the seconds that its jobs took."""
    started = time.monotonic()
    fleet = client.post("/jobs/fleet", {"subjects": "all"})
    while fleet["fleet"]["jobs"]["queued"] + fleet["fleet"]["jobs"]["running"]:
        time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - started
        fleet = client.get(f"/jobs/{fleet['id']}")
        done = sum(fleet["fleet"]["jobs"][state] for state in ("succeeded", "failed", "cancelled"))
        if sys.stdout.isatty():
            print(f"\r{done} jobs, {seconds:.0f} s ", end="", flush=True)
    print()
    return client.wait(fleet["id"]), seconds


def one_by_one(client: Client, subjects: list[str]) -> float:
    """Both stages of each person, each job waited for; seconds."""
    started = time.monotonic()
    for name in subjects:
        (dataset,) = client.get("/datasets", subject=name)["items"]
        for stage in ("stage1", "stage2"):
            client.wait(client.post(f"/jobs/{stage}", {"dataset_id": dataset["id"]})["id"])
    return time.monotonic() - started


def serving(client: Client, subject: str) -> tuple[str, float]:
    """The stage of the version that serves a person, and its score."""
    champion = client.get(f"/subjects/{subject}/champion")
    model = client.get(f"/models/{champion['model_version_id']}")
    report = client.get(f"/models/{champion['model_version_id']}/evaluation", subject=subject)["report"]
    return model["stage"], round(float(report["score"]), 6)


def main() -> None:
    """Read the options, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--again", type=int, default=10)
    parser.add_argument("--workouts", type=int, default=12)
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    print(f"{cores} cores, {platform.system()}, Python {platform.python_version()}, torch {version('torch')}")
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as temporary:
        folder = Path(temporary)
        with running(folder / "state") as service, Client(service.url, service.key) as client:
            seconds = import_people(client, folder, options.people, options.workouts)
            print(f"{options.people} people of {options.workouts} workouts imported in {seconds:.0f} s")
            fleet, seconds = run_fleet(client)
            said = fleet["fleet"]
            print(f"fleet: {said['jobs']}, promoted {said['promoted']}, errors {said['errors']}")
            people = said["people"] / seconds * 3600
            print(f"{seconds:.0f} s: {people:.0f} people an hour, {people / cores:.0f} per core-hour")
            again = min(options.again, options.people)
            import_people(client, folder, again, options.workouts, "again")
            alone = one_by_one(client, [f"again{number}" for number in range(again)])
            print(f"one by one: {alone / max(again, 1):.1f} s a person; the fleet: {seconds / said['people']:.1f} s")
            pairs = [(serving(client, f"p{number}"), serving(client, f"again{number}")) for number in range(again)]
            same = sum(one == other for one, other in pairs)
            print(f"the same version serves, with the same score: {same} of {again} people")
            for number, (one, other) in enumerate(pairs):
                if one != other:
                    print(f"  p{number}: {one} against {other}")


if __name__ == "__main__":
    try:
        main()
    except RequestFailed as error:
        raise SystemExit(str(error)) from error
