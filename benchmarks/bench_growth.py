"""What an import costs by the number of new workouts: 10, 100, 1,000, ten more onto the 1,000, and the same file again.

python benchmarks/bench_growth.py [--sizes 10,100,1000] [--more 10]

Each row is an import job as a worker runs it (SQLite, the shipped base, simulated runs of one person, one a day), in a
process that has loaded its libraries and imported once. Shown is the processor time of that process and of the confined
child that reads the upload, interpreter included, and the memory that the process holds afterwards. Asserts nothing.
"""

import argparse
import logging
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
import torch

from hrmodel.offline.paths import shipped_base
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import Workout
from service.cli.demo import write_parquet
from service.registry import accounts, datasets, jobs, subjects
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database, make_engine
from service.registry.shipped import install_shipped_base
from service.registry.tables import Base, Job, JobState, Stage
from worker.reporter import Context
from worker.runner import run_job

START = datetime(2020, 1, 1, 7, tzinfo=UTC)
LEASE = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,100,1000")
    parser.add_argument("--more", type=int, default=10)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    sizes = [int(size) for size in options.sizes.split(",")]
    simulated = simulate_runner(workouts=max(sizes) + options.more)
    runs = [replace(run, started_at=START + timedelta(days=day)) for day, run in enumerate(simulated)]
    print(f"{'workouts':>16} {'worker, CPU s':>14} {'reader, CPU s':>14} {'wall s':>8} {'memory, MB':>11}")
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as folder:
        context = prepared(Path(folder))
        import_of(context, "warm", runs[:5])
        for size in sizes:
            show(f"{size:,}", import_of(context, f"person{size}", runs[:size]))
        largest = max(sizes)
        later = runs[largest:]
        show(f"{options.more} onto {largest:,}", import_of(context, f"person{largest}", later))
        show("the same again", import_of(context, f"person{largest}", later))
        show(f"{largest:,} again", import_of(context, f"person{largest}", runs[:largest]))


def prepared(folder: Path) -> Context:
    """An empty service with the shipped base."""
    url = f"sqlite:///{folder}/stagewise.db"
    engine = make_engine(url, create=True)
    Base.metadata.create_all(engine)
    engine.dispose()
    database, store = Database(url), ArtifactStore(folder / "artifacts")
    install_shipped_base(database, store, shipped_base().parent)
    return Context(database=database, store=store, lease_seconds=LEASE, worker="bench", stopping=lambda: False)


def import_of(context: Context, person: str, runs: Sequence[Workout]) -> dict[str, float]:
    """Import the runs of one person. What it took."""
    with context.database.unit_of_work() as session:
        account_id = accounts.ensure_account(session, "bench").id
        subject = subjects.ensure(session, account_id, person)
        path = context.store.temporary(account_id)
        write_parquet(runs, path)
        sha256, size = context.store.adopt(account_id, path)
        upload = {"upload_sha256": sha256, "upload_size": size, "min_hr_per_minute": 6.0, "name": "runs.parquet"}
        dataset = datasets.add(session, account_id, subject, **upload)
        jobs.add(session, dataset, stage=Stage.IMPORT, configuration={})
    with context.database.unit_of_work() as session:
        claim = jobs.claim_next(session, context.worker, jobs.IMPORT_STAGES, LEASE)
    assert claim is not None
    before, began = used(), time.perf_counter()
    run_job(context, claim, "cpu")
    after = used()
    with context.database.reading() as session:
        assert session.get_one(Job, claim.job_id).state == JobState.SUCCEEDED
    took = {name: after[name] - before[name] for name in ("worker", "reader")}
    return {**took, "wall": time.perf_counter() - began, "memory": after["memory"]}


def used() -> dict[str, float]:
    """Processor seconds of this process and of its children that have ended, and MB of this process."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "worker": own.ru_utime + own.ru_stime,
        "reader": children.ru_utime + children.ru_stime,
        "memory": pages * resource.getpagesize() / 1e6,
    }


def show(label: str, took: dict[str, float]) -> None:
    """Print one row."""
    figures = f"{took['worker']:14.2f} {took['reader']:14.2f} {took['wall']:8.1f} {took['memory']:11.0f}"
    print(f"{label:>16} {figures}", flush=True)


if __name__ == "__main__":
    main()
