"""Checks of an installation, on the machine that it runs on: faults and remedies. Changes nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hrmodel.workouts.sandbox import confinement
from service.cli.doctor_api import Api
from service.cli.doctor_machine import Away, Machine, State, Wrong
from service.settings import WrongSettings, read_settings


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check; `help` says what to do unless it is ok."""

    check: str
    state: State
    message: str
    help: str = ""


def diagnose() -> Iterator[Finding]:
    """One finding for each check, as soon as it is there."""
    try:
        settings = read_settings()
        _ = settings.database_url, settings.broker_url
    except WrongSettings as error:
        advice = "Correct the variable: docs/reference/settings.md says what it may be."
        yield Finding(check="settings", state="fault", message=str(error), help=advice)
        return
    yield Finding(check="settings", state="ok", message=f"state in {settings.state_dir.resolve()}")
    machine = Machine(settings)
    api = Api(settings, machine)
    checks: dict[str, Callable[[], str]] = {
        "state folder": machine.state_folder,
        "artifact folder": machine.artifacts,
        "disk": machine.disk,
        "database": machine.reach_database,
        "migrations": machine.migrations,
        "database file": machine.database_file,
        "belonging together": machine.belonging_together,
        "leftover files": machine.leftovers,
        "database clock": machine.database_clock,
        "base model": machine.base_model,
        "device": machine.device,
        "sandbox": sandbox,
        "API": api.reach_api,
        "API version": api.api_version,
        "API clock": api.api_clock,
        "key": api.key,
        "broker": api.broker,
        "worker": api.worker,
    }
    for name, check in checks.items():
        yield _finding(name, check)
    machine.close()


def sandbox() -> str:
    """Whether this machine confines the process that reads an upload. Raises Wrong."""
    missing = confinement.missing()
    if missing:
        said = "; ".join(missing)
        advice = "Run it on Linux 5.13 or newer with Landlock (in Docker: 23 or newer), or upload only what you trust."
        raise Wrong(f"{said[0].upper()}{said[1:]}.", advice, "warning")
    return "uploads are read by a process that writes, starts and sends nothing, and reads nothing else"


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(check=name, state="ok", message=check())
    except Away as missing:
        return Finding(check=name, state="skipped", message=f"cannot be looked at without {missing}")
    except Wrong as error:
        return Finding(check=name, state=error.state, message=str(error), help=error.help)
    except Exception as error:  # an unexpected error must not hide the results of other checks
        # Only the error's name: its text may hold what the settings hold, passwords too.
        advice = "The other lines or the logs may say why; if they do not, report this as a fault of doctor."
        return Finding(check=name, state="fault", message=f"cannot be looked at: {type(error).__name__}", help=advice)
