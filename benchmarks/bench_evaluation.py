"""What evaluating a long workout costs, and what the end of a training job costs after the last epoch.

python benchmarks/bench_evaluation.py [--workouts 300] [--hours 1,6,24] [--data FILE.parquet --person NAME]

The workouts are simulated ones of 25 to 60 minutes (300: 210 train, 45 test), or recorded ones of a person. A long
workout is scored as the only test workout of a person with ten others, in a fresh process: processor seconds, the most
of them without a heartbeat, and its peak memory above that of scoring half an hour. The job is a stage 1 of two epochs,
run by a worker's code on SQLite in this process: processor seconds of each phase and without a heartbeat. Asserts
nothing.
"""

import argparse
import json
import logging
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import numpy as np
import structlog
import torch
from sqlalchemy import select

LONG = "--long"
PEOPLE = 10  # workouts beside the long one


def peak_mb() -> float:
    """The most memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class Beats:
    """Processor time at each heartbeat."""

    moments: list[tuple[float, float]] = field(default_factory=lambda: [(time.time(), time.process_time())])

    def beat(self, *_: object) -> bool:
        """Note one; False, as the answer to whether the worker shuts down."""
        self.moments.append((time.time(), time.process_time()))
        return False

    def cpu_at(self, moment: float) -> float:
        """Processor seconds at a time of the clock."""
        wall, cpu = zip(*self.moments, strict=True)
        return float(np.interp(moment, wall, cpu))

    def silence(self, since: float = 0.0) -> float:
        """The most processor seconds between two heartbeats."""
        cpu = [used for moment, used in self.moments if moment >= since]
        return max(np.diff(cpu), default=0.0)


def score_long(hours: float) -> dict[str, float]:
    """What is measured in the fresh process."""
    from hrmodel.api import load_base
    from hrmodel.evaluation.calibration import states_and_report
    from hrmodel.evaluation.forecasters import EvaluationData, NetworkForecaster
    from hrmodel.prediction.predictor import Predictor
    from hrmodel.signals.contract import FeatureContract
    from hrmodel.signals.grid import to_grid
    from hrmodel.signals.scale import fit_scale
    from hrmodel.workouts.simulate import simulate_runner
    from hrmodel.workouts.workout import Workout

    others = [to_grid(workout, workout.digest) for workout in simulate_runner(workouts=PEOPLE)]
    network = NetworkForecaster(predictor=Predictor(load_base()), level=fit_scale(others, FeatureContract()))

    def score(seconds: float, on_progress: Callable[[float], object]) -> None:
        t = np.arange(0.0, seconds, 10.0)
        heart_rate = 135 + 15 * np.sin(t / 300) + np.random.default_rng(0).normal(0, 2, len(t))
        workout = Workout(t=t, speed=2.5 + 0.4 * np.sin(t / 300), altitude=20 * np.sin(t / 900), heart_rate=heart_rate)
        test = [to_grid(workout, workout.digest)]
        data = EvaluationData(train=others[:-2], val=others[-2:], test=test, level=network.level)
        states_and_report(network, data, on_progress)

    score(1800.0, lambda _: None)
    base, beats = peak_mb(), Beats()
    score(hours * 3600.0, beats.beat)
    cpu = beats.moments[-1][1] - beats.moments[0][1]
    return {"cpu": cpu, "silence": beats.silence(), "memory": peak_mb() - base}


def bench_long(hours: list[float]) -> None:
    """One row for each length."""
    print(f"{'workout, h':>10} {'steps':>7} {'CPU s':>7} {'silent, CPU s':>14} {'more memory, MB':>16}")
    for length in hours:
        command = [sys.executable, __file__, LONG, str(length)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        figures = f"{row['cpu']:7.2f} {row['silence']:14.2f} {row['memory']:16.0f}"
        print(f"{length:10g} {length * 360:7.0f} {figures}", flush=True)


def bench_job(parquet: Path, folder: Path) -> None:
    """Import the workouts, train two epochs, and print what each phase took."""
    from hrmodel.training.stages import resolve
    from service.local.preparing import prepare
    from service.registry import accounts, datasets, jobs, model_versions, subjects
    from service.registry.artifacts import ArtifactStore
    from service.registry.session import Database
    from service.registry.tables import Dataset, Job, JobEvent, Stage
    from service.settings import Settings
    from worker.reporter import Context
    from worker.runner import run_job

    beats = Beats()
    settings = Settings(
        database_url=f"sqlite:///{folder / 'stagewise.db'}", state_dir=folder, artifact_dir=folder / "artifacts"
    )
    prepare(settings, None)
    database, store = Database(settings.database_url), ArtifactStore(settings.artifact_dir)
    context = Context(database=database, store=store, lease_seconds=60.0, worker="bench", stopping=beats.beat)

    def run(dataset_id: UUID, stage: Stage, configuration: dict[str, object]) -> Job:
        with database.unit_of_work() as session:
            start = model_versions.shipped(session).id if stage == Stage.STAGE1 else None
            dataset = session.get_one(Dataset, dataset_id)
            job = jobs.add(session, dataset, stage=stage, configuration=configuration, start_model_version_id=start)
        with database.unit_of_work() as session:
            claim = jobs.claim_next(session, "bench", (stage,), 60.0)
        run_job(context, claim, "cpu")
        with database.reading() as session:
            return session.get_one(Job, job.id)

    with database.unit_of_work() as session:
        account = accounts.ensure_account(session)
        sha256, size = store.put(account.id, parquet.read_bytes()), parquet.stat().st_size
        upload = {"name": "bench.parquet", "upload_sha256": sha256, "upload_size": size, "min_hr_per_minute": 6.0}
        dataset = datasets.add(session, account.id, subjects.ensure(session, account.id, "bench"), **upload)
    imported = run(dataset.id, Stage.IMPORT, {})
    stage1 = resolve("stage1", "auto", {"epochs": 2}, workouts=40).to_dict()
    job = run(dataset.id, Stage.STAGE1, {**stage1, "recipe": "auto"})
    with database.reading() as session:
        events = session.scalars(select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.id)).all()
    last_epoch = max(event.created_at.timestamp() for event in events if event.event == "checkpoint")
    moments = [(event.detail.get("phase", event.event), event.created_at.timestamp()) for event in events]
    moments = [(name, moment) for name, moment in moments if name not in ("queued", "running", "checkpoint")]
    print(f"\nstage 1 of {imported.result}: {job.state}")
    print(f"{'phase':>12} {'CPU s':>7}")
    for (name, begin), (_, end) in pairwise(moments):
        print(f"{name:>12} {beats.cpu_at(end) - beats.cpu_at(begin):7.2f}")
    end, silence = beats.cpu_at(moments[-1][1]) - beats.cpu_at(last_epoch), beats.silence(last_epoch)
    print(f"last epoch to the end: {end:.2f} s of CPU; at most {silence:.2f} s of CPU without a heartbeat")


def main() -> None:
    """Read the options, print the tables."""
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if LONG in sys.argv:
        print(json.dumps(score_long(float(sys.argv[-1]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workouts", type=int, default=300)
    parser.add_argument("--hours", default="1,6,24")
    parser.add_argument("--data", type=Path, help="a Parquet file of recorded workouts")
    parser.add_argument("--person", help="whose workouts of it")
    options = parser.parse_args()
    print(f"{platform.system()}, Python {platform.python_version()}, torch {version('torch')}, one thread")
    bench_long([float(length) for length in options.hours.split(",")])
    with tempfile.TemporaryDirectory(prefix="bench-evaluation-") as temporary:
        from hrmodel.api import load_workouts
        from hrmodel.workouts.simulate import simulate_runner
        from service.cli.demo import write_parquet

        recorded = load_workouts(options.data, person=options.person) if options.data else None
        workouts = recorded or simulate_runner(workouts=options.workouts)
        bench_job(write_parquet(workouts, Path(temporary) / "workouts.parquet"), Path(temporary))


if __name__ == "__main__":
    main()
