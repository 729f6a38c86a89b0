"""Writes Endomondo workouts a line each, as FitRec's files hold them, for tests of what reads them."""

import json
from typing import Any


def line(**overrides: Any) -> dict[str, Any]:
    """A workout of 20 min with a point every 2 to 4 s in the keys and units of `endomondoHR_proper.json`."""
    points = overrides.pop("points", 400)
    seconds = [3 * i + (i % 2) for i in range(points)]
    fields: dict[str, Any] = {
        "speed": [10.8 + (i % 5) * 0.1 for i in range(points)],
        "altitude": [41.6 + (i % 7) * 0.2 for i in range(points)],
        "gender": "male",
        "heart_rate": [120 + i % 40 for i in range(points)],
        "url": "https://www.endomondo.com/users/10921915/workouts/396826535",
        "userId": 10921915,
        "timestamp": [1408898746 + s for s in seconds],
        "longitude": [24.64977040886879 + s * 1e-9 for s in seconds],
        "latitude": [60.173348765820265 + 3.0 * s / 111_195 for s in seconds],
        "sport": "run",
        "id": 396826535,
    }
    return {name: value for name, value in (fields | overrides).items() if value is not ...}


def write(*workouts: dict[str, Any], python: bool = True) -> bytes:
    """The lines: as Python prints them (single quotes, as published) or as JSON."""
    return "".join(f"{workout if python else json.dumps(workout)}\n" for workout in workouts).encode()
