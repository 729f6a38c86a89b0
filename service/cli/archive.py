"""`stagewise backup` and `stagewise restore`: the file, its permissions, and the final message."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import IO

from service.local.embedded import only_one
from service.registry import identity
from service.registry.artifacts import ArtifactStore, sync_folder
from service.registry.backup import Manifest, write_backup
from service.registry.restore import RestoreError, restore, waiting_jobs
from service.registry.session import Database
from service.registry.shipped import install_shipped_base
from service.settings import Settings

STANDARD = Path("-")


def back_up(database: Database, settings: Settings, file: Path, *, incomplete: bool = False) -> str:
    """Write a backup that only its owner may read; a sentence about it. A file is whole and on disk when it is there.

    Raises IncompleteBackup for lost files unless `incomplete`, OtherStore, OSError.
    """
    store = ArtifactStore(settings.artifact_dir)
    identity.check(database, store)
    if file == STANDARD:
        with _standard_output() as stream:
            return _say("Wrote", write_backup(database, store, stream, incomplete=incomplete))
    unfinished = file.with_name(f".{file.name}.part")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            manifest = write_backup(database, store, output, incomplete=incomplete)
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
            waiting = waiting_jobs(database)
        finally:
            database.dispose()
    said = f"{_say('Restored', manifest)} API keys are those of the backup."
    if not waiting:
        return said
    return f"{said} Jobs that wait and go on with the next start: {waiting}; `stagewise api` alone starts none."


@contextmanager
def _standard_output() -> Iterator[IO[bytes]]:
    """Where the shell leads it: a file becomes private, and empty again when the backup fails."""
    stream = sys.stdout.buffer
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except OSError:  # not a file of the operating system
        mode = 0
    if stat.S_ISREG(mode):
        os.fchmod(stream.fileno(), 0o600)
    try:
        yield stream
        stream.flush()
    except BaseException:
        if stat.S_ISREG(mode):
            with suppress(OSError):
                stream.flush()
            os.ftruncate(stream.fileno(), 0)
        raise


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    if file == STANDARD:
        yield sys.stdin.buffer
        return
    try:
        source = file.open("rb")
    except OSError as error:
        raise RestoreError(f"The backup {file} cannot be read: {error.strerror}.") from error
    with source:
        yield source


def _say(done: str, manifest: Manifest) -> str:
    text = f"{done} {sum(manifest.rows.values())} rows and {manifest.files} files."
    if manifest.missing:
        text += f" Missing or damaged when it was made: {', '.join(manifest.missing)}."
    return text
