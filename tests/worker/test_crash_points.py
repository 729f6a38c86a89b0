"""A machine that loses power keeps what was synced and nothing else: no row may then point to a file that is not whole.

(Killed processes lose nothing that they wrote, so the chaos tests cannot see a missing fsync.)
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from service.registry import model_versions
from service.registry.artifacts import TEMPORARY
from service.registry.tables import JobState
from tests.builders import on_sqlite

POINTERS = """
    SELECT latest_sha256 FROM jobs UNION SELECT previous_sha256 FROM jobs UNION SELECT best_sha256 FROM jobs
    UNION SELECT sha256 FROM model_versions UNION SELECT pt_sha256 FROM model_versions UNION SELECT digest FROM workouts
    UNION SELECT upload_sha256 FROM datasets WHERE state IN ('queued', 'importing')
"""


class Disk:
    """Keeps, in a folder beside the real one, what a power cut would leave: checked after every step."""

    def __init__(self, root: Path, left: Path) -> None:
        self.root, self.left = root, left
        self.synced: dict[Path, bytes] = {}  # content that is on the disk, by the file's name
        self.renamed: dict[Path, bytes] = {}  # names that are in no folder on the disk yet
        self.pointers: set[str] = set()
        self.crash_points, self.dangling = 0, set[str]()

    def sync(self, path: Path) -> None:
        if path.is_dir():
            for name in [name for name in self.renamed if name.parent == path]:
                self._land(name, self.renamed.pop(name))
        else:
            self.synced[path] = path.read_bytes()
        self.crash()

    def rename(self, old: Path, new: Path) -> None:
        self.renamed[new] = self.synced.pop(old, b"")
        self.crash()

    def remove(self, path: Path) -> None:
        self._on_disk(path).unlink(missing_ok=True)
        self.crash()

    def commit(self, pointers: set[str]) -> None:
        self.pointers = pointers
        self.crash()

    def crash(self) -> None:
        """What would be found now, were the power cut."""
        self.crash_points += 1
        found = {path.name for path in self.left.rglob("*") if path.is_file() and _whole(path)}
        self.dangling |= self.pointers - found

    def _land(self, name: Path, content: bytes) -> None:
        target = self._on_disk(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def _on_disk(self, path: Path) -> Path:
        return self.left / path.relative_to(self.root)


def _whole(path: Path) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == path.name


@pytest.fixture
def disk(context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Listens to everything that happens to the artifact folder, and to every commit. What is there now is on the disk."""
    made = Disk(context.store.root, tmp_path / "left")
    shutil.copytree(made.root, made.left)
    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

    def watched_fsync(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(made.root):
            made.sync(path)

    def watched_replace(self: Path, target: Path) -> Path:
        if self.is_relative_to(made.root):
            made.rename(self, target)
        return replace(self, target)

    def watched_unlink(self: Path, missing_ok: bool = False) -> None:
        if self.is_relative_to(made.root) and not self.name.endswith(TEMPORARY):
            made.remove(self)
        unlink(self, missing_ok)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    monkeypatch.setattr(Path, "unlink", watched_unlink)

    @event.listens_for(context.database.engine, "commit")
    def committing(connection: Connection) -> None:
        made.commit({name for (name,) in connection.exec_driver_sql(POINTERS) if name})

    return made


@pytest.fixture
def whole_life(context, upload, submit, work, job_row, runner_workouts) -> Callable[[], None]:
    """An upload, its import, and a stage-1 job, from the first file to the last row."""
    with context.database.reading() as session:
        base = model_versions.shipped(session).id

    def live() -> None:
        dataset_id = upload(runner_workouts[:8])
        work()
        job_id = submit(dataset_id, "stage1", start=base, epochs=3)
        work()
        assert job_row(job_id).state == JobState.SUCCEEDED

    return live


def without_fsync_of(monkeypatch: pytest.MonkeyPatch, is_kind: Callable[[int], bool]) -> None:
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: is_kind(os.fstat(descriptor).st_mode) or fsync(descriptor))


@on_sqlite
def test_after_a_power_cut_at_any_moment_no_row_points_to_a_file_that_is_not_whole(disk, whole_life):
    whole_life()
    assert disk.crash_points > 50
    assert disk.dangling == set()


@on_sqlite
@pytest.mark.parametrize("is_kind", [stat.S_ISREG, stat.S_ISDIR], ids=["file", "folder"])
def test_without_the_fsync_of_a_file_or_its_folder_this_would_be_noticed(disk, whole_life, monkeypatch, is_kind):
    without_fsync_of(monkeypatch, is_kind)
    whole_life()
    assert disk.dangling
