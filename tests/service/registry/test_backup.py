"""A backup, and the drill: restored on either kind of database, it predicts the same, and nothing half is ever left."""

import io
import itertools
import json
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient
from typer.testing import CliRunner

from service.app import create_app
from service.cli.main import app as command
from service.registry import identity, jobs, leftovers, migrations
from service.registry.artifacts import ArtifactStore
from service.registry.backup import LOCAL, IncompleteBackup, write_backup
from service.registry.restore import RestoreError, restore
from service.registry.session import Database
from service.registry.tables import Base, Job, JobEvent, JobState, Stage
from service.settings import Settings, get_settings
from tests import builders
from tests.builders import Sent
from tests.clock import bound_clock
from tests.conftest import new_postgresql_database
from worker.reporter import Context, EpochReport, Reporter

BODY = {"subject": "me", "speed": [2.5] * 60, "heart_rate": [130.0] * 12 + [None] * 48}
LEASE = 60.0


@pytest.fixture
def migrated(empty_database_url):
    """A database as `stagewise migrate` makes it, on each kind."""
    migrations.upgrade(empty_database_url)
    opened = Database(empty_database_url)
    yield opened
    opened.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def target_url(request, tmp_path):
    """Where to restore: empty, on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'restored.sqlite3'}"
        return
    with new_postgresql_database(request.getfixturevalue("postgresql_url")) as url:
        yield url


def fill(database, store):
    """A served subject with workouts, a job of every state, a retry, and one that a worker has."""
    base, dataset = builders.add_version(database, store), builders.add_ready(database)
    builders.add_population(database, "other")
    for position in range(3):
        builders.add_workout(database, store, dataset, b"workout %d" % position, position)
    version = builders.add_version(database, store, dataset, seed=1)
    builders.crown(database, dataset.subject_id, base, version)
    builders.add_evaluation(database, version, dataset, 5.0)
    builders.set_offset(database, dataset.subject_id, version, -1.5)
    failed = builders.add_job(database, dataset, state=JobState.FAILED, error_code="internal_error")
    builders.add_epochs(database, failed, 3)
    with database.unit_of_work() as session:
        waiting = jobs.retry(session, session.get_one(Job, failed.id))
        jobs.add(session, dataset, stage=Stage.STAGE2, configuration={}, depends_on=waiting.id)
    with bound_clock(1000.0), database.unit_of_work() as session:
        claim = jobs.claim_next(session, "w", jobs.TRAINING_STAGES, LEASE)
        sha256 = store.put(dataset.account_id, b"checkpoint")
        jobs.record_checkpoint(session, claim, epoch=1, sha256=sha256)
    return claim, version


def backup_of(database, store, **options) -> io.BytesIO:
    output = io.BytesIO()
    write_backup(database, store, output, **options)
    output.seek(0)
    return output


def table_rows(database):
    """Every row but those of events and jobs, which a restore hands back."""
    with database.reading() as session:
        return {
            table.name: sorted(map(repr, session.execute(select(table))))
            for table in Base.metadata.sorted_tables
            if table.name not in {"jobs", "job_events", *LOCAL}
        }


def test_the_drill_a_restored_service_predicts_the_same_and_goes_on_with_the_job_that_ran(
    migrated, target_url, tmp_path
):
    store, other = ArtifactStore(tmp_path / "artifacts"), ArtifactStore(tmp_path / "restored")
    claim, version = fill(migrated, store)
    key = builders.add_key(migrated, "admin")
    target = Database(target_url)
    manifest = restore(target, target_url, other, backup_of(migrated, store))
    assert manifest.missing == []
    assert table_rows(target) == table_rows(migrated)
    answers = []
    for database, files in ((migrated, store), (target, other)):
        client = TestClient(create_app(Settings(state_dir=tmp_path), database, files, Sent()))
        client.headers["Authorization"] = f"Bearer {key}"
        answers.append(client.post("/predict", json=BODY).json())
    assert answers[0] == answers[1]
    assert answers[0]["model"]["version_id"] == str(version.id)
    with target.unit_of_work() as session:
        job = session.get_one(Job, claim.job_id)
        assert (job.state, job.crashes, job.retry_of is not None) == (JobState.QUEUED, 0, True)
        assert other.read(job.account_id, job.latest_sha256) == b"checkpoint"
        again = jobs.claim_next(session, "w2", jobs.TRAINING_STAGES, LEASE)
        assert again == jobs.Claim(claim.job_id, claim.attempt + 1)
        assert not jobs.succeed(session, claim, {})
        numbers = session.scalars(select(JobEvent.id)).all()
        assert len(set(numbers)) == len(numbers)
        waiting = session.scalars(select(Job).where(Job.stage == Stage.STAGE2, Job.state == JobState.QUEUED)).one()
        assert waiting.depends_on == claim.job_id
    target.dispose()


@pytest.fixture
def made(database, store):
    """A backup of a filled database."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{head()}')")
    fill(database, store)
    return backup_of(database, store)


def head() -> str:
    return max(migrations.revisions())


@pytest.fixture
def here(tmp_path):
    """An empty SQLite database and artifact folder, and how to restore there."""
    url = f"sqlite:///{tmp_path / 'here.sqlite3'}"
    opened, files = Database(url), ArtifactStore(tmp_path / "here")
    yield opened, files, lambda source: restore(opened, url, files, source)
    opened.dispose()


def files_in(store: ArtifactStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


def rows_in(opened: Database) -> int:
    if not Path(opened.engine.url.database).exists():
        return 0
    return sum(builders.row_counts(opened).values())


def changed(made: io.BytesIO, change) -> io.BytesIO:
    """The same tar with members changed: `change(name, data)` gives (name, data), or None to leave it out."""
    output = io.BytesIO()
    with tarfile.open(fileobj=made) as old, tarfile.open(fileobj=output, mode="w") as new:
        for member in old:
            if (pair := change(member.name, old.extractfile(member).read())) is not None:
                info = tarfile.TarInfo(pair[0])
                info.size = len(pair[1])
                new.addfile(info, io.BytesIO(pair[1]))
    output.seek(0)
    return output


def flipped(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


HARM = {
    "a file": lambda name, data: (name, flipped(data)) if name.startswith("files/") else (name, data),
    "a missing file": lambda name, data: None if name.startswith("files/") else (name, data),
    "a row": lambda name, data: (name, data.replace(b'"me"', b'"ma"')),
    "a missing table": lambda name, data: None if "epoch_metrics" in name else (name, data),
    "rubbish in a table": lambda name, data: (name, b"x" + data) if "subjects" in name else (name, data),
    "no manifest": lambda name, data: None if name == "manifest.json" else (name, data),
    "a path out of the folder": lambda name, data: (name.replace("files/", "files/../"), data),
}


@builders.on_sqlite
@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_backup_is_refused_and_leaves_nothing_behind(made, here, harm):
    opened, files, bring_back = here
    with pytest.raises(RestoreError, match="backup"):
        bring_back(changed(made, HARM[harm]))
    assert files_in(files) == []
    assert rows_in(opened) == 0
    made.seek(0)
    bring_back(made)  # and the whole one fits afterwards
    assert builders.row_counts(opened)["subjects"] == 2


@builders.on_sqlite
@pytest.mark.parametrize("length", [0, 100, 5000, -20000, None])
def test_a_backup_that_is_cut_short_is_refused_and_leaves_nothing_behind(made, here, length):
    opened, files, bring_back = here
    whole = made.getvalue()
    in_the_manifest = whole.index(b"manifest.json") + 600
    with pytest.raises(RestoreError):
        bring_back(io.BytesIO(whole[: in_the_manifest if length is None else length]))
    assert files_in(files) == []
    assert rows_in(opened) == 0


@builders.on_sqlite
@pytest.mark.parametrize(("field", "value", "word"), [("format", 99, "format 99"), ("schema", "9999", "newer version")])
def test_a_backup_of_a_newer_version_is_refused_with_its_version(made, here, field, value, word):
    def newer(name, data):
        return (name, json.dumps({**json.loads(data), field: value}).encode() if name == "stagewise.json" else data)

    with pytest.raises(RestoreError, match=word):
        here[2](changed(made, newer))


@builders.on_sqlite
def test_only_an_empty_database_is_restored_into_and_a_first_start_counts_as_empty(made, here):
    opened, files, bring_back = here
    migrations.upgrade(opened.engine.url.render_as_string(hide_password=False))
    builders.add_version(opened, files)
    builders.add_key(opened, "admin", account="made at the first start")
    bring_back(io.BytesIO(made.getvalue()))
    with pytest.raises(RestoreError, match="not empty"):
        bring_back(io.BytesIO(made.getvalue()))
    assert builders.row_counts(opened)["subjects"] == 2


@builders.on_sqlite
def test_a_file_that_is_gone_or_damaged_is_told_and_the_rest_is_there(database, store, here, made):
    with database.reading() as session:
        job = session.scalars(select(Job).where(Job.latest_sha256.is_not(None))).one()
    store.path(job.account_id, job.latest_sha256).write_bytes(b"torn")
    with pytest.raises(IncompleteBackup, match=job.latest_sha256):
        backup_of(database, store)
    manifest = here[2](backup_of(database, store, incomplete=True))
    assert manifest.missing == [f"{job.account_id}/{job.latest_sha256}"]
    assert not here[1].path(job.account_id, job.latest_sha256).exists()


def test_what_is_written_while_the_backup_runs_is_in_it_wholly_or_not_at_all(migrated, here, tmp_path):
    store = ArtifactStore(tmp_path / "artifacts")
    fill(migrated, store)

    class Slow(io.BytesIO):
        """Somebody uploads and trains as each piece is written."""

        def write(self, data):
            if self.tell() < 200_000:
                dataset = builders.add_ready(migrated, subject=f"s{self.tell()}")
                builders.add_version(migrated, store, dataset, seed=2)
            return super().write(data)

    output = Slow()
    write_backup(migrated, store, output)
    output.seek(0)
    manifest = here[2](output)
    assert manifest.missing == []
    with here[0].reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == manifest.rows["jobs"]


@pytest.fixture
def state(tmp_path, monkeypatch):
    """Settings whose state folder is one of two."""

    def use(name: str) -> Path:
        for variable in ("DATABASE_URL", "BROKER_URL", "ARTIFACT_DIR"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("STAGEWISE_STATE_DIR", str(tmp_path / name))
        get_settings.cache_clear()
        return tmp_path / name

    mask = os.umask(0o022)
    yield use
    os.umask(mask)
    get_settings.cache_clear()


def stagewise(*arguments: str):
    return CliRunner().invoke(command, arguments)


def test_the_two_commands_by_file_the_file_is_private_and_a_second_restore_is_refused(state, tmp_path):
    state("one")
    file = str(tmp_path / "backup.tar")
    assert stagewise("migrate").exit_code == 0
    made = stagewise("backup", file)
    assert (made.exit_code, "rows and 2 files" in made.stderr) == (0, True), made.output
    assert stat.S_IMODE(Path(file).stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"one", "backup.tar"}  # nothing half
    other = state("two")
    done = stagewise("restore", file)
    assert (done.exit_code, "Restored" in done.stderr) == (0, True), done.output
    assert len(files_in(ArtifactStore(other / "artifacts"))) == 3  # with its identity
    assert stagewise("migrate").exit_code == 0


def test_a_restore_says_which_jobs_would_go_on_and_how_to_look_without_them(state, tmp_path):
    one = state("one")
    assert stagewise("migrate").exit_code == 0
    database = Database(get_settings().database_url)
    fill(database, ArtifactStore(one / "artifacts"))
    with database.reading() as session:
        going_on = session.scalar(select(func.count()).where(Job.state.in_([JobState.QUEUED, JobState.RUNNING])))
    database.dispose()
    assert stagewise("backup", str(tmp_path / "backup.tar")).exit_code == 0
    state("two")
    done = stagewise("restore", str(tmp_path / "backup.tar"))
    assert done.exit_code == 0, done.output
    assert going_on
    assert f"go on with the next start: {going_on}; `stagewise api` alone starts none" in done.stderr


def test_commands_say_what_is_wrong_in_a_sentence(state, tmp_path):
    state("one")
    (tmp_path / "rubbish").write_bytes(b"rubbish" * 500)
    for arguments, word in (
        (("backup", str(tmp_path / "b.tar")), "no such database"),
        (("restore", str(tmp_path / "nothing")), "No such file"),
        (("restore", str(tmp_path / "rubbish")), "damaged or cut short"),
    ):
        refused = stagewise(*arguments)
        assert (refused.exit_code, word in refused.stderr) == (1, True), (arguments, refused.output)


def test_a_backup_beside_a_fleet_is_complete(migrated, here, tmp_path):
    """Every piece that is written gives workers time: epochs replace checkpoints, jobs end, imports drop uploads."""
    store = ArtifactStore(tmp_path / "artifacts")
    identity.establish(migrated, store)
    base = builders.add_version(migrated, store)
    fleet = [builders.add_ready(migrated, subject=f"p{number}") for number in range(12)]
    with migrated.unit_of_work() as session:
        for dataset in fleet:
            jobs.add(session, dataset, stage=Stage.STAGE1, configuration={}, start_model_version_id=base.id)
        claims = [jobs.claim_next(session, "w", jobs.TRAINING_STAGES, LEASE) for _ in fleet]
    contexts = Context(database=migrated, store=store, lease_seconds=LEASE, worker="w", stopping=lambda: False)
    reporters = [Reporter(contexts, claim) for claim in claims]
    account, epochs = fleet[0].account_id, itertools.count(1)

    def an_epoch_of_each() -> None:
        epoch = next(epochs)
        for reporter in reporters:
            sha256 = store.put(account, b"%d of %s" % (epoch, str(reporter.claim.job_id).encode()))
            metrics = {"epoch": epoch, "learning_rate": 0.1, "epoch_time": 0.1, "trainable_parameters": 1}
            reporter.epoch(EpochReport(metrics=metrics, sha256=sha256, message="."))

    an_epoch_of_each()
    an_epoch_of_each()

    class Slow(io.BytesIO):
        def write(self, data):
            if reporters and b"files/" in data:
                an_epoch_of_each()
                with migrated.unit_of_work() as session:
                    jobs.succeed(session, reporters.pop().claim, {})
                leftovers.work_off(migrated, store)
            return super().write(data)

    output = Slow()
    made = write_backup(migrated, store, output)
    assert made.missing == []
    assert len(reporters) < 12
    output.seek(0)
    assert here[2](output).files == made.files == 2 + 24
    while reporters:
        with migrated.unit_of_work() as session:
            jobs.succeed(session, reporters.pop().claim, {})
    leftovers.work_off(migrated, store)  # what waited for the backup goes after it
    assert [path for path in store.stored(account) if path.is_file()] == []


def test_a_backup_that_fails_leaves_no_file_and_ends_with_an_error(state, tmp_path):
    one = state("one")
    assert stagewise("migrate").exit_code == 0
    next((one / "artifacts" / "shipped").iterdir()).write_bytes(b"damaged")
    refused = stagewise("backup", str(tmp_path / "backup.tar"))
    assert (refused.exit_code, "1 files are missing or damaged" in refused.stderr) == (1, True), refused.output
    assert {path.name for path in tmp_path.iterdir()} == {"one"}
    made = stagewise("backup", "--incomplete", str(tmp_path / "backup.tar"))
    assert (made.exit_code, "Missing or damaged" in made.stderr) == (0, True), made.output


def test_standard_output_that_is_a_file_is_private_and_empty_after_a_failure(state, tmp_path):
    one = state("one")
    assert stagewise("migrate").exit_code == 0
    target, command_line = tmp_path / "backup.tar", [sys.executable, "-m", "service.cli", "backup", "-"]
    for whole in (True, False):
        with target.open("wb") as output:
            done = subprocess.run(command_line, stdout=output, stderr=subprocess.PIPE, check=False)
        assert (done.returncode == 0, target.stat().st_size > 0) == (whole, whole), done.stderr
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        next((one / "artifacts" / "shipped").iterdir()).write_bytes(b"damaged")


@builders.on_sqlite
def test_a_lost_database_is_restored_beside_its_own_folder_and_beside_no_other(made, here, tmp_path):
    opened, files, bring_back = here
    bring_back(io.BytesIO(made.getvalue()))
    backup, kept = backup_of(opened, files), files_in(files)
    new_url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    new = Database(new_url)
    restore(new, new_url, files, backup)
    assert set(kept) == set(files_in(files))
    assert identity.read(new, files).agree
    assert not identity.read(opened, files).agree  # the one that was lost does not come back unnoticed
    backup.seek(0)
    third_url = f"sqlite:///{tmp_path / 'third.sqlite3'}"
    third = Database(third_url)
    with pytest.raises(RestoreError, match="another database"):
        restore(third, third_url, files, backup)
    for database in (new, third):
        database.dispose()


@builders.on_sqlite
def test_a_restore_that_fails_deletes_nothing_that_was_there(made, here, tmp_path):
    opened, files, bring_back = here
    bring_back(io.BytesIO(made.getvalue()))
    backup, kept = backup_of(opened, files), files_in(files)
    new_url = f"sqlite:///{tmp_path / 'new.sqlite3'}"
    new = Database(new_url)
    with pytest.raises(RestoreError):
        restore(new, new_url, files, io.BytesIO(backup.getvalue()[:-20000]))
    assert files_in(files) == kept
    new.dispose()
