"""The main job on a service of its own: upload, stage 1, stage 2, metrics, predict; as any client would do it."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import EPOCH, Workout
from service.cli.demo_show import draw_prediction, error_table, name_of
from service.cli.job_words import doing
from service.cli.progress import progress_bars
from service.cli.workout_files import ask
from service.client.client import Client, Json, RequestFailed
from service.client.types import JobJson
from service.local.background import running

SUBJECT = "me"
SIMULATED_WORKOUTS, SIMULATED_SEED = 40, 7
OBSERVED_SECONDS = 180.0


class DemoFailed(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True)
class Runner:
    """The runner to upload. `next_workout` is not uploaded: the simulated runner's next day; None for own data."""

    upload: Path
    workouts: Sequence[Workout]
    next_workout: Workout | None


def play(data: Path | None, folder: Path) -> None:
    """Run the demo; its picture stays in `folder`. Raises DemoFailed and StartError."""
    console = Console()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stagewise-demo-") as scratch:
        runner = _own(data, Path(scratch)) if data else _simulated(Path(scratch))
        console.print(f"{len(runner.workouts)} workouts of {data or 'a simulated runner'}. Starting the service ...")
        with running(Path(scratch) / "state") as service, Client(service.url, service.key) as client:
            try:
                _walk(client, runner, folder, console)
            except RequestFailed as error:
                raise DemoFailed(str(error)) from error


def _walk(client: Client, runner: Runner, folder: Path, console: Console) -> None:
    versions, decisions = {}, []
    stages = {"stage 1": client.submit_stage1_job, "stage 2": client.submit_stage2_job}
    with progress_bars(console) as bars:
        dataset_id = _import(client, runner.upload, bars)
        versions["base"] = client.get_champion(SUBJECT)["model_version_id"]
        for name, submit in stages.items():
            result = _follow(client, submit(dataset_id)["id"], name, bars)["result"] or {}
            versions[name] = result["model_version_id"]
            decisions.append(f"{name}: {result['decision']['reason']}")
    reports = {
        name: client.get_model_evaluation(version, dataset_id=dataset_id)["report"]
        for name, version in versions.items()
    }
    if not reports["base"]["test_workouts"]:
        console.print("These are too few workouts to hold some out: all of them train, and the base model serves.")
        return
    console.print(error_table(reports))
    serving = client.get_champion(SUBJECT)["model_version_id"]
    console.print(*decisions, f"So the {name_of(serving, versions)} model serves.", sep="\n")
    if runner.next_workout:
        console.print("This shows how it works, not how good it is on you: the base model knows this simulator.")
    workout = runner.next_workout or _newest_test_workout(runner, reports["base"])
    newest = "the newest test workout (the level has followed it since)"
    what = "the simulated runner's next workout" if runner.next_workout else newest
    console.print(f"Its predictions of {what}: {_draw(client, workout, folder / 'prediction.png')}")


def _draw(client: Client, workout: Workout, target: Path) -> Path:
    """Ask for two predictions of a workout and draw them beside the measured heart rate."""
    titles = {"Blind": 0.0, f"After {OBSERVED_SECONDS:g} s of heart rate": OBSERVED_SECONDS}
    answers = {title: client.predict(**ask(workout, SUBJECT, observed)) for title, observed in titles.items()}
    draw_prediction(workout.t, np.asarray(workout.heart_rate), answers, target)
    return target


def _import(client: Client, upload: Path, bars: Progress) -> str:
    """Upload and wait until the dataset is ready; its id."""
    accepted = client.upload_dataset(upload, subject=SUBJECT, name=upload.name)
    _follow(client, accepted["job_id"], "import", bars)
    return str(accepted["id"])


def _follow(client: Client, job_id: str, name: str, bars: Progress) -> JobJson:
    """Show a job's progress until it has succeeded."""
    bar = bars.add_task(name, total=1.0, state="queued")
    return client.wait(job_id, lambda job: bars.update(bar, completed=job["progress"], state=doing(job)))


def _newest_test_workout(runner: Runner, report: Json) -> Workout:
    newest = report["per_workout"][-1]["digest"]
    return next(workout for workout in runner.workouts if workout.digest == newest)


def _simulated(scratch: Path) -> Runner:
    """A simulated runner's workouts as a Parquet file; the last one is kept back to predict."""
    *workouts, last = simulate_runner(workouts=SIMULATED_WORKOUTS + 1, seed=SIMULATED_SEED)
    upload = scratch / "runner.parquet"
    write_parquet(workouts, upload)
    return Runner(upload=upload, workouts=workouts, next_workout=last)


def _own(data: Path, scratch: Path) -> Runner:
    """One's own export: a folder is zipped. Read here too, for the picture. Raises DemoFailed."""
    try:
        cleaned = [clean(workout).workout for workout in read_workouts(data)]
    except InvalidFile as error:
        raise DemoFailed(f"{data} cannot be read: {error}") from error
    upload = _zipped(data, scratch / "export.zip") if data.is_dir() else data
    return Runner(upload=upload, workouts=[workout for workout in cleaned if workout], next_workout=None)


def _zipped(folder: Path, target: Path) -> Path:
    with ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return target


def write_parquet(workouts: Sequence[Workout], target: Path) -> Path:
    """Workouts of one person as a table of the schema that `hrmodel.workouts.formats.parquet` reads."""
    columns: dict[str, list[Any]] = {"athlete_id": [], "run": [], "segment": [], "day": []}
    columns |= {"t": [], "speed": [], "altitude": [], "heart_rate": []}
    for number, workout in enumerate(workouts):
        day = (workout.started_at - EPOCH).days if workout.started_at else number
        row = {"athlete_id": workout.person or SUBJECT, "run": number, "segment": 0, "day": day}
        row |= {name: getattr(workout, name) for name in ("t", "speed", "altitude", "heart_rate")}
        for name, value in row.items():
            columns[name].append(value)
    pq.write_table(pa.table(columns), target)
    return target
