"""The daily look for files without a row takes what a crash left, and never much at once."""

import os
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import update

from service.registry import identity, sweep
from service.registry.artifacts import ArtifactStore
from service.registry.tables import Installation
from tests import builders
from tests.builders import Sent, files_of
from worker.reconciler import FIRST_SWEEP_SECONDS, Reconciler

DAYS = 24 * 3600.0
BEGAN = datetime.now(UTC) - timedelta(days=30)


@pytest.fixture
def account(database, store):
    """An account of an installation that is a month old, with 100 stored workouts."""
    identity.establish(database, store)
    with database.unit_of_work() as session:
        session.execute(update(Installation).values(adopted_at=BEGAN))
    dataset = builders.add_ready(database)
    for position in range(100):
        builders.add_workout(database, store, dataset, b"workout %d" % position, position)
    return dataset.account_id


def leave(store: ArtifactStore, account_id, count: int, days: float = 2.0) -> set:
    """Files without a row, last stored so many days ago."""
    made = {store.path(account_id, store.put(account_id, b"left %d %f" % (number, days))) for number in range(count)}
    for path in made:
        os.utime(path, (time.time() - days * DAYS,) * 2)
    return made


def test_what_a_crash_left_a_day_ago_goes_and_what_is_younger_stays(database, store, account):
    kept = files_of(store, account)
    young = leave(store, account, 3, days=0.9)
    leave(store, account, 50)
    assert sweep.old_files(database, store).count == 50
    assert files_of(store, account) == kept | young


@builders.on_sqlite
def test_more_than_a_fifth_and_fifty_wait_for_an_operators_word(database, store, account):
    kept = files_of(store, account)
    left = leave(store, account, 51)
    held_back = sweep.old_files(database, store)
    assert (held_back.count, held_back.files, held_back.too_many) == (51, 151, True)
    assert files_of(store, account) == kept | left
    sweep.old_files(database, store, confirmed=True)
    assert files_of(store, account) == kept


@builders.on_sqlite
def test_a_folder_of_an_account_that_the_database_does_not_know_stays_even_then(database, store, account):
    stranger = uuid4()
    left = leave(store, stranger, 3)
    assert sweep.old_files(database, store).strangers == [stranger]
    sweep.old_files(database, store, confirmed=True)
    assert files_of(store, stranger) == left


@builders.on_sqlite
def test_what_lay_there_before_the_database_came_waits_for_an_operators_word(database, store, account):
    left = leave(store, account, 5, days=31)
    found = sweep.old_files(database, store)
    assert (found.count, found.before) == (0, 5)
    assert left <= files_of(store, account)
    sweep.old_files(database, store, confirmed=True)
    assert not left & files_of(store, account)


@builders.on_sqlite
def test_nothing_is_swept_in_the_first_minutes_and_nothing_beside_another_folder(
    database, store, account, settings, monkeypatch
):
    here = settings.model_copy(
        update={
            "database_url_setting": database.engine.url.render_as_string(hide_password=False),
            "artifact_dir_setting": store.root,
        }
    )
    left, clock = leave(store, account, 3), time.monotonic
    reconciler = Reconciler(here, Sent())
    reconciler.look()
    assert left <= files_of(store, account)
    own = (store.root / identity.FILE).read_text()
    (store.root / identity.FILE).write_text(str(uuid4()))
    monkeypatch.setattr(time, "monotonic", lambda: clock() + FIRST_SWEEP_SECONDS + 1)
    with pytest.raises(identity.OtherStore):
        reconciler.look()
    assert left <= files_of(store, account)
    (store.root / identity.FILE).write_text(own)
    reconciler.look()
    assert not left & files_of(store, account)
    reconciler.database.dispose()
