"""Whether the promises were kept, from what was accepted, the append-only event log and the files; knows no worker.

Reads with SQL of its own. The legal sequences of events are written down here once more, not taken from the code under test.
"""

import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import torch
from psycopg.rows import dict_row

from hrmodel.network.checkpoint import Checkpoint
from hrmodel.workouts.workout import Workout
from tests.chaos.load import Promises

Row = dict[str, Any]
ENDS = {"succeeded", "failed", "cancelled"}
NEXT = {  # event -> what may come after it
    None: {"queued"},
    "queued": {"running", "cancelled", "failed"},
    "running": {"phase", "checkpoint", "handed_back", "lease_expired", *ENDS},
    "phase": {"phase", "checkpoint", "handed_back", "lease_expired", *ENDS},
    "checkpoint": {"phase", "checkpoint", "handed_back", "lease_expired", *ENDS},
    "handed_back": {"running", "cancelled", "failed"},
    "lease_expired": {"running", "cancelled", "failed"},
    **{end: set() for end in ENDS},
}
CRASHES = 3  # attempts of a poison job
EQUAL = 1e-9  # bpm: the same score, summed in another order


@dataclass
class Finding:
    """One promise: how much was looked at, and what broke it."""

    name: str
    looked_at: int
    broken: list[str] = field(default_factory=list)


class Evidence:
    """All rows that matter, read once."""

    def __init__(self, database_url: str, artifacts: Path, promises: Promises) -> None:
        self.artifacts, self.promises = artifacts, promises
        with psycopg.connect(database_url, row_factory=dict_row) as connection:
            self.jobs = {row["id"]: row for row in connection.execute("SELECT * FROM jobs")}
            self.events = _by_job(connection.execute("SELECT * FROM job_events ORDER BY id"))
            self.epochs = _by_job(connection.execute("SELECT * FROM epoch_metrics ORDER BY epoch"))
            self.lines = _by_job(connection.execute("SELECT * FROM job_log_lines ORDER BY id"))
            self.versions = connection.execute("SELECT * FROM model_versions").fetchall()
            self.workouts = connection.execute("SELECT * FROM workouts").fetchall()
            self.history = connection.execute("SELECT * FROM champion_history ORDER BY subject_id, revision").fetchall()
            self.champions = {row["subject_id"]: row for row in connection.execute("SELECT * FROM champions")}
            scores = connection.execute("SELECT model_version_id, dataset_id, score FROM evaluations")
            self.scores = {(row["model_version_id"], row["dataset_id"]): row["score"] for row in scores}
        self.poison = {job.job_id for job in promises.accepted if job.poison}

    def read(self, account_id: UUID | None, sha256: str) -> bytes | None:
        """A file's bytes; None when it is not there."""
        path = self.artifacts / ("shipped" if account_id is None else str(account_id)) / sha256
        return path.read_bytes() if path.exists() else None

    def told(self) -> Iterator[str]:
        """Every event of every job, in the order of time: to read when something went wrong."""
        events = [event for events in self.events.values() for event in events]
        for event in sorted(events, key=lambda each: each["id"]):
            job = self.jobs[event["job_id"]]
            what = f"{event['event']} {event['attempt']} {event['detail']}"
            yield f"{event['created_at']:%H:%M:%S.%f} {job['id']} {job['stage']} {what}"


def check(evidence: Evidence) -> list[Finding]:
    """Every promise."""
    return [
        lost(evidence),
        finished_twice(evidence),
        illegal_transitions(evidence),
        stale_writes(evidence),
        not_succeeded(evidence),
        wrong_bytes(evidence),
        unequal_twins(evidence),
        worse_champions(evidence),
        Finding("answers that should not be", len(evidence.promises.seconds), evidence.promises.broken),
    ]


def lost(evidence: Evidence) -> Finding:
    """Every accepted job is there and has ended; none is there that nobody was promised."""
    accepted = {job.job_id for job in evidence.promises.accepted}
    broken = [f"job {job_id} was accepted and is not there" for job_id in accepted - evidence.jobs.keys()]
    broken += [f"job {job_id} was never accepted" for job_id in evidence.jobs.keys() - accepted]
    broken += [f"job {row['id']} is still {row['state']}" for row in evidence.jobs.values() if row["state"] not in ENDS]
    return Finding("lost", len(accepted), broken)


def finished_twice(evidence: Evidence) -> Finding:
    """One end in the log, the same as in the row; a version for each success of a training job, and for nothing else."""
    broken, made = [], defaultdict(int)
    for version in evidence.versions:
        made[version["job_id"]] += 1
    for job_id, job in evidence.jobs.items():
        ends = [event["event"] for event in evidence.events[job_id] if event["event"] in ENDS]
        if ends != [job["state"]]:
            broken.append(f"job {job_id} is {job['state']}, its log says {ends}")
        wanted = int(job["state"] == "succeeded" and job["stage"] != "import")
        if made[job_id] != wanted:
            broken.append(f"job {job_id} ({job['stage']}, {job['state']}) has {made[job_id]} versions")
    return Finding("finished twice", len(evidence.jobs), broken)


def illegal_transitions(evidence: Evidence) -> Finding:
    """Events follow each other as they may, attempts count up by one with each claim, checkpoints go forward."""
    broken = []
    for job_id in evidence.jobs:
        before, attempt, epoch = None, 0, 0
        for event in evidence.events[job_id]:
            name = event["event"]
            if name not in NEXT[before]:
                broken.append(f"job {job_id}: {name} after {before}")
            if event["attempt"] != attempt + (name == "running"):
                broken.append(f"job {job_id}: {name} of attempt {event['attempt']} while {attempt} was the newest")
            if name == "checkpoint":
                if event["detail"]["epoch"] <= epoch:
                    broken.append(f"job {job_id}: checkpoint of epoch {event['detail']['epoch']} after {epoch}")
                epoch = event["detail"]["epoch"]
            before, attempt = name, max(attempt, event["attempt"])
    return Finding("illegal transitions", sum(map(len, evidence.events.values())), broken)


def stale_writes(evidence: Evidence) -> Finding:
    """No attempt has written anything after a newer one's claim, and every epoch is there once."""
    broken = []
    for job_id, job in evidence.jobs.items():
        claimed = {e["attempt"]: e["created_at"] for e in evidence.events[job_id] if e["event"] == "running"}
        for line in evidence.lines[job_id]:
            taken = claimed.get(line["attempt"] + 1)
            if taken and line["created_at"] > taken:
                broken.append(
                    f"job {job_id}: attempt {line['attempt']} wrote {line['message']!r} after it was taken over"
                )
        epochs = [row["epoch"] for row in evidence.epochs[job_id]]
        attempts = [row["attempt"] for row in evidence.epochs[job_id]]
        if attempts != sorted(attempts):
            broken.append(f"job {job_id}: its epochs were written by the attempts {attempts}")
        wanted = list(range(1, (job["configuration"].get("epochs") or 0) + 1))
        if job["state"] == "succeeded" and epochs != wanted:
            broken.append(f"job {job_id}: succeeded with the epochs {epochs}")
    return Finding("stale writes", sum(map(len, evidence.lines.values())), broken)


def not_succeeded(evidence: Evidence) -> Finding:
    """Everything succeeds but poison jobs, which get their attempts, and what was to be cancelled."""
    broken = []
    for job_id, job in evidence.jobs.items():
        ended, what = job["state"], f"job {job_id} ({job['stage']})"
        if job_id in evidence.poison:
            if (ended, job["error_code"], job["crashes"]) != ("failed", "worker_crashed", CRASHES):
                broken.append(f"{what} is poison and is {ended} {job['error_code']} after {job['crashes']} crashes")
        elif ended == "failed" or (ended == "cancelled" and job_id not in evidence.promises.cancels):
            broken.append(f"{what} is {ended}: {job['error_code']} {job['error_message']}")
    return Finding("not succeeded", len(evidence.jobs), broken)


def wrong_bytes(evidence: Evidence) -> Finding:
    """Every file that a row names is there, is what its name says, and can be read."""
    named: dict[tuple[UUID | None, str], Any] = {}
    for job in evidence.jobs.values():
        for column in ("latest_sha256", "previous_sha256", "best_sha256"):
            named[job["account_id"], job[column]] = Checkpoint.from_bytes
    for version in evidence.versions:
        named[version["account_id"], version["sha256"]] = lambda data: Checkpoint.from_bytes(data).build()
        named[version["account_id"], version["pt_sha256"]] = _load_pt
    for workout in evidence.workouts:
        named[workout["account_id"], workout["digest"]] = Workout.from_bytes
    broken = [_fault(evidence, *name, read) for name, read in named.items() if name[1] is not None]
    return Finding("wrong bytes", len(broken), [fault for fault in broken if fault])


def _fault(evidence: Evidence, account_id: UUID | None, sha256: str, read: Any) -> str | None:
    data = evidence.read(account_id, sha256)
    if data is None:
        return f"file {sha256} is not there"
    if hashlib.sha256(data).hexdigest() != sha256:
        return f"file {sha256} holds other bytes"
    try:
        read(data)
    except Exception as error:
        return f"file {sha256} cannot be read: {error!r}"
    return None


def _load_pt(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def unequal_twins(evidence: Evidence) -> Finding:
    """Jobs that were asked for the same have the same weights, bit for bit, whatever happened to them on the way."""
    weights = {v["id"]: _weights(evidence.read(v["account_id"], v["sha256"])) for v in evidence.versions}
    groups: dict[Any, dict[str, list[UUID]]] = defaultdict(lambda: defaultdict(list))
    for version in evidence.versions:
        if version["job_id"] is not None:
            asked = json.dumps(evidence.jobs[version["job_id"]]["configuration"], sort_keys=True)
            key = (version["dataset_id"], version["stage"], asked, weights[version["parent_id"]])
            groups[key][weights[version["id"]]].append(version["job_id"])
    broken = [
        f"twins differ: {[str(job) for jobs in group.values() for job in jobs]}"
        for group in groups.values()
        if len(group) > 1
    ]
    return Finding("unequal twins", sum(len(jobs) for group in groups.values() for jobs in group.values()), broken)


def _weights(data: bytes | None) -> str:
    if data is None:
        return "missing"
    weights = Checkpoint.from_bytes(data).weights
    return hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in sorted(weights))).hexdigest()


def worse_champions(evidence: Evidence) -> Finding:
    """Each promotion beats the one that served until then, nothing is skipped, and in the end the best serves."""
    broken: list[str] = []
    changes: dict[UUID, list[Row]] = defaultdict(list)
    for change in evidence.history:
        changes[change["subject_id"]].append(change)
    for subject, chain in changes.items():
        if [change["revision"] for change in chain] != list(range(len(chain))):
            broken.append(f"subject {subject}: revisions {[change['revision'] for change in chain]}")
        if evidence.champions[subject]["model_version_id"] != chain[-1]["model_version_id"]:
            broken.append(f"subject {subject}: the pointer is not at the newest change")
        broken += [fault for before, after in pairwise(chain) if (fault := _worse(before, after))]
        broken += _not_the_best(evidence, subject)
    return Finding("champions that got worse", len(evidence.history), broken)


def _worse(before: Row, after: Row) -> str | None:
    decision, what = after["decision"], f"subject {after['subject_id']}, revision {after['revision']}"
    if decision["champion_id"] != str(before["model_version_id"]):
        return f"{what}: was compared with another version than the one that it replaced"
    if not decision["candidate_score"] < decision["champion_score"]:
        return f"{what}: {decision['candidate_score']} replaced {decision['champion_score']}"
    if before["decision"] and abs(before["decision"]["candidate_score"] - decision["champion_score"]) > EQUAL:
        return f"{what}: the champion's score changed"
    return None


def _not_the_best(evidence: Evidence, subject: UUID) -> list[str]:
    serving, faults = evidence.champions[subject]["model_version_id"], []
    for version in evidence.versions:
        if version["subject_id"] == subject:
            mine, best = (evidence.scores.get((each, version["dataset_id"])) for each in (version["id"], serving))
            if mine is None or best is None or mine < best - EQUAL:
                faults.append(f"subject {subject}: version {version['id']} scored {mine}, {serving} serves with {best}")
    return faults


def recovery_seconds(evidence: Evidence, kills: Iterable[tuple[float, set[int]]]) -> list[float]:
    """From each kill to the next claim (or the end) of every job that was running in a killed process."""
    seconds = []
    for at, pids in kills:
        for events in evidence.events.values():
            running, taken = None, None
            for event in events:
                when = event["created_at"].timestamp()
                if when <= at:
                    running = event if event["event"] in ("running", "checkpoint") else None
                    taken = int(event["detail"]["worker"].rsplit(":", 1)[1]) if event["event"] == "running" else taken
                elif running and taken in pids and event["event"] in ("running", *ENDS):
                    seconds.append(when - at)
                    break
    return seconds


def _by_job(rows: Iterable[Row]) -> dict[UUID, list[Row]]:
    found: dict[UUID, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["job_id"]].append(row)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
