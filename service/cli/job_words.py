"""How commands say where a job stands."""

from collections.abc import Mapping
from typing import Any


def doing(job: Mapping[str, Any]) -> str:
    """The state of a job, of a running one its phase and how much of that is done."""
    phase, state = job["phase"], str(job["state"])
    if phase is None:
        return state
    return f"{phase['name']} {100 * phase['done'] / phase['total']:.0f} %" if phase["total"] else str(phase["name"])
