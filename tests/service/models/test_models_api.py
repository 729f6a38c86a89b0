"""Model versions over HTTP: shown, downloaded, promoted only when better."""

import numpy as np
import onnxruntime
import pytest
import torch

from hrmodel.network.architectures import ARCHITECTURES, build_network
from hrmodel.network.checkpoint import Checkpoint
from hrmodel.network.config import NetworkConfig
from service.registry.tables import Stage
from tests.builders import add_evaluation, add_population, crown, on_sqlite
from tests.network_builders import HeartRateGRU
from tests.prediction_builders import make_checkpoint

pytestmark = on_sqlite


@pytest.fixture
def rivals(database, make_dataset, make_version):
    """The shipped base as champion with 8 bpm, and a stage 1 of the same person; the latter's score is added later."""
    base, dataset = make_version(), make_dataset()
    candidate = make_version(dataset, seed=1)
    crown(database, dataset.subject_id, base)
    add_evaluation(database, base, dataset, 8.0)
    return base, candidate, dataset


def test_a_version_shows_where_it_comes_from_and_how_good_it_is(client, database, rivals):
    base, candidate, dataset = rivals
    add_evaluation(database, candidate, dataset, 5.0)
    shown = client.get(f"/models/{candidate.id}").json()
    assert (shown["stage"], shown["subject"], shown["dataset_id"]) == ("stage1", "me", str(dataset.id))
    assert (shown["score"], shown["champion"], shown["shipped"]) == (5.0, False, False)
    assert client.get(f"/models/{base.id}").json()["shipped"] is True


def test_the_list_shows_own_versions_and_the_shipped_base(client, rivals, make_dataset, make_version):
    base, candidate, dataset = rivals
    other = make_version(make_dataset(subject="other"), Stage.STAGE2)
    ids = [item["id"] for item in client.get("/models").json()["items"]]
    assert ids == [str(other.id), str(candidate.id), str(base.id)]
    for query, expected in (("subject=other", other), ("stage=base", base), (f"dataset_id={dataset.id}", candidate)):
        assert [item["id"] for item in client.get(f"/models?{query}").json()["items"]] == [str(expected.id)], query


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_of_a_list_are_the_whole_list_with_the_shipped_base_in_its_place(
    client, stranger, make_dataset, make_version, limit
):
    dataset = make_dataset()
    versions = [make_version(dataset, seed=1), make_version(), *(make_version(dataset, seed=n) for n in (2, 3, 4))]
    make_version(make_dataset("stranger"))
    seen, cursor = [], None
    while len(seen) <= len(versions):
        page = client.get("/models", params={"limit": limit, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [str(version.id) for version in reversed(versions)]
    assert len(stranger.get("/models").json()["items"]) == 2


def test_a_long_list_costs_a_constant_number_of_queries(client, count_queries, make_dataset, make_version):
    dataset = make_dataset()
    for seed in range(4):
        make_version(dataset, seed=seed)
    client.get("/models")
    assert count_queries(lambda: client.get("/models?limit=1")) == count_queries(lambda: client.get("/models?limit=4"))


@pytest.mark.parametrize(("form", "column"), [("safetensors", "sha256"), ("pt", "pt_sha256")])
def test_a_download_is_the_stored_file_under_a_good_name(client, store, make_dataset, make_version, form, column):
    version = make_version(make_dataset(subject="Ünï"))
    response = client.get(f"/models/{version.id}/download?format={form}")
    assert response.content == store.read(version.account_id, getattr(version, column))
    assert f"-stage1-{version.id.hex[:8]}.{form}" in response.headers["Content-Disposition"]
    if form == "safetensors":
        assert Checkpoint.from_bytes(response.content).stage == "stage1"


def test_a_download_as_onnx_computes_what_the_stored_version_computes(client, store, make_dataset, make_version):
    version = make_version(make_dataset(subject="Ünï"))
    path = f"/models/{version.id}/download?format=onnx"
    response = client.get(path)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/octet-stream")
    assert response.headers["Content-Disposition"].endswith(f"-stage1-{version.id.hex[:8]}.onnx")
    assert client.get(path).headers["ETag"] == response.headers["ETag"]
    model = Checkpoint.from_bytes(store.read(version.account_id, version.sha256)).build()
    inputs = np.random.default_rng(0).normal(size=(2, 50, 3)).astype(np.float32)
    zeros = np.zeros((2, 2, 8), np.float32)
    session = onnxruntime.InferenceSession(response.content)
    outputs, *_ = session.run(None, {"inputs": inputs, "hidden": zeros, "cell": zeros})
    np.testing.assert_allclose(outputs, model(torch.from_numpy(inputs)).detach(), atol=1e-4)


def test_onnx_of_another_network_than_the_lstm_is_refused_with_what_else_there_is(
    client, store, make_dataset, make_version, monkeypatch
):
    monkeypatch.setitem(ARCHITECTURES, "gru", HeartRateGRU)
    network = build_network(NetworkConfig(architecture="gru", hidden_size=8))
    data = make_checkpoint(network=network.config, weights=network.state_dict()).to_bytes()
    dataset = make_dataset()
    version = make_version(dataset, sha256=store.put(dataset.account_id, data))
    response = client.get(f"/models/{version.id}/download?format=onnx")
    assert (response.status_code, response.json()["code"]) == (409, "no_onnx")
    assert response.json()["detail"].endswith("not 'gru'; download the checkpoint as safetensors or pt.")


@pytest.mark.parametrize("subject", ["me", "Ünï"])
def test_every_format_has_the_same_headers(client, make_dataset, make_version, subject):
    version = make_version(make_dataset(subject=subject))
    names = ("content-type", "content-disposition", "x-content-type-options", "cache-control")

    def said(form):
        answer = client.get(f"/models/{version.id}/download?format={form}")
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        return [answer.headers.get(name, "").replace(form, "") for name in names]

    assert said("safetensors") == said("pt") == said("onnx")


def test_every_format_that_a_model_names_can_be_downloaded(client, rivals):
    for version in rivals[:2]:
        formats = client.get(f"/models/{version.id}").json()["formats"]
        answers = {form: client.get(f"/models/{version.id}/download?format={form}") for form in formats}
        assert {form: answer.status_code for form, answer in answers.items()} == dict.fromkeys(formats, 200)
        assert len({answer.headers["ETag"] for answer in answers.values()}) == len(formats)


def test_another_format_names_those_that_exist(client, rivals):
    response = client.get(f"/models/{rivals[1].id}/download?format=h5")
    error = response.json()["errors"][0]
    assert (response.status_code, error["pointer"]) == (422, "?format")
    assert all(form in error["message"] for form in client.get(f"/models/{rivals[1].id}").json()["formats"])


@pytest.mark.parametrize("form", ["safetensors", "onnx"])
def test_a_missing_file_is_a_503(client, store, rivals, form):
    version = rivals[1]
    store.delete(version.account_id, version.sha256)
    response = client.get(f"/models/{version.id}/download?format={form}")
    assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")


def test_a_better_version_is_promoted(client, database, rivals):
    _, candidate, dataset = rivals
    add_evaluation(database, candidate, dataset, 5.0)
    champion = client.post(f"/models/{candidate.id}/promote").json()
    assert (champion["model_version_id"], champion["revision"]) == (str(candidate.id), 1)
    assert (champion["evaluation"]["score"], champion["base"]["score"]) == (5.0, 8.0)
    assert (champion["reason"], champion["decision"]["difference"]) == ("manual", -3.0)
    change = client.get("/subjects/me/champion/history").json()["items"][0]
    assert (change["reason"], change["decision"]["difference"]) == ("manual", -3.0)
    response = client.post(f"/models/{candidate.id}/promote")
    assert (response.status_code, response.json()["code"]) == (409, "already_champion")


def test_a_version_that_is_not_better_needs_force_and_that_is_recorded(client, database, rivals):
    base, candidate, dataset = rivals
    add_evaluation(database, candidate, dataset, 8.5)
    response = client.post(f"/models/{candidate.id}/promote", json={"force": False})
    assert (response.status_code, response.json()["code"]) == (409, "not_better")
    assert client.get("/subjects/me/champion").json()["model_version_id"] == str(base.id)
    assert client.post(f"/models/{candidate.id}/promote", json={"force": True}).status_code == 200
    change = client.get("/subjects/me/champion/history").json()["items"][0]
    assert (change["reason"], change["decision"]["promote"]) == ("forced", False)


def test_without_common_test_workouts_nothing_is_promoted(client, rivals):
    response = client.post(f"/models/{rivals[1].id}/promote")
    assert (response.status_code, response.json()["code"]) == (409, "not_better")


def test_a_base_is_nobodys_champion_to_promote(client, database, rivals, make_version):
    own_base = make_version(add_population(database), Stage.BASE)
    for version in (rivals[0], own_base):
        response = client.post(f"/models/{version.id}/promote")
        assert (response.status_code, response.json()["code"]) == (409, "not_personal")


def test_a_damaged_file_is_not_promoted_even_by_force(client, store, rivals):
    base, candidate, _ = rivals
    store.path(candidate.account_id, candidate.sha256).write_bytes(b"damaged")
    response = client.post(f"/models/{candidate.id}/promote", json={"force": True})
    assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
    assert client.get("/subjects/me/champion").json()["model_version_id"] == str(base.id)


def test_a_version_that_predicts_nonsense_is_not_promoted(client, rivals, monkeypatch):
    def nonsense(_):
        raise ValueError("the golden workout's heart rate must be finite and inside 25..240, not nan")

    monkeypatch.setattr("service.predict.cache.golden_check", nonsense)
    response = client.post(f"/models/{rivals[1].id}/promote", json={"force": True})
    assert (response.status_code, response.json()["code"]) == (409, "failed_golden_check")


def test_an_evaluation_is_shown_by_dataset(client, database, rivals, make_dataset):
    base, _, dataset = rivals
    newer = make_dataset()
    add_evaluation(database, base, newer, 7.0)
    assert client.get(f"/models/{base.id}/evaluation").json()["score"] == 7.0
    shown = client.get(f"/models/{base.id}/evaluation?dataset_id={dataset.id}").json()
    assert (shown["score"], shown["report"]["protocols"]["P1"]["mean"]["mae"]) == (8.0, 8.0)


def test_a_version_that_was_not_scored_has_no_evaluation(client, rivals):
    response = client.get(f"/models/{rivals[1].id}/evaluation")
    assert (response.status_code, response.json()["code"]) == (404, "no_evaluation")
