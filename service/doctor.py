"""What is wrong with an installation, and what to do: looked at from the machine that it runs on. Changes nothing."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import httpx2
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from service.errors import Unavailable
from service.import_files import ImportFailed, key_of
from service.parts import degradations
from service.registry import accounts, model_versions
from service.registry.artifacts import ArtifactDamaged, ArtifactMissing, ArtifactStore
from service.registry.migrations import current_revision, is_known, schema_is_behind
from service.registry.session import Database, db_now, ping, spoken_reason
from service.settings import Settings

LITTLE_BYTES, TOO_LITTLE_BYTES = 2 * 1024**3, 200 * 1024**2  # free on the disk
CLOCK_SECONDS = 5.0
API_SECONDS = 10.0
MIGRATE = "Run `stagewise migrate` (`stagewise up` and `docker compose up` do it by themselves)."
WRITABLE = "Let the service's user write there, or set ARTIFACT_DIR or STAGEWISE_STATE_DIR to another folder."
NEW_KEY = "Set STAGEWISE_API_KEY to a valid key: `stagewise keys list` shows them, `stagewise keys create` makes one."
AT_WHAT_URL = "Correct STAGEWISE_URL or STAGEWISE_PORT: http://host:port of a Stagewise that runs."
State = Literal["ok", "warning", "fault", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one look gave; `help` says what to do unless it is ok."""

    check: str
    state: State
    message: str
    help: str = ""


class Away(Exception):
    """What a check needs is not there; another check has said so."""


class _Wrong(Exception):
    """A check found something: its sentence, and what to do."""

    def __init__(self, message: str, what_to_do: str, state: State = "fault") -> None:
        super().__init__(message)
        self.help, self.state = what_to_do, state


def diagnose() -> Iterator[Finding]:
    """One finding for each check, as soon as it is there."""
    try:
        settings = Settings()
        _ = settings.database_url, settings.broker_url
    except (ValidationError, OSError) as error:
        advice = "Correct the variable: docs/reference/settings.md says what it may be."
        yield Finding(check="settings", state="fault", message=_said(error), help=advice)
        return
    yield Finding(check="settings", state="ok", message=f"state in {settings.state_dir.resolve()}")
    examined = _Examined(settings)
    checks: dict[str, Callable[[], str]] = {
        "state folder": examined.state_folder,
        "artifact folder": examined.artifacts,
        "disk": examined.disk,
        "database": examined.reach_database,
        "migrations": examined.migrations,
        "database clock": examined.database_clock,
        "base model": examined.base_model,
        "device": examined.device,
        "API": examined.reach_api,
        "API version": examined.api_version,
        "API clock": examined.api_clock,
        "key": examined.key,
        "broker": examined.broker,
        "worker": examined.worker,
    }
    for name, check in checks.items():
        yield _finding(name, check)
    examined.close()


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(check=name, state="ok", message=check())
    except Away as missing:
        return Finding(check=name, state="skipped", message=f"cannot be looked at without {missing}")
    except _Wrong as error:
        return Finding(check=name, state=error.state, message=str(error), help=error.help)
    except Exception as error:  # what nobody thought of must not hide what the other checks find
        # Only the error's name: its text may hold what the settings hold, passwords too.
        advice = "The other lines or the logs may say why; if they do not, report this as a fault of doctor."
        return Finding(check=name, state="fault", message=f"cannot be looked at: {type(error).__name__}", help=advice)


class _Examined:
    """The installation that the settings name. Later checks use what earlier ones reached."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database: Database | None = None
        self._tables = False
        self._api: httpx2.Response | None = None
        self._asked = self._answered_at = 0.0
        self._degraded: list[str] | None = None

    def close(self) -> None:
        if self._database is not None:
            self._database.dispose()

    def state_folder(self) -> str:
        return _writable(self._settings.state_dir)

    def artifacts(self) -> str:
        return _writable(self._settings.artifact_dir)

    def disk(self) -> str:
        try:
            free = shutil.disk_usage(_that_exists(self._settings.artifact_dir)).free
        except OSError:
            raise Away("an artifact folder") from None
        said = f"{free / 1024**3:.1f} GiB free"
        if free < LITTLE_BYTES:
            state: State = "fault" if free < TOO_LITTLE_BYTES else "warning"
            raise _Wrong(said, "Free some space: uploads, checkpoints and models need it.", state)
        return said

    def reach_database(self) -> str:
        try:
            database = Database(self._settings.database_url)
        except (ValueError, ArgumentError):  # its text may hold a piece of the password
            advice = "Set it to postgresql://user:password@host:port/name or sqlite:////path, or leave it out."
            raise _Wrong("DATABASE_URL is not the URL of a database that Stagewise knows.", advice) from None
        kind = database.engine.dialect.name
        file = database.engine.url.database
        try:
            if kind == "sqlite" and file and not Path(file).exists():
                advice = "Start the service once: `stagewise up`. Is STAGEWISE_STATE_DIR right?"
                raise _Wrong(f"There is no database {file}.", advice)
            ping(database)
        except (SQLAlchemyError, OSError) as error:
            database.dispose()
            said = spoken_reason(error) if isinstance(error, SQLAlchemyError) else str(error)
            raise _Wrong(
                f"{kind} does not answer: {said.splitlines()[0]}",
                "Start it, or correct DATABASE_URL."
                if kind == "postgresql"
                else "`stagewise restore` brings a backup back.",
            ) from error
        self._database = database
        return f"{kind} answers"

    def migrations(self) -> str:
        with self._reached().engine.connect() as connection:
            revision = current_revision(connection)
        if revision is not None and not is_known(revision):
            advice = (
                "Install the version that last worked on it, or restore a backup from before into an empty database."
            )
            raise _Wrong("The tables are those of a newer version.", advice)
        if schema_is_behind(self._reached()):
            raise _Wrong("The tables are not those of this version.", MIGRATE)
        self._tables = True
        return "the tables are those of this version"

    def database_clock(self) -> str:
        with self._reached().reading() as session:
            return _clocks(float(session.scalar(select(db_now())) or 0.0), "the database")

    def base_model(self) -> str:
        if not self._tables:
            raise Away("current tables")
        try:
            with self._reached().reading() as session:
                shipped = model_versions.shipped(session)
        except Unavailable as error:
            raise _Wrong("The shipped base model is not registered.", MIGRATE) from error
        try:
            ArtifactStore(self._settings.artifact_dir).read(None, shipped.sha256)
        except (ArtifactMissing, ArtifactDamaged, OSError) as error:
            raise _Wrong(f"The shipped base model's file is missing or damaged: {error}.", MIGRATE) from error
        return "the shipped base model is whole"

    def device(self) -> str:
        import torch

        if torch.cuda.is_available():
            memory = torch.cuda.get_device_properties(0).total_memory / 1024**3
            return f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB"
        if self._settings.device == "cuda":
            advice = "Install a driver and a CUDA build of torch (docs/how-to/gpu.md), or set STAGEWISE_DEVICE=auto."
            raise _Wrong("STAGEWISE_DEVICE is cuda, but torch finds no CUDA device.", advice)
        return "no CUDA device: trains on the CPU"

    def reach_api(self) -> str:
        url = self._settings.api_url
        self._asked = time.time()
        answer = self._ask("/readyz")
        self._answered_at = time.time()
        said = _object(answer)
        if not ("degraded" in said if answer.is_success else "code" in said):
            raise _Wrong(f"What answers at {url} is no Stagewise.", AT_WHAT_URL)
        self._api = answer
        if answer.is_success:
            self._degraded = list(said["degraded"])
            return f"{url} answers"
        raise _Wrong(f"{url} cannot serve: {said.get('detail')}", "See what the database's checks say.")

    def api_version(self) -> str:
        self._answered()
        info = _object(self._ask("/openapi.json")).get("info")
        theirs, ours = info.get("version") if isinstance(info, dict) else None, version("stagewise")
        if theirs != ours:
            advice = "Start the API anew after an upgrade."
            raise _Wrong(f"The API is version {theirs}, this command {ours}.", advice, "warning")
        return ours

    def api_clock(self) -> str:
        date = self._answered().headers.get("date")
        if date is None:
            raise Away("a Date header")
        theirs = parsedate_to_datetime(date).timestamp()
        # It was written at some moment while we waited, and names whole seconds.
        moment = min(max(theirs, self._asked - 1), self._answered_at)
        return _clocks(theirs, "the API's machine", at=moment)

    def key(self) -> str:
        self._answered()
        try:
            key = key_of(self._settings)
        except ImportFailed as error:
            raise _Wrong(str(error), "`stagewise keys create` makes one.") from error
        parts = accounts.split_key(key)
        if parts is None:
            raise _Wrong("What is given as the key is none: sw_, 16 digits, _ and 43 characters.", NEW_KEY)
        answer = self._ask("/subjects?limit=1", key)
        code = _object(answer).get("code")
        if answer.status_code == 401:
            raise _Wrong(f"The API refuses the key: {_object(answer).get('detail')}", NEW_KEY)
        if not answer.is_success and code != "missing_scope":
            raise _Wrong(
                f"The API did not look at the key: {answer.status_code} {code}.", "Look again in a minute.", "warning"
            )
        return self._scopes(parts.public, reads=answer.is_success)

    def _scopes(self, public: str, *, reads: bool) -> str:
        """What a valid key may do, as far as it can be seen: the API does not say, so by the database."""
        known = None
        if self._tables:
            with self._reached().reading() as session:
                known = accounts.find_key(session, public)
            if known is None:
                what = f"The API takes the key {public}, but it is none of this database, or revoked a moment ago."
                raise _Wrong(what, f"{NEW_KEY} Does the API use the same DATABASE_URL?", "warning")
        scopes = " ".join(known.scopes) if known else "its scopes are in the API's database"
        if not reads:
            advice = "Make one with --scopes read,train,predict, unless it is meant to do no more."
            raise _Wrong(f"The key {public} is valid but may not read ({scopes}).", advice, "warning")
        return f"the API takes {public}: {scopes}"

    def broker(self) -> str:
        if away := [each for each in self._parts_away() if each.startswith("broker")]:
            raise _Wrong(f"{away[0]}.", "Start Redis or Valkey, or correct BROKER_URL of API and worker.")
        return "answers"

    def worker(self) -> str:
        away = self._parts_away()
        if any(each.startswith("broker") for each in away):
            raise Away("a broker")
        if away := [each for each in away if each.startswith("worker")]:
            raise _Wrong(f"{away[0]}.", "Start one: `stagewise worker`, or `docker compose up worker`.")
        return "at least one answers"

    def _parts_away(self) -> list[str]:
        """By the API, which may be the only one that knows the broker; without it, by looking where BROKER_URL says."""
        if self._degraded is None:
            if not (self._settings.broker_url_setting or self._settings.broker_url_file):
                raise Away("an API that serves")
            self._degraded = degradations(self._settings.broker_url)
        return self._degraded

    def _ask(self, path: str, key: str | None = None) -> httpx2.Response:
        url = self._settings.api_url
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            return httpx2.get(url + path, headers=headers, timeout=API_SECONDS, trust_env=False)
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise _Wrong(f"{url} is no address: {error}", AT_WHAT_URL) from error
        except httpx2.HTTPError as error:
            advice = "Start it with `stagewise up` or `docker compose up`, or say with STAGEWISE_URL where it is."
            raise _Wrong(f"{url} does not answer: {error}", advice) from error

    def _reached(self) -> Database:
        if self._database is None:
            raise Away("a database")
        return self._database

    def _answered(self) -> httpx2.Response:
        if self._api is None:
            raise Away("an API")
        return self._api


def _writable(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=_that_exists(folder)):
            pass
    except OSError as error:
        raise _Wrong(f"{folder} cannot be written: {error.strerror}.", WRITABLE) from error
    return f"{folder} can be written"


def _object(answer: httpx2.Response) -> dict[str, Any]:
    """The JSON object of an answer; empty when it is anything else."""
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _that_exists(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: what is missing is made where it can be written."""
    return next(each for each in (folder, *folder.resolve().parents) if each.exists())


def _clocks(theirs: float, whose: str, at: float | None = None) -> str:
    off = theirs - (time.time() if at is None else at)
    if abs(off) > CLOCK_SECONDS:
        direction = "ahead of" if off > 0 else "behind"
        raise _Wrong(f"The clock of {whose} is {abs(off):.0f} s {direction} this machine's.", "Let both follow NTP.")
    return f"within {CLOCK_SECONDS:g} s of this machine's"


def _said(error: ValidationError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename} cannot be read: {error.strerror}."
    first = error.errors(include_input=False)[0]
    return f"STAGEWISE_{'_'.join(map(str, first['loc']))}".upper() + f": {first['msg']}."
