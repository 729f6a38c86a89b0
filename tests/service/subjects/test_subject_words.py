"""`GET /subjects/{s}` says in plain sentences why this model serves, or what is missing."""

import pytest

from service.registry.standing import Standing
from service.registry.tables import ChampionChange, Dataset, DatasetState, Evaluation, Job, JobState, Stage, utc_now
from service.subjects.words import why
from tests.builders import add_evaluation, add_job, crown, on_sqlite

START_STAGE1 = "Nothing was trained for you yet; stage 1 comes first."
START_STAGE2 = "Stage 2 was not trained yet; it comes next."


def dataset(train: int = 10, val: int = 2, test: int = 3, **columns) -> Dataset:
    values = {"state": DatasetState.READY, "train_workouts": train, "val_workouts": val, "test_workouts": test}
    return Dataset(**values | columns)


def decision(difference=-0.4, interval=(-0.7, -0.1), workouts=12) -> dict:
    return {
        "promote": difference is not None and difference < 0,
        "difference": difference,
        "interval": list(interval) if interval else None,
        "test_workouts": workouts,
    }


def job(stage: Stage, state: JobState = JobState.SUCCEEDED, decided: dict | None = None, **columns) -> Job:
    return Job(stage=stage, state=state, result={"decision": decided} if decided else None, **columns)


def standing(stage=Stage.BASE, reason="first", decided=None, **facts) -> Standing:
    change = None if stage is None else ChampionChange(reason=reason, decision=decided)
    fields = {"before": None, "dataset": dataset(), "job": None, "rejected": None, "evaluation": None, "errors": {}}
    return Standing(**{"stage": stage, "change": change, **fields, **facts})


NOT_BETTER = job(Stage.STAGE2, decided=decision(0.2, (-0.1, 0.5)))
NEWER_STAGE1 = job(Stage.STAGE1, decided=decision(0.2, (0.1, 0.3)))
TOO_FEW = job(Stage.STAGE1, decided=decision(None, None, 2))
STORED_BEFORE = {"promote": True, "difference": -0.4, "test_workouts": 12}  # a decision without an interval

CASES = {
    "no workouts": (
        standing(None, dataset=None),
        "No model serves yet. There are no workouts; upload some.",
    ),
    "an import under way": (
        standing(None, dataset=dataset(0, 0, 0, state=DatasetState.IMPORTING)),
        "No model serves yet. The workouts are being imported.",
    ),
    "a failed import": (
        standing(None, dataset=dataset(0, 0, 0, state=DatasetState.FAILED, error_message="It holds no heart rate.")),
        "No model serves yet. The import of the workouts failed: It holds no heart rate.",
    ),
    "all workouts deleted": (
        standing(dataset=None),
        "The base model serves. There are no workouts; upload some.",
    ),
    "too few workouts": (
        standing(dataset=dataset(5, 0, 0)),
        "The base model serves. 5 workouts; 3 more are needed for a personal model; what you upload next is added.",
    ),
    "one workout too few": (
        standing(dataset=dataset(7, 0, 0)),
        "The base model serves. 7 workouts; 1 more is needed for a personal model; what you upload next is added.",
    ),
    "a split of its own with too few test workouts": (
        standing(dataset=dataset(10, 2, 2)),
        "The base model serves. 2 test workouts; 3 are needed to tell whether a personal model is better.",
    ),
    "nothing trained": (standing(), f"The base model serves. {START_STAGE1}"),
    "training": (
        standing(job=job(Stage.STAGE1, JobState.RUNNING)),
        "The base model serves. Stage 1 is being trained.",
    ),
    "waiting": (
        standing(job=job(Stage.STAGE1, JobState.QUEUED)),
        "The base model serves. Stage 1 is waiting to be trained.",
    ),
    "a failed job": (
        standing(job=job(Stage.STAGE1, JobState.FAILED, error_message="The trained model is not usable: 300 bpm.")),
        "The base model serves. The newest stage 1 failed: The trained model is not usable: 300 bpm.",
    ),
    "not better": (
        standing(job=NOT_BETTER, rejected=NOT_BETTER),
        "The base model serves because stage 2 did not beat it: its error is 0.20 bpm higher [-0.10, 0.50] on 12 test "
        "workouts; the difference could be chance.",
    ),
    "too few workouts in common": (
        standing(job=TOO_FEW, rejected=TOO_FEW),
        "The base model serves because stage 1 did not beat it: they have 2 test workouts in common, and 3 are needed "
        f"to tell. {START_STAGE2}",
    ),
    "a score is missing": (
        standing(rejected=job(Stage.STAGE2, decided=decision(None, None, 4))),
        "The base model serves because stage 2 did not beat it: an error is missing, because no test workout is long "
        "enough or a model failed on one.",
    ),
    "promoted": (
        standing(Stage.STAGE2, "promoted", decision(), before=Stage.STAGE1),
        "Stage 2 serves: it beats stage 1 by 0.40 bpm [0.10, 0.70] on 12 test workouts.",
    ),
    "promoted, perhaps by chance": (
        standing(Stage.STAGE1, "promoted", decision(-0.1, (-0.3, 0.001)), before=Stage.BASE, job=job(Stage.STAGE1)),
        "Stage 1 serves: it beats the base model by 0.10 bpm [0.00, 0.30] on 12 test workouts; the difference could be "
        f"chance. {START_STAGE2}",
    ),
    "promoted over its like, hardly": (
        standing(Stage.STAGE1, "promoted", decision(-0.001, (-0.002, -0.001)), before=Stage.STAGE1),
        "Stage 1 serves: it beats an earlier stage 1 by less than 0.01 bpm [0.00, 0.00] on 12 test workouts.",
    ),
    "promoted over what is deleted, before intervals were stored": (
        standing(Stage.STAGE2, "promoted", STORED_BEFORE),
        "Stage 2 serves: it beats the model that served before by 0.40 bpm on 12 test workouts.",
    ),
    "promoted, and a newer one was not better": (
        standing(Stage.STAGE2, "promoted", decision(), before=Stage.BASE, rejected=NOT_BETTER),
        "Stage 2 serves: it beats the base model by 0.40 bpm [0.10, 0.70] on 12 test workouts. A newer stage 2 did not "
        "beat it: its error is 0.20 bpm higher [-0.10, 0.50] on 12 test workouts; the difference could be chance.",
    ),
    "promoted by hand": (
        standing(Stage.STAGE2, "manual", decision(), before=Stage.STAGE1),
        "Stage 2 serves because it was promoted by hand: it beats stage 1 by 0.40 bpm [0.10, 0.70] on 12 test workouts.",
    ),
    "forced": (
        standing(Stage.STAGE2, "forced", decision(0.5, (0.2, 0.9)), before=Stage.STAGE1),
        "Stage 2 serves because it was promoted by force over stage 1: its error is 0.50 bpm higher [0.20, 0.90] on 12 "
        "test workouts.",
    ),
    "forced without evidence": (
        standing(Stage.STAGE2, "forced", {"promote": False}, before=Stage.STAGE1),
        "Stage 2 serves because it was promoted by force over stage 1: the two were not scored on the same test workouts.",
    ),
    "rolled back": (
        standing(Stage.STAGE1, "rollback", before=Stage.STAGE2),
        "Stage 1 serves because stage 2 was rolled back.",
    ),
    "rolled back to the base": (
        standing(reason="rollback", before=Stage.STAGE1),
        "The base model serves because stage 1 was rolled back.",
    ),
    "stage 2 serves, and a newer stage 1 did not beat it": (
        standing(Stage.STAGE2, "promoted", decision(), before=Stage.STAGE1, job=NEWER_STAGE1, rejected=NEWER_STAGE1),
        "Stage 2 serves: it beats stage 1 by 0.40 bpm [0.10, 0.70] on 12 test workouts. Stage 1 did not beat it: its "
        "error is 0.20 bpm higher [0.10, 0.30] on 12 test workouts.",
    ),
    "the base forced over a trained stage 1": (
        standing(reason="forced", decided=decision(0.2, (0.1, 0.3)), before=Stage.STAGE1, job=job(Stage.STAGE1)),
        "The base model serves because it was promoted by force over stage 1: its error is 0.20 bpm higher "
        f"[0.10, 0.30] on 12 test workouts. {START_STAGE2}",
    ),
    "fallen back after a deletion, with a stage 1 left": (
        standing(reason="deleted", job=job(Stage.STAGE1)),
        f"The base model serves because the model that served before was deleted with its data. {START_STAGE2}",
    ),
    "a cancelled job": (standing(job=job(Stage.STAGE1, JobState.CANCELLED)), f"The base model serves. {START_STAGE1}"),
    "fallen back after a deletion": (
        standing(reason="deleted"),
        f"The base model serves because the model that served before was deleted with its data. {START_STAGE1}",
    ),
}


@pytest.mark.parametrize(("facts", "words"), CASES.values(), ids=CASES)
def test_the_words_fit_the_case(facts, words):
    assert why(facts) == words


def test_the_errors_of_all_candidates_and_of_guessing_the_mean_are_named():
    report = {
        "test_workouts": 12,
        "protocols": {"P1": {"mean": {"mae": 5.33}}},
        "baselines": {"training_mean": {"P1": {"mae": 10.47}}},
    }
    errors = {Stage.STAGE2: 5.2, Stage.BASE: 7.1, Stage.STAGE1: 5.6}
    words = why(
        standing(Stage.STAGE1, "rollback", before=Stage.STAGE2, evaluation=Evaluation(report=report), errors=errors)
    )
    assert words == (
        "Stage 1 serves because stage 2 was rolled back. "
        "Errors on 12 test workouts: the base model 7.10, stage 1 5.60, stage 2 5.20 bpm. "
        "With no heart rate known it is off by 5.3 bpm on your test workouts; always guessing your mean would be off "
        "by 10.5."
    )


def words_of(client, subject: str = "me") -> str:
    return client.get(f"/subjects/{subject}").json()["why"]


def reject(database, dataset, version, champion, difference: float, **columns) -> None:
    """A stage-2 job whose version did not beat the champion."""
    result = {
        "model_version_id": str(version.id),
        "decision": {**decision(difference), "champion_id": str(champion.id)},
    }
    add_job(database, dataset, Stage.STAGE2, state=JobState.SUCCEEDED, finished_at=utc_now(), result=result, **columns)


def test_a_persons_story_in_words(client, database, make_dataset, make_version):
    base, dataset = make_version(), make_dataset()
    crown(database, dataset.subject_id, base)
    add_evaluation(database, base, dataset, 8.0)
    assert words_of(client).startswith("The base model serves. With no heart rate known it is off by 8.0 bpm")
    first, second = make_version(dataset, seed=1), make_version(dataset, Stage.STAGE2, seed=2, parent_id=None)
    add_evaluation(database, first, dataset, 5.0)
    add_evaluation(database, second, dataset, 5.5)
    client.post(f"/models/{first.id}/promote")
    errors = "Errors on 5 test workouts: the base model 8.00, stage 1 5.00, stage 2 5.50 bpm."
    by_hand = "because it was promoted by hand: it beats the base model by 3.00 bpm [3.00, 3.00] on 5 test workouts."
    assert words_of(client).startswith(
        f"Stage 1 serves {by_hand} {errors} With no heart rate known it is off by 5.0 bpm"
    )
    reject(database, dataset, second, first, 0.5)
    assert "Stage 2 did not beat it: its error is 0.50 bpm higher" in words_of(client)
    client.post(f"/models/{second.id}/promote", json={"force": True})
    assert words_of(client).startswith(
        "Stage 2 serves because it was promoted by force over stage 1: its error is 0.50"
    )
    client.post("/subjects/me/champion/rollback")
    assert words_of(client).startswith("Stage 1 serves because stage 2 was rolled back. Stage 2 did not beat it")
    client.delete(f"/datasets/{dataset.id}")
    assert words_of(client) == (
        "The base model serves because the model that served before was deleted with its data. "
        "There are no workouts; upload some."
    )


@on_sqlite
def test_the_words_are_about_workouts_that_can_be_trained_on_and_nobody_elses(
    client, stranger, database, make_dataset, make_version
):
    base, other = make_version(), make_dataset(account="stranger")
    add_evaluation(database, base, other, 9.0)
    add_evaluation(database, make_version(other, seed=3), other, 1.0)
    few = {"train_workouts": 5, "val_workouts": 0, "test_workouts": 0}
    dataset = make_dataset(**few)
    crown(database, dataset.subject_id, base)
    assert words_of(client) == (
        "The base model serves. 5 workouts; 3 more are needed for a personal model; what you upload next is added."
    )
    make_dataset()
    make_dataset(**few)
    assert words_of(client) == f"The base model serves. {START_STAGE1}"
    assert "5 workouts" not in words_of(stranger)


@on_sqlite
def test_the_list_has_no_words_and_costs_the_same_whatever_its_length(
    client, database, count_queries, make_dataset, make_version
):
    base = make_version()
    for name in ("a", "b", "c"):
        crown(database, make_dataset(subject=name).subject_id, base)
    items = client.get("/subjects").json()["items"]
    assert all("why" not in item for item in items)
    assert count_queries(lambda: client.get("/subjects?limit=1")) == count_queries(lambda: client.get("/subjects"))
