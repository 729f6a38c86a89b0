"""Fifty people's predictions at once, right for each; and they go on while PostgreSQL and the broker are gone."""

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

import numpy as np
import pytest

from service.registry.artifacts import ArtifactStore
from service.registry.session import Database
from tests import builders, servers
from tests.end_to_end.api_process import ApiProcess, running_api
from tests.end_to_end.raw_http import Connection, Header, request

pytestmark = pytest.mark.slow
PEOPLE, CLIENTS = 50, 16
SLOWEST_SECONDS = 3.0  # 3 times what a request may wait for a database that hangs, and some


def predict(
    api: ApiProcess, subject: str, samples: int = 40, connection: Connection | None = None
) -> tuple[int, dict, float]:
    """Status, answer, seconds; through a new connection unless one is given."""
    content = json.dumps({"subject": subject, "speed": [2.5 + 0.01 * (i % 30) for i in range(samples)]}).encode()
    headers: list[Header] = [("Host", "localhost"), ("Authorization", f"Bearer {api.key}")]
    headers += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    started = time.perf_counter()
    with nullcontext(connection) if connection else closing(Connection(api.port)) as used:
        answer = used.send(request("POST", "/predict", headers, content))
    return answer.status, json.loads(answer.body), time.perf_counter() - started


def add_people(url: str, store: ArtifactStore) -> None:
    """People of the default account, each with a model of their own."""
    database = Database(url)
    for number in range(PEOPLE):
        dataset = builders.add_ready(database, subject=f"p{number}")
        version = builders.add_version(database, store, dataset, seed=number)
        builders.crown(database, dataset.subject_id, version)
    database.dispose()


def ask_every_process(api: ApiProcess, names: list[str]) -> None:
    """Each process remembers the people for whom it was asked: new connections are spread over all of them."""
    with ExitStack() as opened:
        connections = [opened.enter_context(closing(Connection(api.port))) for _ in range(8)]
        for connection in connections:
            assert connection.send(request("GET", "/healthz", [("Host", "localhost")], b"")).status == 200
        for connection in connections:
            for name in names:
                assert predict(api, name, connection=connection)[0] == 200


def test_predictions_are_everyones_own_and_go_on_without_the_database_and_the_broker(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="stagewise-postgresql-") as data,
        servers.postgresql_server(Path(data)) as postgresql,
        servers.valkey_server(tmp_path) as valkey,
        running_api(
            tmp_path,
            database_url_setting=postgresql.url.replace("postgresql://", "postgresql+psycopg://") + "/postgres",
            broker_url_setting=valkey.url,
        ) as api,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        add_people(f"{postgresql.url}/postgres", ArtifactStore(tmp_path / "artifacts"))
        names = [f"p{number}" for number in range(PEOPLE)]
        alone = {name: predict(api, name)[1]["heart_rate"] for name in names}
        assert len({tuple(answer) for answer in alone.values()}) == PEOPLE
        everybody = [name for _ in range(4) for name in names]
        for name, (status, answer, _) in zip(everybody, clients.map(lambda n: predict(api, n), everybody), strict=True):
            assert status == 200
            np.testing.assert_allclose(answer["heart_rate"], alone[name], atol=0.011)  # answers have two digits

        ask_every_process(api, names)
        postgresql.kill()
        valkey.kill()
        for _ in range(3):
            time.sleep(1.0)
            answers = list(clients.map(lambda n: predict(api, n), everybody))
            assert {status for status, _, _ in answers} == {200}
            assert max(seconds for _, _, seconds in answers) < SLOWEST_SECONDS
        status, answer, _ = predict(api, "nobody")
        assert (status, answer["code"]) == (503, "database_unavailable")
