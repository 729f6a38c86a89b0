"""Settings from the environment; docs/reference/settings.md says the same."""

import ipaddress
import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class WrongSettings(Exception):
    """A variable of the environment says what it may not; the text names it and says why."""


class Settings(BaseSettings):
    """Where things are and how long they may take. Unset paths and URLs lie in the state folder."""

    model_config = SettingsConfigDict(
        env_prefix="STAGEWISE_", populate_by_name=True, frozen=True, env_ignore_empty=True
    )

    state_dir: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = 8000
    url: str | None = None
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    lease_seconds: float = Field(default=60.0, ge=1.0, le=3600.0)
    max_upload_bytes: int = Field(default=2 * 1024**3, ge=1)
    max_account_bytes: int = Field(default=100 * 1024**3, ge=1)
    max_jobs: int = Field(default=10_000, ge=1)
    max_predictions_per_minute: int = Field(default=60_000, ge=1)
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    database_url_setting: str | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL"))
    broker_url_setting: str | None = Field(default=None, validation_alias=AliasChoices("BROKER_URL"))
    database_url_file: Path | None = Field(default=None, validation_alias=AliasChoices("DATABASE_URL_FILE"))
    broker_url_file: Path | None = Field(default=None, validation_alias=AliasChoices("BROKER_URL_FILE"))
    artifact_dir_setting: Path | None = Field(default=None, validation_alias=AliasChoices("ARTIFACT_DIR"))

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _separated(cls, value: object) -> object:
        """Addresses and networks between commas."""
        if not isinstance(value, str):
            return value
        return [ipaddress.ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip()]

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
    """What the environment says. Raises WrongSettings."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = "_".join(map(str, first["loc"])).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise WrongSettings(f"STAGEWISE_{name}: {reason}.") from error


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process. Raises WrongSettings."""
    return read_settings()


def environment(settings: Settings) -> dict[str, str]:
    """The environment that gives a child process the same settings, and one thread for each of its computations:
    requests and jobs run side by side, and threads inside one would fight over the same cores.
    """  # fmt: skip
    return {
        "OMP_NUM_THREADS": "1",
        **os.environ,
        "STAGEWISE_STATE_DIR": str(settings.state_dir.resolve()),
        "STAGEWISE_HOST": settings.host,
        "STAGEWISE_PORT": str(settings.port),
        "STAGEWISE_DEVICE": settings.device,
        "STAGEWISE_LEASE_SECONDS": str(settings.lease_seconds),
        "STAGEWISE_MAX_UPLOAD_BYTES": str(settings.max_upload_bytes),
        "STAGEWISE_MAX_ACCOUNT_BYTES": str(settings.max_account_bytes),
        "STAGEWISE_MAX_JOBS": str(settings.max_jobs),
        "STAGEWISE_MAX_PREDICTIONS_PER_MINUTE": str(settings.max_predictions_per_minute),
        "STAGEWISE_TRUSTED_PROXIES": ",".join(map(str, settings.trusted_proxies)),
        "DATABASE_URL": settings.database_url,
        "BROKER_URL": settings.broker_url,
        "ARTIFACT_DIR": str(settings.artifact_dir.resolve()),
    }
