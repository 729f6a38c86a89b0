"""A worker without a broker: a context, a tiny shipped base, uploads of simulated runners."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.original_format import to_original_pt
from hrmodel.signals.contract import FeatureContract
from hrmodel.training.stages import resolve
from hrmodel.workouts.cleaning.pieces import join_pieces
from hrmodel.workouts.formats.upload import FileReport, FoundWorkout, read_upload
from hrmodel.workouts.simulate import simulate_runner
from hrmodel.workouts.units import Units
from hrmodel.workouts.workout import Workout
from service.cli.demo import write_parquet
from service.registry import jobs
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.shipped import install_shipped_base
from service.registry.tables import Dataset, DatasetState, Job, Stage
from tests import registry_builders as builders
from tests.network_builders import tiny_network
from worker import ingest
from worker.reporter import Context
from worker.runner import run_job

LEASE = 60.0
ALL_STAGES = (*jobs.IMPORT_STAGES, *jobs.TRAINING_STAGES)


@pytest.fixture(scope="session")
def shipped_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a base model of 8 hidden units that has learnt nothing."""
    folder = tmp_path_factory.mktemp("shipped")
    model = tiny_network()
    checkpoint = Checkpoint(
        network=model.config,
        contract=FeatureContract(),
        weights=model.state_dict(),
        stage="base",
        configuration={},
        history=[],
        data_digest="d" * 64,
        code_version="test",
    )
    checkpoint.write(folder / "base.safetensors")
    to_original_pt(checkpoint, folder / "base.pt")
    (folder / "base.json").write_text(json.dumps({"data_digest": "d" * 64, "code_version": "test"}))
    return folder


@pytest.fixture
def context(database: Database, store: ArtifactStore, shipped_folder: Path) -> Context:
    """What a worker process works with, base model installed."""
    install_shipped_base(database, store, shipped_folder)
    return Context(database=database, store=store, lease_seconds=LEASE, worker="test", stopping=lambda: False)


@pytest.fixture(scope="session")
def runner_workouts() -> list[Workout]:
    """12 runs of one simulated person."""
    return simulate_runner(workouts=12)


@pytest.fixture
def upload(context: Context, tmp_path: Path) -> Callable[..., UUID]:
    """Queue the import of workouts; the dataset's id."""

    def add(workouts: list[Workout] | bytes, configuration: dict[str, Any] | None = None, **columns: Any) -> UUID:
        path = context.store.temporary(builders.add_account(context.database).id)
        path.write_bytes(workouts) if isinstance(workouts, bytes) else write_parquet(workouts, path)
        account = builders.add_account(context.database)
        sha256, size = context.store.adopt(account.id, path)
        values = {"state": DatasetState.QUEUED, "upload_sha256": sha256, "upload_size": size, **columns}
        dataset = builders.add_dataset(context.database, **values)
        with context.database.unit_of_work() as session:
            jobs.add(session, dataset, stage=Stage.IMPORT, configuration=configuration or {})
        return dataset.id

    return add


@pytest.fixture
def submit(context: Context) -> Callable[..., UUID]:
    """Queue a training job; its id."""

    def add(dataset_id: UUID, stage: str, *, start: UUID | None = None, recipe: str = "auto", **hyper: Any) -> UUID:
        configuration = {**resolve(stage, recipe, hyper, workouts=20).to_dict(), "recipe": recipe}
        with context.database.unit_of_work() as session:
            dataset = session.get_one(Dataset, dataset_id)
            return jobs.add(
                session, dataset, stage=Stage(stage), configuration=configuration, start_model_version_id=start
            ).id

    return add


@pytest.fixture
def work(context: Context) -> Callable[[], None]:
    """Run jobs in this process until none is claimable."""

    def run() -> None:
        while True:
            with context.database.unit_of_work() as session:
                claim = jobs.claim_next(session, context.worker, ALL_STAGES, LEASE)
            if claim is None:
                return
            run_job(context, claim, "cpu")

    return run


@pytest.fixture
def job_row(context: Context) -> Callable[[UUID], Job]:
    """A job as it is now."""

    def read(job_id: UUID) -> Job:
        with context.database.reading() as session:
            return session.get_one(Job, job_id)

    return read


@pytest.fixture
def dataset_id(upload: Callable[..., UUID], work: Callable[[], None], runner_workouts: list[Workout]) -> UUID:
    """The simulated person's dataset, imported: 7 train, 2 val, 3 test workouts.

    Read in this process: a confined one takes a second to start, and finds the same (test_isolated.py).
    """

    def read(path: Path, *, name: str, units: Units | None, **_: Any) -> Iterator[FoundWorkout | FileReport]:
        return join_pieces(read_upload(path, name=name, units=units))

    made = upload(runner_workouts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "read_isolated", read)
        work()
    return made
