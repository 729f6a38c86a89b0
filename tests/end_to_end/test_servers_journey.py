"""The main job on PostgreSQL and Valkey servers, as on many machines."""

import psycopg
import pytest

from service.local.background import running
from tests import servers
from tests.end_to_end.journey import broken_promises, show, travel
from tests.shared_data import personal_parquet


@pytest.mark.slow
def test_the_same_on_postgresql_with_a_broker_on_the_network(postgresql_url, tmp_path):
    data = personal_parquet()
    with psycopg.connect(f"{postgresql_url}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE journey")
    (tmp_path / "broker").mkdir()
    with (
        servers.valkey(tmp_path / "broker") as broker,
        running(tmp_path / "state", DATABASE_URL=f"{postgresql_url}/journey", BROKER_URL=broker) as service,
    ):
        result = travel(service.url, service.key, data, "p004")
    show(result)
    assert broken_promises(result) == []
    assert not (tmp_path / "state" / "stagewise.sqlite3").exists()
    assert not (tmp_path / "state" / "logs" / "broker.log").exists()
