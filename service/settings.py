"""Settings from the environment: a new one is a field here and the same row in docs/reference/settings.md."""

import ipaddress
import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

PREFIX = "STAGEWISE_"
MOST_PROCESSES = 8  # of the API, unless the setting says more
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WrongSettings(Exception):
    """A variable of the environment says what it may not; the text names it and says why."""


class Settings(BaseModel):
    """Where things are and how long they may take. Unset paths and URLs lie in the state folder."""

    model_config = ConfigDict(populate_by_name=True, frozen=True, extra="forbid")

    state_dir: Path = Field(
        default=Path("var"),
        description="Where `stagewise up` keeps the database, the files, the first key and the logs.",
    )
    host: str = Field(default="127.0.0.1", description="The address that the API listens on.")
    port: int = Field(default=8000, description="Its port; 0 means a free port. In Docker: the port on this machine.")
    api_processes: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Processes of the API; by default one for each usable core, at most 8.",
    )
    url: str | None = Field(
        default=None,
        description="The API that the commands use; by default the API on this machine at `STAGEWISE_PORT`.",
    )
    api_key: SecretStr | None = Field(default=None, description="The key of the commands.")
    api_key_file: Path | None = Field(
        default=None,
        description="The file with that key, unless `STAGEWISE_API_KEY` is set; else `api-key` in the state folder.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="`cpu`, `cuda`, or `auto`: the GPUs if there are any."
    )
    lease_seconds: float = Field(
        default=60.0,
        ge=1.0,
        le=3600.0,
        description="After so many seconds without a heartbeat, another worker resumes a job.",
    )
    max_upload_bytes: int = Field(default=2 * 1024**3, ge=1, description="Larger uploads are refused.")
    max_account_bytes: int = Field(
        default=100 * 1024**3,
        ge=1,
        description="What an account's imported workouts, reports (400 bytes a workout or file), waiting uploads and "
        "those under way may take; beyond it an upload is a 429.",
    )
    max_jobs: int = Field(
        default=10_000,
        ge=1,
        description="Queued and running jobs of an account, imports and those of fleets too; one more is a 429.",
    )
    max_predictions_per_minute: int = Field(
        default=60_000,
        ge=1,
        description="Predictions of an account a minute, counted by all processes of the API; a batch counts each of "
        "its own, any other POST counts as one.",
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(),
        description="Addresses and networks of [proxies before the API](../how-to/reverse-proxy.md), between commas: "
        "`127.0.0.1,10.0.0.0/8`. What they say of address, scheme and host of a caller is believed.",
    )
    database_url_setting: str | None = Field(
        default=None,
        alias="DATABASE_URL",
        description="`postgresql://...` or `sqlite:///...`; else SQLite in the state folder.",
    )
    database_url_file: Path | None = Field(
        default=None,
        alias="DATABASE_URL_FILE",
        description="A file that holds it, for secrets.",
    )
    broker_url_setting: str | None = Field(
        default=None,
        alias="BROKER_URL",
        description="Redis or Valkey. By default the server that `stagewise up` starts, or `redis://127.0.0.1:6379/0`.",
    )
    broker_url_file: Path | None = Field(default=None, alias="BROKER_URL_FILE", description="A file that holds it.")
    artifact_dir_setting: Path | None = Field(
        default=None,
        alias="ARTIFACT_DIR",
        description="Models and workouts, by digest; else `artifacts` in the state folder. API and workers share it.",
    )

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        """Addresses and networks between commas."""
        if not isinstance(value, str):
            return value
        return [ipaddress.ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip()]

    @property
    def processes(self) -> int:
        """How many processes the API has."""
        return self.api_processes or min(MOST_PROCESSES, usable_cores())

    @property
    def api_url(self) -> str:
        """Where the commands that are clients of the API find it: on this machine unless STAGEWISE_URL is set."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return self.url or f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL; SQLite in the state folder unless DATABASE_URL (or a file that holds it) is set."""
        given = self.database_url_setting or _content(self.database_url_file)
        return given or f"sqlite:///{self.state_dir.resolve() / 'stagewise.sqlite3'}"

    @property
    def key_file(self) -> Path:
        """Where the commands that are clients of the API find a key, unless STAGEWISE_API_KEY is one."""
        return self.api_key_file or self.state_dir / "api-key"

    @property
    def broker_url(self) -> str:
        """Redis URL; `stagewise up` starts a server of its own and sets BROKER_URL for its children."""
        return self.broker_url_setting or _content(self.broker_url_file) or "redis://127.0.0.1:6379/0"

    @property
    def artifact_dir(self) -> Path:
        """Folder of files by digest."""
        return self.artifact_dir_setting or self.state_dir / "artifacts"


def _content(file: Path | None) -> str | None:
    try:
        return None if file is None else file.read_text().strip()
    except OSError as error:
        raise WrongSettings(f"{error.filename} cannot be read: {error.strerror}.") from error


def read_settings() -> Settings:
    """What the environment says; an empty variable counts as not set. Raises WrongSettings."""
    given = {name: os.environ[variable] for name, variable in variables().items() if os.environ.get(variable)}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise WrongSettings(f"{variables()[str(first['loc'][0])]}: {reason}.") from error


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process. Raises WrongSettings."""
    return read_settings()


def variables() -> dict[str, str]:
    """The variable of the environment that sets each field, by the field's name."""
    return {name: field.alias or f"{PREFIX}{name}".upper() for name, field in Settings.model_fields.items()}


def environment(settings: Settings) -> dict[str, str]:
    """The environment that gives a child process the same settings, and one thread for each of its computations:
    requests and jobs run side by side, and threads inside one would fight over the same cores.
    """  # fmt: skip
    values = {variable: getattr(settings, name.removesuffix("_setting")) for name, variable in variables().items()}
    same = {variable: _text(value) for variable, value in values.items() if value is not None}
    return {"OMP_NUM_THREADS": "1", **os.environ, **same}


def _text(value: object) -> str:
    """A setting as the environment holds it; a path is the same one from any folder."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value.resolve() if isinstance(value, Path) else value)
