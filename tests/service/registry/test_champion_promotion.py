"""Promotion is one compare-and-swap; rolling back and falling back walk the history."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import func, select

from service.errors import Conflict
from service.registry import promotion
from service.registry.session import Database
from service.registry.tables import ChampionChange, ChampionReason, ModelVersion, Stage, Subject
from tests import registry_builders as builders
from tests.builders import history_of, roll_back


def add_subject(database: Database) -> UUID:
    return builders.add_subject(database).id


def add_versions(database: Database, count: int) -> list[UUID]:
    with database.unit_of_work() as session:
        rows = [
            ModelVersion(
                stage=Stage.BASE,
                sha256=f"{n:064d}",
                size=1,
                pt_sha256=f"{n:064d}",
                pt_size=1,
                dataset_digest="",
                code_version="",
            )
            for n in range(count)
        ]
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


def serving(database: Database, subject_id: UUID) -> tuple[UUID, int]:
    with database.reading() as session:
        champion = promotion.require(session, subject_id)
        return champion.model_version_id, champion.revision


def promote(database: Database, subject_id: UUID, version: UUID, expected: int) -> None:
    with database.unit_of_work() as session:
        promotion.promote(session, subject_id, version, reason=ChampionReason.PROMOTED, expected_revision=expected)


def test_of_twenty_promotions_at_once_one_wins_and_the_others_are_told(database):
    subject, versions = add_subject(database), add_versions(database, 21)
    with database.unit_of_work() as session:
        assert promotion.start(session, subject, versions[0])

    def attempt(version: UUID) -> bool:
        try:
            promote(database, subject, version, expected=0)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [v for v, ok in zip(versions[1:], pool.map(attempt, versions[1:]), strict=True) if ok]
    assert serving(database, subject) == (won[0], 1)
    assert len(won) == 1
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(ChampionChange)) == 2


@pytest.fixture
def served(database: Database) -> tuple[UUID, list[UUID]]:
    """A subject whom three versions have served, the last one now."""
    subject, versions = add_subject(database), add_versions(database, 3)
    with database.unit_of_work() as session:
        promotion.start(session, subject, versions[0])
    for revision, version in enumerate(versions[1:]):
        promote(database, subject, version, expected=revision)
    return subject, versions


def test_rolling_back_twice_goes_two_versions_back_and_then_there_is_nothing(database, served):
    subject, (base, first, _) = served
    for expected in (first, base):
        roll_back(database, subject)
        assert serving(database, subject)[0] == expected
    with pytest.raises(Conflict, match="nothing_to_roll_back"):
        roll_back(database, subject)


def test_a_promotion_after_a_roll_back_does_not_bring_the_rolled_back_version_back(database, served):
    subject, (_, first, _) = served
    (newer,) = add_versions(database, 1)
    roll_back(database, subject)
    promote(database, subject, newer, expected=3)
    roll_back(database, subject)
    assert serving(database, subject) == (first, 5)


def test_a_roll_back_to_a_version_that_was_checked_before_another_promotion_is_refused(database, served):
    subject, (_, first, _) = served
    with database.reading() as session:
        assert promotion.version_before(session, subject).id == first
    (newer,) = add_versions(database, 1)
    promote(database, subject, newer, expected=2)
    with database.unit_of_work() as session, pytest.raises(Conflict, match="champion_changed"):
        promotion.roll_back(session, subject, first)
    assert serving(database, subject) == (newer, 3)


def test_before_versions_are_deleted_the_last_one_that_stays_serves(database, served):
    subject, (base, first, second) = served
    with database.unit_of_work() as session:
        promotion.fall_back(session, {first, second})
    assert history_of(database, subject)[-1] == ("deleted", base)


def test_a_subject_falls_back_to_the_default_base_when_no_earlier_version_stays(database, served):
    subject, versions = served
    (default,) = add_versions(database, 1)
    make_default(database, subject, default)
    with database.unit_of_work() as session:
        promotion.fall_back(session, versions)
    assert serving(database, subject) == (default, 3)


def make_default(database: Database, subject_id: UUID, base: UUID) -> None:
    with database.unit_of_work() as session:
        account_id = session.get_one(Subject, subject_id).account_id
        before = promotion.default_base(session, account_id)
        promotion.promote_base(session, account_id, base, expected=before.id, score=5.0)


def test_a_base_that_was_compared_with_an_earlier_default_is_refused(database):
    account_id, (_, one, two) = builders.add_account(database).id, add_versions(database, 3)
    with database.reading() as session:
        compared_with = promotion.default_base(session, account_id).id
    with database.unit_of_work() as session:
        promotion.promote_base(session, account_id, one, expected=compared_with, score=5.0)
    with database.unit_of_work() as session, pytest.raises(Conflict, match="default_base_changed"):
        promotion.promote_base(session, account_id, two, expected=compared_with, score=4.0)
    with database.unit_of_work() as session:
        assert promotion.default_base(session, account_id).id == one
        promotion.drop_default_base(session, {one})
        assert promotion.default_base(session, account_id).id == compared_with


def test_a_subject_starts_once(database):
    subject, (one, two) = add_subject(database), add_versions(database, 2)
    with database.unit_of_work() as session:
        assert promotion.start(session, subject, one)
        assert not promotion.start(session, subject, two)
    assert serving(database, subject) == (one, 0)
