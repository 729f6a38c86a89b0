"""One run from start to table: servers, load, faults, drain, check."""

import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.chaos import load, nemesis
from tests.chaos.checker import ENDS, Evidence, Finding, check, percentile, recovery_seconds
from tests.chaos.cluster import LEASE, Cluster
from tests.chaos.load import Load
from tests.chaos.nemesis import Nemesis

WHOLE_MINUTES, WHOLE_JOBS = 20.0, 1000
FAULT_SHARE = 0.85  # of a run's time; the rest is for the start and for what is still to be done
DRAIN_SECONDS = 240.0  # then what has not ended counts as lost
RECOVERY_SECONDS = LEASE + 10.0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens, and for how long."""

    seed: int
    blocks: int
    seconds: float
    quota: dict[str, int]
    epochs: int = load.EPOCHS
    without: str = ""  # a promise that the workers break: entry.py

    @staticmethod
    def of(minutes: float, seed: int) -> "Scenario":
        """A whole run has 20 minutes; a shorter one has its share of everything."""
        share = minutes / WHOLE_MINUTES
        return Scenario(
            seed=seed,
            blocks=max(1, round(WHOLE_JOBS * share / load.BLOCK)),
            seconds=60.0 * minutes * FAULT_SHARE,
            quota=nemesis.scaled(share),
        )


@dataclass
class Outcome:
    """What a run found and counted."""

    findings: list[Finding]
    figures: dict[str, str] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        return [f"{finding.name}: {sentence}" for finding in self.findings for sentence in finding.broken]


def run(scenario: Scenario, folder: Path, keep: Path | None = None) -> Outcome:
    """Everything; `folder` must be one that any user may enter."""
    began = time.monotonic()
    with Cluster(folder, scenario.without) as cluster:
        try:
            return _run(scenario, cluster, began)
        finally:
            if keep:
                _keep(cluster, keep)


def _run(scenario: Scenario, cluster: Cluster, began: float) -> Outcome:
    cluster.wait_until_ready()
    ready = time.monotonic()
    clients = Load(
        cluster.api_url,
        cluster.key,
        cluster.folder,
        blocks=scenario.blocks,
        seconds=scenario.seconds,
        seed=scenario.seed,
        epochs=scenario.epochs,
    )
    evil = Nemesis(cluster, scenario.quota, scenario.seconds, scenario.seed)
    clients.start()
    evil.run(cluster.keep_alive)
    (cluster.folder / "faults.log").write_text("\n".join(evil.log) + "\n")
    deadline = time.monotonic() + DRAIN_SECONDS
    while not (clients.done and _all_ended(cluster)) and time.monotonic() < deadline:
        cluster.keep_alive()
        time.sleep(0.5)
    clients.give_up.set()
    ended = time.monotonic()
    evidence = Evidence(cluster.database_url, cluster.artifacts, clients.promises)
    (cluster.folder / "events.log").write_text("".join(f"{row}\n" for row in evidence.told()))
    recovered = recovery_seconds(evidence, evil.kills)
    findings = [*check(evidence), _recovery(recovered)]
    times = {"seconds to start, to the last end": f"{ready - began:.0f}, {ended - began:.0f}"}
    return Outcome(findings, times | _figures(evidence, evil, clients, recovered), dict(evil.done))


def _all_ended(cluster: Cluster) -> bool:
    with psycopg.connect(cluster.database_url) as connection:
        (open_jobs,) = connection.execute(
            "SELECT count(*) FROM jobs WHERE NOT state = ANY(%s)", [list(ENDS)]
        ).fetchone()
    return open_jobs == 0


def _recovery(seconds: list[float]) -> Finding:
    slow = percentile(seconds, 0.95)
    broken = [f"p95 is {slow:.1f} s, over {RECOVERY_SECONDS:g} s"] if slow > RECOVERY_SECONDS else []
    return Finding("slow recovery of killed jobs", len(seconds), broken)


def _figures(evidence: Evidence, evil: Nemesis, clients: Load, recovered: list[float]) -> dict[str, str]:
    events = [event["event"] for events in evidence.events.values() for event in events]
    answers = clients.promises.seconds
    jobs = evidence.jobs.values()
    return {
        "jobs": f"{len(evidence.jobs)}, of them poison {len(evidence.poison)}, to be cancelled {len(clients.promises.cancels)}",
        "ended": json.dumps({end: sum(job["state"] == end for job in jobs) for end in sorted(ENDS)}),
        "attempts": f"{events.count('running')}, of them leases expired {events.count('lease_expired')}, "
        f"handed back {events.count('handed_back')}",
        "jobs with more than one attempt": f"{sum(job['attempt'] > 1 for job in jobs)}",
        "promotions": f"{sum(change['reason'] == 'promoted' for change in evidence.history)}",
        "recovery of killed jobs": f"{len(recovered)} jobs, p50 {percentile(recovered, 0.5):.1f} s, "
        f"p95 {percentile(recovered, 0.95):.1f} s, max {max(recovered, default=0):.1f} s",
        "POST answered": f"{len(answers)}, retried {clients.promises.retries}, p50 {percentile(answers, 0.5):.3f} s, "
        f"p99 {percentile(answers, 0.99):.3f} s",
        "exit after SIGTERM": f"{len(evil.exits)}, slowest {max(evil.exits, default=0):.1f} s",
    }


def _keep(cluster: Cluster, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for log in [*cluster.folder.glob("*.log"), *cluster.folder.glob("*/*.log")]:
        shutil.copy(log, folder / log.name)


def show(outcome: Outcome) -> None:
    """One table."""
    rows = [("fault", "times")] + [(name, str(count)) for name, count in sorted(outcome.faults.items())]
    rows += [("", ""), ("figure", ""), *outcome.figures.items()]
    rows += [("", ""), ("broken promise", "times")]
    rows += [(finding.name, f"{len(finding.broken)} of {finding.looked_at}") for finding in outcome.findings]
    for name, value in rows:
        print(f"{name:42} {value}".rstrip())
    for sentence in outcome.broken[:40]:
        print(f"  {sentence}")
    print("FAILED" if outcome.broken else "every promise was kept", flush=True)
