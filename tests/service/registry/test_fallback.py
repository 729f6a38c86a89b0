"""The file of a version that serves is deleted or damaged by hand: others serve, it is recorded, and nothing stops."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from service.predict.cache import ModelCache
from service.registry import fallback, promotion
from service.registry.session import Database
from service.registry.tables import DefaultBase, Stage
from tests import builders
from tests.builders import history_of

BODY = {"subject": "me", "speed": [2.5] * 30}


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


LOSSES = {
    "deleted": lambda path: path.unlink(),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "bit": flip,
}


@pytest.fixture
def served(database, store, make_dataset, make_version):
    """The subject `me` with base, stage 1 and stage 2, which serves."""
    dataset, base = make_dataset(), make_version(seed=1)
    first, second = make_version(dataset, seed=2), make_version(dataset, Stage.STAGE2, seed=3)
    builders.crown(database, dataset.subject_id, base, first, second)
    return dataset.subject_id, base, first, second


def lose(store, version, how="deleted"):
    LOSSES[how](store.path(version.account_id, version.sha256))


def serving(database: Database, subject_id):
    with database.reading() as session:
        return promotion.require(session, subject_id).model_version_id


@pytest.mark.parametrize("how", LOSSES)
def test_predict_answers_with_the_version_before_and_the_subject_says_why(client, database, store, served, how):
    subject_id, _, first, second = served
    lose(store, second, how)
    answer = client.post("/predict", json=BODY)
    assert answer.status_code == 200
    assert answer.json()["model"]["version_id"] == str(first.id)
    assert history_of(database, subject_id)[-1] == ("damaged", first.id)
    assert (
        client.get("/subjects/me")
        .json()["why"]
        .startswith("Stage 1 serves because the file of stage 2 is missing or damaged; train it again.")
    )
    decision = client.get("/subjects/me/champion").json()["decision"]
    assert decision == {"lost_model_version_id": str(second.id)}
    assert client.post("/predict/plan", json={"subject": "me", "distance": [0, 5000], "heart_rate_cap": 150}).is_success


@builders.on_sqlite
def test_when_all_personal_files_are_lost_the_base_serves_and_nothing_can_be_rolled_back(
    client, database, store, served
):
    subject_id, base, first, second = served
    lose(store, first)
    lose(store, second)
    assert client.post("/predict/batch", json={"requests": [BODY]}).is_success
    assert serving(database, subject_id) == base.id
    refused = client.post("/subjects/me/champion/rollback")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_roll_back")


@builders.on_sqlite
def test_with_no_file_left_at_all_nobody_is_demoted_because_the_folder_may_come_back(client, database, store, served):
    subject_id, *versions = served
    moved = store.root.with_name("elsewhere")
    store.root.rename(moved)
    refused = client.post("/predict", json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (503, "model_unavailable")
    assert serving(database, subject_id) == versions[-1].id
    moved.rename(store.root)
    assert client.post("/predict", json=BODY).json()["model"]["version_id"] == str(versions[-1].id)


@builders.on_sqlite
def test_an_error_of_the_disk_that_may_pass_demotes_nobody(client, database, store, served, monkeypatch):
    subject_id, *_, second = served
    real = store.read

    def unreadable(account_id, sha256):
        if sha256 == second.sha256:
            raise OSError(5, "Input/output error")
        return real(account_id, sha256)

    monkeypatch.setattr(store, "read", unreadable)
    assert client.post("/predict", json=BODY).status_code == 503
    assert serving(database, subject_id) == second.id


@builders.on_sqlite
def test_a_version_that_was_asked_for_by_its_id_is_not_replaced_by_another(client, database, store, served):
    subject_id, *_, second = served
    lose(store, second)
    assert client.post("/predict", json={**BODY, "model_version_id": str(second.id)}).status_code == 503
    assert serving(database, subject_id) == second.id


def test_a_lost_default_base_gives_way_to_the_shipped_one_for_the_whole_account(
    client, database, store, make_version, make_dataset
):
    shipped, dataset = make_version(seed=1), make_dataset()
    population = builders.add_population(database)
    own = make_version(population, Stage.BASE, seed=2)
    builders.crown(database, dataset.subject_id, own)
    builders.make_default(database, own)
    lose(store, own)
    assert client.post("/predict", json={"speed": [2.5] * 30}).json()["model"]["version_id"] == str(shipped.id)
    assert serving(database, dataset.subject_id) == shipped.id
    with database.reading() as session:
        assert session.scalars(select(DefaultBase)).all() == []


@builders.on_sqlite
def test_the_shipped_base_that_is_lost_says_what_stores_it_again(client, store, make_version):
    lose(store, make_version())
    refused = client.post("/predict", json={"speed": [2.5] * 30})
    assert (refused.status_code, "run `stagewise migrate`" in refused.json()["detail"]) == (503, True)


def test_twenty_that_notice_at_once_record_it_once(database, store, served):
    subject_id, _, first, second = served
    lose(store, second)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: fallback.replace_lost(database, store, second), range(20)))
    assert [reason for reason, _ in history_of(database, subject_id)].count("damaged") == 1
    assert serving(database, subject_id) == first.id


@builders.on_sqlite
def test_a_version_in_memory_goes_on_serving(database, store, served):
    *_, second = served
    cache = ModelCache(store)
    before = cache.get(second)
    lose(store, second)
    assert cache.get(second) is before


@builders.on_sqlite
def test_two_subjects_on_one_lost_base_both_fall_back(database, store, make_version, make_dataset):
    one, other = (make_dataset(subject=name) for name in ("one", "other"))
    shipped, own = make_version(seed=1), make_version(builders.add_population(database), Stage.BASE, seed=2)
    for dataset in (one, other):
        builders.crown(database, dataset.subject_id, own)
    lose(store, own)
    assert fallback.replace_lost(database, store, own)
    with database.reading() as session:
        served = [promotion.require(session, each.subject_id).model_version_id for each in (one, other)]
    assert served == [shipped.id] * 2
