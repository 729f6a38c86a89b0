"""The main job through the API of an embedded service: SQLite and a Valkey server of its own."""

import pytest

from service.local.background import running
from tests.end_to_end.journey import broken_promises, show, travel
from tests.shared_data import personal_parquet


@pytest.mark.slow
def test_a_person_gets_a_better_model_than_the_easy_ones(tmp_path):
    data = personal_parquet()
    with running(tmp_path) as service:
        result = travel(service.url, service.key, data, "p004")
    show(result)
    assert broken_promises(result) == []
