"""Send broken requests to a real API and say how it answered: `make malformed N=100000`."""

import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tests.end_to_end.api_process import ApiProcess, running_api
from tests.end_to_end.mutations import Case, Mutations
from tests.end_to_end.raw_http import Connection, NoAnswer, request

LOOKS = 10  # at the memory, evenly spread
SLOWEST_SECONDS = 15.0  # the first picture loads a library; nothing may hang
SEED = 20260101
SHOWN = 300


@dataclass
class Outcome:
    """What became of the requests."""

    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter)  # by class: 2xx, 4xx, ..., and "none"
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)  # 5xx, and requests without an answer that they should have had
    slowest: float = 0.0
    slowest_request: str = ""
    rss: list[int] = field(default_factory=list)  # at the start and after each tenth

    def note(self, case: Case, status: int | None, seconds: float) -> None:
        """Count one request."""
        self.requests += 1
        self.kinds[case.kind] += 1
        self.answers["none" if status is None else f"{status // 100}xx"] += 1
        if (status is None and not case.last) or (status is not None and status >= 500):
            self.faults.append(f"{status} {case.kind} {case.raw[:SHOWN]!r} ... {case.raw[-SHOWN:]!r}")
        if seconds > self.slowest:
            self.slowest, self.slowest_request = seconds, f"{case.kind} {case.raw[:SHOWN]!r}"

    def table(self) -> str:
        """The figures as text."""
        rows = [
            ("requests", f"{self.requests}, wrong: {dict(sorted(self.kinds.items()))}"),
            ("answers", str(dict(sorted(self.answers.items())))),
            ("5xx or no answer", str(len(self.faults))),
            ("slowest", f"{self.slowest:.2f} s: {self.slowest_request}"),
            ("memory, MiB", "  ".join(f"{size / 2**20:.1f}" for size in self.rss)),
        ]
        return "\n".join(f"{name:18}{value}" for name, value in rows)


def bombard(api: ApiProcess, count: int, seed: int = SEED) -> Outcome:
    """Send `count` requests one after the other."""
    connection, outcome = Connection(api.port), Outcome()
    document = json.loads(connection.send(request("GET", "/openapi.json", [("Host", "localhost")])).body)
    outcome.rss.append(api.resident_bytes())
    for case in islice(Mutations(document, api.key, api.named, seed), count):
        started = time.perf_counter()
        try:
            status = connection.send(case.raw, last=case.last).status
        except NoAnswer:
            status = None
        outcome.note(case, status, time.perf_counter() - started)
        if outcome.requests % max(1, count // LOOKS) == 0:
            outcome.rss.append(api.resident_bytes())
    connection.close()
    outcome.faults += faults_in(api.log())
    return outcome


def faults_in(log: str) -> list[str]:
    """Lines about faults, also of requests whose answer nobody waited for; and lines that are no JSON."""
    found = []
    for line in log.splitlines():
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            found.append(line)
            continue
        if said.get("status", 0) >= 500 or said["level"] in ("error", "critical"):
            found.append(line)
    return found


def main(count: int) -> int:
    """The exit status: 1 for a 5xx, a missing answer, or one that took too long."""
    with tempfile.TemporaryDirectory(prefix="stagewise-malformed-") as folder, running_api(Path(folder)) as api:
        outcome = bombard(api, count)
    print(outcome.table())
    for fault in outcome.faults[:20]:
        print(fault)
    if outcome.slowest > SLOWEST_SECONDS:
        print(f"slower than {SLOWEST_SECONDS:g} s: {outcome.slowest_request}")
    return int(bool(outcome.faults) or outcome.slowest > SLOWEST_SECONDS)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
