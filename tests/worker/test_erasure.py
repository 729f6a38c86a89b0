"""After a person is deleted nothing of them is found anywhere: not in rows, files, logs, memory or free pages."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hrmodel.workouts.simulate import simulate_runner
from service.app import create_app
from service.cli.demo import write_parquet
from service.registry.tables import Base
from service.settings import Settings
from tests import builders

PERSON, FILE = "canary-of-lisbon", "canary-run-7341"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """The database whose files lie beside the others. PostgreSQL frees its pages by vacuum."""
    return sqlite_url


@pytest.fixture
def client(context, tmp_path: Path) -> Iterator[TestClient]:
    """Somebody with every scope."""
    settings = Settings(state_dir=tmp_path, broker_url_setting="redis://127.0.0.1:1/0")
    with TestClient(create_app(settings, context.database, context.store, builders.Sent())) as opened:
        opened.headers["Authorization"] = f"Bearer {builders.add_key(context.database, 'admin')}"
        yield opened


def export(path: Path) -> bytes:
    """A zip of 9 runs in a file with a name of its own."""
    write_parquet(simulate_runner(workouts=9), path)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.write(path, f"{FILE}.parquet")
    path.unlink()
    return made.getvalue()


def rows(context) -> dict[str, list[tuple[Any, ...]]]:
    with context.database.reading() as session:
        return {
            name: [tuple(row) for row in session.execute(table.select())]
            for name, table in Base.metadata.tables.items()
        }


def files(context) -> set[Path]:
    return {path for path in context.store.root.rglob("*") if path.is_file()}


def places(word: str, folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


def test_nothing_is_left_of_a_person_who_was_deleted(context, client, work, tmp_path, capfd):
    upload = {"subject": PERSON, "name": f"{FILE}.zip"}
    content = export(tmp_path / "runs.parquet")
    kept, stored = rows(context), files(context)
    answer = client.post("/datasets", params=upload, content=content, headers={"Content-Type": "application/zip"})
    assert answer.status_code == 202, answer.text
    dataset = answer.json()["id"]
    work()
    job = client.post("/jobs/stage1", json={"dataset_id": dataset, "hyperparameters": {"epochs": 1}})
    assert job.status_code == 202, job.text
    work()
    speed = [2.8] * 60
    assert client.post("/predict", json={"subject": PERSON, "speed": speed}).status_code == 200
    assert places(PERSON, tmp_path)
    assert places(FILE, tmp_path)
    assert len(files(context)) > len(stored) + 9
    assert client.delete(f"/subjects/{PERSON}").status_code == 204
    assert rows(context) == kept
    assert files(context) == stored
    assert places(PERSON, tmp_path) == places(FILE, tmp_path) == []
    said = capfd.readouterr()
    assert not [word for word in (PERSON, FILE) if word in said.out + said.err]
    assert client.post("/predict", json={"subject": PERSON, "speed": speed}).status_code == 404
    assert client.get(f"/jobs/{job.json()['id']}").status_code == 404
