"""What workers did, counted from rows by whoever is asked: each thing once, whatever is deleted or committed late."""

from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.operations.common_notes import CommonNotes
from service.operations.job_metrics import JobCounters
from service.registry import job_counts, jobs
from service.registry.session import Database
from service.registry.tables import DatasetWorkout, Job, JobEvent, JobState, Stage, utc_now
from service.registry.tail import MOST, SETTLED_SECONDS, Tail
from tests import builders
from tests.clock import bound_clock

TRAINING = jobs.TRAINING_STAGES


class Counted:
    """The metrics of one process, looked at again and again; `folder`: that of several."""

    def __init__(self, database: Database, folder: Path | None = None) -> None:
        self._database, self._registry = database, CollectorRegistry()
        self.metrics = JobCounters(self._registry, self._registry, folder)
        self.look()

    def look(self) -> None:
        self.metrics.update(self._database, patience=5.0)

    def of(self, name: str, **labels: str) -> float | None:
        return self._registry.get_sample_value(f"stagewise_{name}", labels)


@pytest.fixture
def counted(database):
    return Counted(database)


@pytest.fixture
def dataset(database):
    return builders.add_ready(database)


def claim(database, stages=TRAINING):
    with database.unit_of_work() as session:
        return jobs.claim_next(session, "w", stages, 60.0)


def end(database, change, *arguments):
    with database.unit_of_work() as session:
        assert change(session, *arguments)


def test_a_job_is_counted_from_its_start_to_its_end_once(database, dataset, counted):
    job = builders.add_job(database, dataset)
    mine = claim(database)
    counted.look()
    assert counted.of("job_attempts_total", stage="stage1") == 1
    assert counted.of("jobs", stage="stage1", state="running") == 1
    end(database, jobs.succeed, mine, {"promoted": True})
    for _ in range(3):
        counted.look()
    assert counted.of("jobs_ended_total", stage="stage1", state="succeeded") == 1
    assert counted.of("job_seconds_count", stage="stage1", state="succeeded") == 1
    assert counted.of("promotion_decisions_total", stage="stage1", decision="promoted") == 1
    assert counted.of("promotion_decisions_total", stage="stage1", decision="kept") == 0
    assert counted.of("jobs", stage="stage1", state="running") == 0
    with database.reading() as session:
        row = session.get_one(Job, job.id)
    seconds = (row.finished_at - row.started_at).total_seconds()
    assert counted.of("job_seconds_sum", stage="stage1", state="succeeded") == pytest.approx(seconds)


def test_what_happened_before_the_first_look_is_not_counted_and_every_series_starts_at_zero(database, dataset):
    builders.add_job(database, dataset)
    end(database, jobs.succeed, claim(database), {"promoted": False})
    counted = Counted(database)
    counted.look()
    assert counted.of("jobs_ended_total", stage="stage1", state="succeeded") == 0
    assert counted.of("job_leases_lost_total", stage="base") == 0
    assert counted.of("imported_workouts_total", verdict="dropped") == 0


def test_a_failure_is_counted_with_its_code(database, dataset, counted):
    builders.add_job(database, dataset)
    end(database, jobs.fail, claim(database), "non_finite_loss", "The loss is not finite.")
    counted.look()
    assert counted.of("jobs_ended_total", stage="stage1", state="failed") == 1
    assert counted.of("job_failures_total", stage="stage1", code="non_finite_loss") == 1


def test_each_lost_lease_is_counted_whatever_becomes_of_the_job(database, dataset, counted):
    builders.add_job(database, dataset)
    now = 1e9
    for _ in range(jobs.MAX_CRASHES):
        with bound_clock(now):
            claim(database)
        now += 1000.0
        with bound_clock(now):
            end(database, jobs.reconcile)
    counted.look()
    assert counted.of("job_leases_lost_total", stage="stage1") == jobs.MAX_CRASHES
    assert counted.of("job_attempts_total", stage="stage1") == jobs.MAX_CRASHES
    assert counted.of("job_failures_total", stage="stage1", code="worker_crashed") == 1


def test_counters_never_fall_when_a_person_is_deleted(database, dataset, counted):
    job = builders.add_job(database, dataset)
    end(database, jobs.succeed, claim(database), {"promoted": True})
    counted.look()
    with database.unit_of_work() as session:
        session.delete(session.get_one(Job, job.id))
    counted.look()
    assert counted.of("jobs_ended_total", stage="stage1", state="succeeded") == 1
    again = builders.add_job(database, dataset)
    counted.look()
    end(database, jobs.cancel_running, claim(database))
    counted.look()
    assert counted.of("jobs_ended_total", stage="stage1", state="cancelled") == 1
    assert again.id != job.id


def test_an_import_counts_the_workouts_of_its_upload_and_not_those_known_before(database, dataset, counted):
    builders.add_job(database, dataset, Stage.IMPORT)
    known = {"code": "known", "samples": 0, "message": "known from an earlier upload"}
    found = [("kept", []), ("kept", [known]), ("repaired", [{"code": "spikes"}]), ("dropped", [{"code": "duplicate"}])]
    with database.unit_of_work() as session:
        for position, (verdict, reasons) in enumerate(found):
            place = {"dataset_id": dataset.id, "position": position, "source": "a.fit", "duration_s": 1.0}
            session.add(DatasetWorkout(**place, verdict=verdict, reasons=reasons))
    end(database, jobs.succeed, claim(database, jobs.IMPORT_STAGES), {})
    counted.look()
    verdicts = {verdict: counted.of("imported_workouts_total", verdict=verdict) for verdict, _ in found}
    assert verdicts == {"kept": 1, "repaired": 1, "dropped": 1}


def test_changes_of_champions_are_counted_by_reason(database, store, dataset, counted):
    first, second = (builders.add_version(database, store, dataset, seed=seed) for seed in (1, 2))
    builders.crown(database, dataset.subject_id, first, second)
    builders.roll_back(database, dataset.subject_id)
    counted.look()
    reasons = {
        reason: counted.of("champion_changes_total", reason=reason) for reason in ("first", "promoted", "rollback")
    }
    assert reasons == {"first": 1, "promoted": 1, "rollback": 1}


def test_of_several_processes_one_counts_each_event(database, dataset, tmp_path):
    processes = [Counted(database, tmp_path) for _ in range(2)]
    for turn in (0, 1, 1, 0):
        builders.add_job(database, dataset)
        end(database, jobs.succeed, claim(database), {"promoted": False})
        for number in (turn, 1 - turn):
            processes[number].look()
    counts = [process.of("jobs_ended_total", stage="stage1", state="succeeded") for process in processes]
    assert counts == [2, 2]


def test_a_process_does_not_wait_for_ever_for_another_one_that_looks(database, tmp_path):
    counted, held = Counted(database, tmp_path), CommonNotes(tmp_path)
    with held.held(patience=1.0), pytest.raises(TimeoutError):
        counted.metrics.update(database, patience=0.1)
    counted.look()


def test_the_oldest_waiting_job_is_one_that_could_start(database, dataset, counted):
    earlier = utc_now() - timedelta(minutes=20)
    first = builders.add_job(database, dataset, created_at=earlier)
    builders.add_job(database, dataset, Stage.STAGE2, depends_on=first.id, created_at=earlier)
    fleets = builders.add_job(database, dataset, Stage.BASE, parent_id=first.id, created_at=earlier)
    counted.look()
    assert counted.of("oldest_waiting_job_seconds", stage="stage1") == pytest.approx(1200, abs=30)
    assert counted.of("oldest_waiting_job_seconds", stage="stage2") == 0
    assert counted.of("oldest_waiting_job_seconds", stage="base") == 0, fleets
    assert counted.of("jobs", stage="stage2", state="queued") == 1


def test_waiting_and_running_jobs_are_not_shown_while_the_database_is_away(database, counted):
    metrics = counted.metrics
    with pytest.raises(ValueError, match="unknown"):
        metrics.update(_Away(), patience=5.0)
    assert counted.of("jobs", stage="stage1", state="queued") is None
    assert counted.of("job_attempts_total", stage="stage1") == 0
    counted.look()
    assert counted.of("jobs", stage="stage1", state="queued") == 0


class _Away:
    def reading(self):
        raise ValueError("unknown host")


def test_a_row_with_a_lower_number_that_is_committed_later_is_found(database, dataset):
    """As on PostgreSQL, where numbers are given before the commit."""
    job, now = builders.add_job(database, dataset), [0.0]
    tail = Tail(JobEvent.id, clock=lambda: now[0])
    add_event(database, job, 100)
    assert news(database, tail) == []
    add_event(database, job, 105)
    assert news(database, tail) == [105]
    now[0] += SETTLED_SECONDS / 2
    add_event(database, job, 103)
    add_event(database, job, 106)
    assert news(database, tail) == [103, 106]
    now[0] += SETTLED_SECONDS
    assert news(database, tail) == []
    add_event(database, job, 104)  # nobody waits that long
    assert news(database, tail) == []


def test_numbers_that_are_given_again_do_not_blind_it(database, dataset):
    """As on SQLite, once the last rows are deleted."""
    job = builders.add_job(database, dataset)
    tail = Tail(JobEvent.id)
    last = add_event(database, job, 1000)
    assert news(database, tail) == []
    with database.unit_of_work() as session:
        session.delete(session.get_one(JobEvent, last))
    assert news(database, tail) == []
    add_event(database, job, 900)
    assert news(database, tail) == [900]


def test_a_long_backlog_is_read_in_parts(database, dataset, monkeypatch):
    monkeypatch.setattr("service.registry.tail.MOST", 3)
    job = builders.add_job(database, dataset)
    tail = Tail(JobEvent.id)
    assert news(database, tail) == []
    for number in range(101, 109):
        add_event(database, job, number)
    assert [news(database, tail) for _ in range(4)] == [[101, 102, 103], [104, 105, 106], [107, 108], []]
    assert MOST > 3


def add_event(database, job, number) -> int:
    with database.unit_of_work() as session:
        session.add(JobEvent(id=number, job_id=job.id, event="running", attempt=1, detail={}))
    return number


def news(database, tail) -> list[int]:
    with database.reading() as session:
        return [row[0] for row in tail.news(session, job_counts.job_changes())]


def test_a_state_that_a_job_can_end_in_is_a_series(counted):
    for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
        assert counted.of("jobs_ended_total", stage="import", state=state.value) == 0
