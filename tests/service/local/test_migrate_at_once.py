"""`stagewise migrate` several times at once: several containers or machines may start together."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from service.local.secret_files import ensure_key
from service.registry import accounts
from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from service.registry.shipped import install_shipped_base
from service.registry.tables import Account, ApiKey, ModelVersion

ROOT = Path(__file__).resolve().parents[3]
AT_ONCE = 3


@pytest.fixture
def base_files(tmp_path):
    """What comes with the software, except that nobody can predict with it."""
    for name in ("base.safetensors", "base.pt"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "base.json").write_text('{"data_digest": "d", "code_version": "test"}')
    return tmp_path


def test_migrating_at_once_leaves_one_schema_one_base_one_account_and_one_key(empty_database_url, tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": empty_database_url,
        "STAGEWISE_STATE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "service.cli", "migrate", "--key-file", str(tmp_path / "api-key")]
    started = [subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(AT_ONCE)]
    said = [process.communicate()[1].decode() for process in started]
    assert [process.returncode for process in started] == [0] * AT_ONCE, said
    database = Database(empty_database_url)
    with database.reading() as session:
        (key,) = session.scalars(select(ApiKey))
        assert len(session.scalars(select(ModelVersion)).all()) == 1
        assert len(session.scalars(select(Account)).all()) == 1
    assert accounts.split_key((tmp_path / "api-key").read_text().strip()).public == key.public
    database.dispose()


class InStep(ArtifactStore):
    """Whoever has stored the last file waits for the others: all go on to the database together."""

    barrier = threading.Barrier(8, timeout=20)

    def put(self, account_id, data):
        sha256 = super().put(account_id, data)
        if data == b"base.pt":
            self.barrier.wait()
        return sha256


def test_eight_that_register_the_base_in_step_make_one_row(database, store, base_files):
    with ThreadPoolExecutor(8) as pool:
        started = [pool.submit(install_shipped_base, database, InStep(store.root), base_files) for _ in range(8)]
    for each in started:
        each.result()
    with database.reading() as session:
        assert len(session.scalars(select(ModelVersion)).all()) == 1


def test_eight_that_make_the_first_account_and_key_at_once_make_one_of_each(database, tmp_path):
    barrier = threading.Barrier(8, timeout=20)

    def first_key():
        barrier.wait()
        ensure_key(database, tmp_path / "api-key")

    with ThreadPoolExecutor(8) as pool:
        started = [pool.submit(first_key) for _ in range(8)]
    for each in started:
        each.result()
    with database.reading() as session:
        assert len(session.scalars(select(Account)).all()) == 1
        assert len(session.scalars(select(ApiKey)).all()) == 1


def test_a_base_that_was_registered_before_stays_the_same_row(database, store, base_files):
    ids = []
    for _ in range(2):
        install_shipped_base(database, store, base_files)
        with database.reading() as session:
            ids.append(session.scalars(select(ModelVersion.id)).all())
    assert ids[0] == ids[1]
    assert len(ids[0]) == 1
