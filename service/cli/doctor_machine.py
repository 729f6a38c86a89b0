"""What doctor looks at on the machine itself: folders, disk, database, base model, device."""

import shutil
import tempfile
import time
from pathlib import Path
from typing import Literal

from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from service.errors import Unavailable
from service.registry import identity, model_versions, sweep
from service.registry.artifacts import ArtifactDamaged, ArtifactMissing, ArtifactStore
from service.registry.migrations import current_revision, is_known, schema_is_behind
from service.registry.session import Database, clock, ping, spoken_reason, sqlite_file
from service.registry.sqlite_files import check_pages
from service.settings import Settings

LITTLE_BYTES, TOO_LITTLE_BYTES = 2 * 1024**3, 200 * 1024**2  # free on the disk
CLOCK_SECONDS = 5.0
MIGRATE = "Run `stagewise migrate` (`stagewise up` and `docker compose up` do it by themselves)."
WRITABLE = "Let the service's user write there, or set ARTIFACT_DIR or STAGEWISE_STATE_DIR to another folder."
State = Literal["ok", "warning", "fault", "skipped"]


class Away(Exception):
    """A prerequisite of the check is missing; another check has reported it."""


class Wrong(Exception):
    """A check failed: its sentence, and the remedy."""

    def __init__(self, message: str, what_to_do: str, state: State = "fault") -> None:
        super().__init__(message)
        self.help, self.state = what_to_do, state


class Machine:
    """The installation that the settings name. Each check returns a sentence, or raises Wrong or Away; later
    checks use connections of earlier ones.
    """  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database: Database | None = None
        self.has_tables = False

    def close(self) -> None:
        """Let the database go."""
        if self._database is not None:
            self._database.dispose()

    def state_folder(self) -> str:
        """Where the database and the key lie, unless told otherwise."""
        return _writable(self._settings.state_dir)

    def artifacts(self) -> str:
        """Where uploads and models lie."""
        return _writable(self._settings.artifact_dir)

    def disk(self) -> str:
        """The room that is left for them."""
        try:
            free = shutil.disk_usage(_that_exists(self._settings.artifact_dir)).free
        except OSError:
            raise Away("an artifact folder") from None
        said = f"{free / 1024**3:.1f} GiB free"
        if free < LITTLE_BYTES:
            state: State = "fault" if free < TOO_LITTLE_BYTES else "warning"
            raise Wrong(said, "Free some space: uploads, checkpoints and models need it.", state)
        return said

    def reach_database(self) -> str:
        """Whether it answers; what the checks after it use."""
        try:
            database = Database(self._settings.database_url)
        except (ValueError, ArgumentError):  # its text may hold a piece of the password
            advice = "Set it to postgresql://user:password@host:port/name or sqlite:////path, or leave it out."
            raise Wrong("DATABASE_URL is not the URL of a database that Stagewise knows.", advice) from None
        kind = database.engine.dialect.name
        file = sqlite_file(self._settings.database_url)
        try:
            if file is not None and not file.exists():
                advice = "Start the service once: `stagewise up`. Is STAGEWISE_STATE_DIR right?"
                raise Wrong(f"There is no database {file}.", advice)
            ping(database)
        except (SQLAlchemyError, OSError) as error:
            database.dispose()
            said = spoken_reason(error) if isinstance(error, SQLAlchemyError) else str(error)
            raise Wrong(
                f"{kind} does not answer: {said.splitlines()[0]}",
                "Start it, or correct DATABASE_URL."
                if kind == "postgresql"
                else "`stagewise restore` brings a backup back.",
            ) from error
        self._database = database
        return f"{kind} answers"

    def migrations(self) -> str:
        """Whether its tables are those of this code."""
        with self.reached().engine.connect() as connection:
            revision = current_revision(connection)
        if revision is not None and not is_known(revision):
            advice = (
                "Install the version that last worked on it, or restore a backup from before into an empty database."
            )
            raise Wrong("The tables are those of a newer version.", advice)
        if schema_is_behind(self.reached()):
            raise Wrong("The tables are not those of this version.", MIGRATE)
        self.has_tables = True
        return "the tables are those of this version"

    def database_file(self) -> str:
        """Whether every page of a SQLite file can be read."""
        try:
            check_pages(self.reached())
        except (Unavailable, SQLAlchemyError) as error:
            advice = "Stop the service, put the file aside, and bring a backup back: `stagewise restore`."
            raise Wrong("The database's file is damaged.", advice) from error
        return "whole" if sqlite_file(self._settings.database_url) else "the server's own business"

    def belonging_together(self) -> str:
        """Whether database and artifact folder have the same identity."""
        try:
            identity.check(self.reached(), ArtifactStore(self._settings.artifact_dir))
        except identity.OtherStore as error:
            said, _, advice = str(error).partition(identity.WHAT_TO_DO)
            raise Wrong(said.strip(), advice or identity.WHAT_TO_DO) from error
        except OSError as error:
            raise Away("an artifact folder") from error
        return "database and artifact folder belong together"

    def leftovers(self) -> str:
        """Whether files wait for an operator's word because they are many, or from before the database came."""
        if not self.has_tables:
            raise Away("current tables")
        try:
            found = sweep.plan(self.reached(), ArtifactStore(self._settings.artifact_dir))
        except (identity.OtherStore, OSError) as error:
            raise Away("an artifact folder of this database") from error
        if found.too_many or found.before or found.strangers:
            advice = "If another database knows them, leave them. Else `stagewise sweep` shows and removes them."
            raise Wrong(str(found), advice, "warning")
        return str(found)

    def database_clock(self) -> str:
        """Leases and turns go by it."""
        with self.reached().reading() as session:
            return compare_clocks(clock(session), "the database")

    def base_model(self) -> str:
        """Whether it is registered, and its file whole."""
        if not self.has_tables:
            raise Away("current tables")
        try:
            with self.reached().reading() as session:
                shipped = model_versions.shipped(session)
        except Unavailable as error:
            raise Wrong("The shipped base model is not registered.", MIGRATE) from error
        try:
            ArtifactStore(self._settings.artifact_dir).read(None, shipped.sha256)
        except (ArtifactMissing, ArtifactDamaged, OSError) as error:
            raise Wrong(f"The shipped base model's file is missing or damaged: {error}.", MIGRATE) from error
        return "the shipped base model is whole"

    def device(self) -> str:
        """What trainings run on."""
        import torch

        if torch.cuda.is_available():
            memory = torch.cuda.get_device_properties(0).total_memory / 1024**3
            return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB"
        if self._settings.device == "cuda":
            advice = "Install a driver and a CUDA build of torch (docs/how-to/gpu.md), or set STAGEWISE_DEVICE=auto."
            raise Wrong("STAGEWISE_DEVICE is cuda, but torch finds no CUDA device.", advice)
        return "no CUDA device: trains on the CPU"

    def reached(self) -> Database:
        """The database that answers. Raises Away."""
        if self._database is None:
            raise Away("a database")
        return self._database


def _writable(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=_that_exists(folder)):
            pass
    except OSError as error:
        raise Wrong(f"{folder} cannot be written: {error.strerror}.", WRITABLE) from error
    return f"{folder} can be written"


def _that_exists(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: what is missing is made where it can be written."""
    return next(each for each in (folder, *folder.resolve().parents) if each.exists())


def compare_clocks(theirs: float, whose: str, at: float | None = None) -> str:
    """Whether a clock, in seconds since 1970, agrees with this machine's at that moment. Raises Wrong."""
    off = theirs - (time.time() if at is None else at)
    if abs(off) > CLOCK_SECONDS:
        direction = "ahead of" if off > 0 else "behind"
        raise Wrong(f"The clock of {whose} is {abs(off):.0f} s {direction} this machine's.", "Let both follow NTP.")
    return f"within {CLOCK_SECONDS:g} s of this machine's"
