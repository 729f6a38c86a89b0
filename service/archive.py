"""`stagewise backup` and `stagewise restore`: which file, who may read it, and what is said in the end."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import IO

from service.embedded import only_one
from service.registry.artifacts import ArtifactStore, sync_folder
from service.registry.backup import Manifest, write_backup
from service.registry.restore import restore
from service.registry.session import Database
from service.registry.shipped import install_shipped_base
from service.settings import Settings

STANDARD = Path("-")


def back_up(database: Database, settings: Settings, file: Path) -> str:
    """Write a backup; a sentence about it. A file is whole and on disk when it is there. Raises OSError."""
    store = ArtifactStore(settings.artifact_dir)
    if file == STANDARD:
        return _say("Wrote", write_backup(database, store, sys.stdout.buffer))
    unfinished = file.with_name(f".{file.name}.part")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            manifest = write_backup(database, store, output)
            output.flush()
            os.fsync(output.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_folder(file.resolve().parent)
    return _say("Wrote", manifest)


def bring_back(settings: Settings, file: Path) -> str:
    """Restore a backup; a sentence about it. Raises RestoreError, StartError while a service runs here, OSError."""
    os.umask(0o077)
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = ArtifactStore(settings.artifact_dir)
    with only_one(settings.state_dir.resolve()), _opened(file) as source:
        database = Database(settings.database_url)
        try:
            manifest = restore(database, settings.database_url, store, source)
            install_shipped_base(database, store, Path(str(files("hrmodel.pretrained"))))
        finally:
            database.dispose()
    return f"{_say('Restored', manifest)} API keys are those of the backup."


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    with file.open("rb") as source:
        yield source


def _say(done: str, manifest: Manifest) -> str:
    text = f"{done} {sum(manifest.rows.values())} rows and {manifest.files} files."
    if manifest.missing:
        text += f" Missing or damaged when it was made: {', '.join(manifest.missing)}."
    return text
