"""Files by digest: `<root>/<account>/<sha256>`. A file is whole and on disk before any SQL row points to it."""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import UUID, uuid4

SHIPPED = "shipped"  # the folder of files that belong to no account
TEMPORARY = ".part"
SCRATCH = "scratch"  # the folder of what jobs unpack
CHUNK = 1 << 20
UNHELD_SECONDS = 10.0  # between the creation of a temporary file and its lock


class ArtifactMissing(Exception):
    """A row points to a missing file."""


class ArtifactDamaged(Exception):
    """A file's bytes do not match the digest in its name."""


class ArtifactStore:
    """Reads and writes the files of all accounts below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, account_id: UUID | None) -> Path:
        """The account's folder, made if it is missing."""
        folder = self.root / (SHIPPED if account_id is None else str(account_id))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def path(self, account_id: UUID | None, sha256: str) -> Path:
        """The path of a file, which may be missing."""
        return self.root / (SHIPPED if account_id is None else str(account_id)) / sha256

    def temporary(self, account_id: UUID | None) -> Path:
        """A fresh name in the account's folder, for `adopt` later."""
        return self.folder(account_id) / f"{uuid4().hex}{TEMPORARY}"

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """An empty folder for as long as the context is open; the sweep removes what a crash left."""
        folder = self.root / SCRATCH / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def scratches(self) -> set[str]:
        """The names of all scratch folders."""
        return {folder.name for folder in (self.root / SCRATCH).glob("*")}

    def drop_scratch(self, name: str) -> None:
        """Remove a job's scratch folder."""
        shutil.rmtree(self.root / SCRATCH / name, ignore_errors=True)

    def stored(self, account_id: UUID) -> Iterator[Path]:
        """Every file of an account's folder; nothing when there is none."""
        folder = self.root / str(account_id)
        return folder.iterdir() if folder.is_dir() else iter(())

    def drop_abandoned(self) -> None:
        """Remove temporary files whose writer has ended: the kernel released its lock."""
        for folder in self.root.glob("*/"):
            if account_of(folder) is not None or folder.name == SHIPPED:
                for path in folder.glob(f"*{TEMPORARY}"):
                    _drop_unless_held(path)

    def put(self, account_id: UUID | None, data: bytes) -> str:
        """Store bytes and return their digest; a damaged file becomes whole again. Raises OSError (disk full) and then
        leaves nothing behind.
        """  # fmt: skip
        sha256 = hashlib.sha256(data).hexdigest()
        if self._is_there(account_id, sha256):
            return sha256
        temporary = self.temporary(account_id)
        try:
            with temporary.open("wb") as file:
                hold(file)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._move(temporary, account_id, sha256)
        finally:
            temporary.unlink(missing_ok=True)
        return sha256

    def adopt(self, account_id: UUID | None, temporary: Path) -> tuple[str, int]:
        """Make a written temporary file a stored one. Returns its digest and size in bytes."""
        digest, size = hashlib.sha256(), 0
        with temporary.open("rb+") as file:
            hold(file)
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
            os.fsync(file.fileno())
        self._move(temporary, account_id, digest.hexdigest())
        return digest.hexdigest(), size

    def read(self, account_id: UUID | None, sha256: str) -> bytes:
        """The bytes of a file, checked. Raises ArtifactMissing or ArtifactDamaged."""
        path = self.path(account_id, sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise ArtifactMissing(f"{path} is gone") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ArtifactDamaged(f"{path} does not hold the bytes that its name promises")
        return data

    def delete(self, account_id: UUID | None, sha256: str) -> None:
        """Remove a file, if it exists."""
        self.path(account_id, sha256).unlink(missing_ok=True)

    def _move(self, temporary: Path, account_id: UUID | None, sha256: str) -> None:
        target = self.path(account_id, sha256)
        temporary.replace(target)
        sync_folder(target.parent)

    def _is_there(self, account_id: UUID | None, sha256: str) -> bool:
        """Whether the file exists and is whole. Storing it again renews its time stamp, so the sweep keeps it."""
        try:
            os.utime(self.path(account_id, sha256))
            self.read(account_id, sha256)
        except (FileNotFoundError, ArtifactMissing, ArtifactDamaged):
            return False
        return True


def hold(file: IO[Any]) -> None:
    """Lock the file while it is open, so that its writer counts as alive."""
    fcntl.flock(file, fcntl.LOCK_EX)


def account_of(folder: Path) -> UUID | None:
    """The account whose files a folder holds; None for shipped files and foreign folders (a disk's `lost+found`)."""
    try:
        return UUID(folder.name) if folder.is_dir() else None
    except ValueError:
        return None


def _drop_unless_held(path: Path) -> None:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_mtime < time.time() - UNHELD_SECONDS:
                path.unlink(missing_ok=True)
    except OSError:  # its writer lives, or the file is gone
        pass


def sync_folder(folder: Path) -> None:
    """Make a rename durable: a file's new name lives in its folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
