"""Promotion is one compare-and-swap; rolling back walks the history."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import func, select

from service.errors import Conflict
from service.registry import champions
from service.registry.session import Database
from service.registry.tables import ChampionChange, ModelVersion, Stage
from tests import registry_builders as builders


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
        champion = champions.require(session, subject_id)
        return champion.model_version_id, champion.revision


def promote(database: Database, subject_id: UUID, version: UUID, expected: int) -> None:
    with database.unit_of_work() as session:
        champions.promote(session, subject_id, version, reason="promoted", expected_revision=expected)


def test_of_twenty_promotions_at_once_one_wins_and_the_others_are_told(database):
    subject, versions = add_subject(database), add_versions(database, 21)
    with database.unit_of_work() as session:
        assert champions.start(session, subject, versions[0])

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


def test_rolling_back_twice_goes_two_versions_back_and_then_there_is_nothing(database):
    subject, (base, first, second) = add_subject(database), add_versions(database, 3)
    with database.unit_of_work() as session:
        champions.start(session, subject, base)
    promote(database, subject, first, 0)
    promote(database, subject, second, 1)
    for expected in (first, base):
        with database.unit_of_work() as session:
            champions.rollback(session, subject)
        assert serving(database, subject)[0] == expected
    with database.unit_of_work() as session, pytest.raises(Conflict, match="nothing_to_roll_back"):
        champions.rollback(session, subject)


def test_a_subject_starts_once(database):
    subject, (one, two) = add_subject(database), add_versions(database, 2)
    with database.unit_of_work() as session:
        assert champions.start(session, subject, one)
        assert not champions.start(session, subject, two)
    assert serving(database, subject) == (one, 0)
