"""Rows for tests; every builder takes overrides."""

from typing import Any

from sqlalchemy import select

from service.registry.session import Database
from service.registry.tables import Account, Dataset, DatasetKind, DatasetState, Subject


def add_account(database: Database, name: str = "default") -> Account:
    """The account of that name, made if it is not there."""
    with database.unit_of_work() as session:
        account = session.scalar(select(Account).where(Account.name == name))
        if account is None:
            account = Account(name=name)
            session.add(account)
        return account


def add_subject(database: Database, account: str = "default", name: str = "me") -> Subject:
    """The account's subject of that name, made if it is not there."""
    owner = add_account(database, account)
    with database.unit_of_work() as session:
        subject = session.scalar(select(Subject).where(Subject.account_id == owner.id, Subject.name == name))
        if subject is None:
            subject = Subject(account_id=owner.id, name=name)
            session.add(subject)
        return subject


def add_dataset(database: Database, account: str = "default", subject: str = "me", **columns: Any) -> Dataset:
    """A ready personal dataset without workouts."""
    person = add_subject(database, account, subject)
    values = {
        "account_id": person.account_id,
        "subject_id": person.id,
        "kind": DatasetKind.PERSONAL,
        "state": DatasetState.READY,
        "min_hr_per_minute": 6.0,
        "upload_sha256": "0" * 64,
        "upload_size": 1,
        **columns,
    }
    with database.unit_of_work() as session:
        dataset = Dataset(**values)
        session.add(dataset)
        return dataset
