"""Predict again and again and watch the memory of a real API: `make memory N=100000`."""

import json
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.end_to_end.api_process import ApiProcess, running_api
from tests.end_to_end.raw_http import Connection, Header, request

GROWTH_BYTES = 5 * 2**20
LOOKS = 10
SAMPLES = (30, 300)


def measure(api: ApiProcess, count: int, seed: int = 1) -> list[int]:
    """Send predictions of all kinds; resident bytes after each tenth, the first being that after the warm-up."""
    chance, connection, looks = random.Random(seed), Connection(api.port), []
    for number in range(1, count + 1):
        answer = connection.send(prediction(api, chance))
        assert answer.status == 200, answer.body
        if number % (count // LOOKS) == 0:
            looks.append(api.resident_bytes())
    connection.close()
    return looks


def prediction(api: ApiProcess, chance: random.Random) -> bytes:
    """Blind or a forecast, of a known person or of nobody, of 5 to 50 minutes."""
    samples = chance.randint(*SAMPLES)
    body = {"speed": [round(chance.uniform(2.2, 3.2), 2) for _ in range(samples)]}
    if chance.random() < 0.5:
        body["heart_rate"] = [chance.randint(110, 160)] * (samples // 4) + [None] * (samples - samples // 4)
    if chance.random() < 0.5:
        body["subject"] = "me"
    content = json.dumps(body).encode()
    headers: list[Header] = [("Host", "localhost"), ("Authorization", f"Bearer {api.key}")]
    headers += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    return request("POST", "/predict", headers, content)


def main(count: int) -> int:
    """The exit status: 1 when memory grew by more than 5 MiB after the warm-up."""
    with tempfile.TemporaryDirectory(prefix="stagewise-memory-") as folder, running_api(Path(folder)) as api:
        started = time.monotonic()
        looks = measure(api, count)
        seconds = time.monotonic() - started
    growth = looks[-1] - looks[0]
    print("MiB after each tenth:", "  ".join(f"{size / 2**20:.1f}" for size in looks))
    print(f"{count} predictions in {seconds:.0f} s; {growth / 2**20:+.1f} MiB after the first tenth")
    return int(growth > GROWTH_BYTES)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
