"""The main job on a service of its own: upload, stage 1, stage 2, metrics, predict; as any client would do it."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from hrmodel.workouts.cleaning.clean import clean
from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.sandbox.reading import read_workouts
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.workout import EPOCH, Workout
from service.cli.demo_show import draw_prediction, error_table, name_of
from service.client.client import Client, Json, RequestFailed
from service.client.types import Job
from service.local.background import running

SUBJECT = "me"
SIMULATED_WORKOUTS, SIMULATED_SEED = 40, 7
OBSERVED_SECONDS = 180.0
STAGES = {"stage1": "stage 1", "stage2": "stage 2"}


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
    with _bars(console) as bars:
        dataset_id = _import(client, runner.upload, bars)
        versions["base"] = client.get(f"/subjects/{SUBJECT}/champion")["model_version_id"]
        for stage, name in STAGES.items():
            job = client.post(f"/jobs/{stage}", {"dataset_id": dataset_id})
            result = _follow(client, job["id"], name, bars)["result"] or {}
            versions[name] = result["model_version_id"]
            decisions.append(f"{name}: {result['decision']['reason']}")
    paths = {name: f"/models/{version}/evaluation" for name, version in versions.items()}
    reports = {name: client.get(path, dataset_id=dataset_id)["report"] for name, path in paths.items()}
    if not reports["base"]["test_workouts"]:
        console.print("These are too few workouts to hold some out: all of them train, and the base model serves.")
        return
    console.print(error_table(reports))
    serving = client.get(f"/subjects/{SUBJECT}/champion")["model_version_id"]
    console.print(*decisions, f"So the {name_of(serving, versions)} model serves.", sep="\n")
    if runner.next_workout:
        console.print("This shows how it works, not how good it is on you: the base model knows this simulator.")
    workout = runner.next_workout or _newest_test_workout(runner, reports["base"])
    newest = "the newest test workout (the level has followed it since)"
    what = "the simulated runner's next workout" if runner.next_workout else newest
    console.print(f"Its predictions of {what}: {_draw(client, workout, folder / 'prediction.png')}")


def _draw(client: Client, workout: Workout, target: Path) -> Path:
    """Ask for two predictions of a workout and draw them beside the measured heart rate."""
    answers = {"Blind": _predict(client, workout, 0.0)}
    answers[f"After {OBSERVED_SECONDS:g} s of heart rate"] = _predict(client, workout, OBSERVED_SECONDS)
    draw_prediction(workout.t, np.asarray(workout.heart_rate), answers, target)
    return target


def _import(client: Client, upload: Path, bars: Progress) -> str:
    """Upload and wait until the dataset is ready; its id."""
    accepted = client.upload_dataset(upload, subject=SUBJECT, name=upload.name)
    _follow(client, accepted["job_id"], "import", bars)
    return str(accepted["id"])


def _follow(client: Client, job_id: str, name: str, bars: Progress) -> Job:
    """Show a job's progress until it has succeeded."""
    bar = bars.add_task(name, total=1.0, state="queued")
    return client.wait(job_id, lambda job: bars.update(bar, completed=job["progress"], state=job["state"]))


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]:9}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        yield bars


def _predict(client: Client, workout: Workout, observed_seconds: float) -> Json:
    """POST /predict with the heart rate of the first seconds only."""
    heart_rate = np.where(workout.t < observed_seconds, np.asarray(workout.heart_rate), np.nan)
    body: dict[str, Any] = {"subject": SUBJECT, "t": workout.t.tolist(), "speed": _nullable(workout.speed)}
    body |= {"heart_rate": _nullable(heart_rate)} if observed_seconds else {}
    body |= {"altitude": _nullable(workout.altitude)} if workout.altitude is not None else {}
    return client.post("/predict", body)


def _nullable(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


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
