"""A Python client of the API: one method for each of its operations, under the name that /docs gives it.

    from service.client import Client

    with Client("http://127.0.0.1:8000", key) as api:
        dataset = api.upload_dataset(Path("export.zip"), subject="me")
        api.wait(dataset["job_id"])
        job = api.submit_stage1_job(dataset["id"])
        for number, name, content in api.watch(job["id"]):
            ...
        answer = api.predict(speed=[2.5] * 60, subject="me")

Answers are dictionaries with the types of `service.client.types`. Every method raises RequestFailed with the API's own
sentence. Reading, and making something, is tried again when the API does not answer or is busy; what makes something is
made once.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from service.client.http import Http, Json, NoAnswer, RequestFailed
from service.client.types import (
    ChampionJson,
    ChangeJson,
    DatasetJson,
    DatasetReportJson,
    EvaluationJson,
    EventJson,
    JobJson,
    JobMetricsJson,
    ModelJson,
    PlanJson,
    PredictionJson,
    ReviewJson,
    SubjectJson,
    SubjectOutlineJson,
    UploadJson,
)

__all__ = ["Client", "JobFailed", "Json", "NoAnswer", "RequestFailed"]
POLL_SECONDS = 0.3
TERMINAL = ("succeeded", "failed", "cancelled")
Row = Sequence[float | None]


class JobFailed(RequestFailed):
    """A job ended without success."""


class Client(Http):
    """Calls one API with one key."""

    # -- workouts --

    def upload_dataset(
        self,
        file: Path,
        *,
        on_sent: Callable[[int], None] = lambda _: None,
        subject: str | None = None,
        name: str | None = None,
        kind: str | None = None,
        min_hr_per_minute: float | None = None,
        speed_unit: str | None = None,
        altitude_unit: str | None = None,
        sport: str | None = None,
    ) -> UploadJson:
        """Send a file of any known format; `on_sent` is told how many bytes have gone."""
        query = {"subject": subject, "name": name, "kind": kind, "min_hr_per_minute": min_hr_per_minute}
        query |= {"speed_unit": speed_unit, "altitude_unit": altitude_unit, "sport": sport}
        return cast(UploadJson, self.send_file("/datasets", file, on_sent, query))

    def list_datasets(self, *, subject: str | None = None) -> Iterator[DatasetJson]:
        """All uploads, newest first."""
        return cast(Iterator[DatasetJson], self.pages("/datasets", subject=subject))

    def get_dataset(self, dataset_id: str) -> DatasetJson:
        """One upload."""
        return cast(DatasetJson, self.get(f"/datasets/{dataset_id}"))

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete an upload and everything that came from it."""
        self.delete(f"/datasets/{dataset_id}")

    def get_dataset_report(self, dataset_id: str, *, limit: int = 1000) -> DatasetReportJson:
        """The verdict on each listed file and workout, fetched `limit` of each at a time."""
        path = f"/datasets/{dataset_id}/report"
        report = page = self.get(path, limit=limit, file_limit=limit)
        while page["next_after"] is not None:
            page = self.get(path, limit=limit, after=page["next_after"], file_limit=0)
            report["workouts"] += page["workouts"]
        file_after = report["next_file_after"]
        while file_after is not None:
            page = self.get(path, limit=1, file_limit=limit, file_after=file_after)
            report["files"] += page["files"]
            file_after = page["next_file_after"]
        return cast(DatasetReportJson, report | {"next_after": None, "next_file_after": None})

    def get_dataset_picture(self, dataset_id: str) -> bytes:
        """The report as PNG."""
        return self.get_bytes(f"/datasets/{dataset_id}/report.png")

    # -- training --

    def submit_base_job(self, dataset_id: str, **settings: Any) -> JobJson:
        """Train a base model. `settings`: recipe, hyperparameters."""
        return self.submit_stage("base", dataset_id, **settings)

    def submit_stage(self, stage: str, dataset_id: str, **settings: Any) -> JobJson:
        """Train a stage by its name: base, stage1, stage2. `settings`: recipe, hyperparameters."""
        return cast(JobJson, self.create(f"/jobs/{stage}", {"dataset_id": dataset_id, **settings}))

    def submit_stage1_job(self, dataset_id: str, **settings: Any) -> JobJson:
        """Train stage 1. `settings`: base_model_version_id, recipe, hyperparameters."""
        return self.submit_stage("stage1", dataset_id, **settings)

    def submit_stage2_job(self, dataset_id: str, **settings: Any) -> JobJson:
        """Train stage 2. `settings`: stage1_model_version_id, recipe, hyperparameters."""
        return self.submit_stage("stage2", dataset_id, **settings)

    def submit_fleet(self, **body: Any) -> JobJson:
        """Personalise many people: `subjects="all"`, or dataset_ids; stages, recipe, hyperparameters."""
        return cast(JobJson, self.create("/jobs/fleet", body))

    def list_jobs(
        self,
        *,
        subject: str | None = None,
        dataset_id: str | None = None,
        parent_id: str | None = None,
        stage: str | None = None,
        state: str | None = None,
    ) -> Iterator[JobJson]:
        """All jobs, newest first."""
        query = {"subject": subject, "dataset_id": dataset_id, "parent_id": parent_id, "stage": stage, "state": state}
        return cast(Iterator[JobJson], self.pages("/jobs", **query))

    def get_job(self, job_id: str) -> JobJson:
        """One job."""
        return cast(JobJson, self.get(f"/jobs/{job_id}"))

    def get_job_metrics(self, job_id: str) -> JobMetricsJson:
        """Its epochs so far, and its evaluation once it has succeeded."""
        return cast(JobMetricsJson, self.get(f"/jobs/{job_id}/metrics"))

    def get_job_history(self, job_id: str) -> Json:
        """The epochs as training_history.json had them."""
        return self.get(f"/jobs/{job_id}/history.json")

    def get_job_curves(self, job_id: str) -> bytes:
        """Losses and learning rate as PNG."""
        return self.get_bytes(f"/jobs/{job_id}/curves.png")

    def get_job_evaluation_picture(self, job_id: str) -> bytes:
        """The evaluation as PNG."""
        return self.get_bytes(f"/jobs/{job_id}/evaluation.png")

    def get_job_events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[EventJson]:
        """Its events after number `after`."""
        return cast(list[EventJson], self.get(f"/jobs/{job_id}/events", after=after, limit=limit)["events"])

    def get_job_log(self, job_id: str, *, after: int = 0, limit: int = 10_000) -> str:
        """Its log as text."""
        return self.get_bytes(f"/jobs/{job_id}/log", after=after, limit=limit).decode()

    def cancel_job(self, job_id: str) -> JobJson:
        """Stop it: a queued one now, a running one at its next batch."""
        return cast(JobJson, self.post(f"/jobs/{job_id}/cancel", {}))

    def retry_job(self, job_id: str) -> JobJson:
        """Do a failed or cancelled one again, as a new job."""
        return cast(JobJson, self.create(f"/jobs/{job_id}/retry"))

    def watch(self, job_id: str, *, after: int = 0) -> Iterator[tuple[int | None, str, Json]]:
        """Follow a job live until it ends: number, name and content of each event, each once and in order.

        Messages named `progress` have no number and hold the Job. A connection that breaks is made again, also while
        the API starts anew.
        """
        for message in self.stream(f"/jobs/{job_id}/events", after):
            yield message
            if message[1] in TERMINAL:
                return

    def wait(self, job_id: str, on_progress: Callable[[JobJson], None] = lambda _: None) -> JobJson:
        """Ask until the job has ended; `on_progress` sees each answer. Raises JobFailed unless it succeeded."""
        while True:
            job = self.get_job(job_id)
            on_progress(job)
            if job["state"] == "succeeded":
                return job
            if job["state"] in TERMINAL:
                why = f": {job['error']['message']}" if job["error"] else ""
                raise JobFailed(f"The {job['stage']} job {job['state']}{why}")
            time.sleep(POLL_SECONDS)

    # -- models --

    def list_models(
        self, *, subject: str | None = None, dataset_id: str | None = None, stage: str | None = None
    ) -> Iterator[ModelJson]:
        """All model versions, newest first."""
        return cast(Iterator[ModelJson], self.pages("/models", subject=subject, dataset_id=dataset_id, stage=stage))

    def get_model(self, version_id: str) -> ModelJson:
        """One version."""
        return cast(ModelJson, self.get(f"/models/{version_id}"))

    def get_model_evaluation(self, version_id: str, *, dataset_id: str | None = None) -> EvaluationJson:
        """Its errors on an upload's test workouts; by default the newest upload's."""
        return cast(EvaluationJson, self.get(f"/models/{version_id}/evaluation", dataset_id=dataset_id))

    def download_model(self, version_id: str, *, format: str = "safetensors") -> bytes:
        """Its file: safetensors, pt or onnx."""
        return self.get_bytes(f"/models/{version_id}/download", format=format)

    def promote_model(self, version_id: str, *, force: bool = False) -> ChampionJson:
        """Promote it, if it is better or `force` is set."""
        return cast(ChampionJson, self.post(f"/models/{version_id}/promote", {"force": force}))

    # -- people --

    def list_subjects(self) -> Iterator[SubjectOutlineJson]:
        """All people, newest first."""
        return cast(Iterator[SubjectOutlineJson], self.pages("/subjects"))

    def get_subject(self, subject: str) -> SubjectJson:
        """One person, and why this version serves them."""
        return cast(SubjectJson, self.get(_of(subject)))

    def delete_subject(self, subject: str) -> None:
        """Delete a person with everything that came from their data."""
        self.delete(_of(subject))

    def review_workout(self, subject: str, workout_id: str, *, model_version_id: str | None = None) -> ReviewJson:
        """A recorded workout beside its prediction."""
        return cast(ReviewJson, self.get(f"{_of(subject)}/workouts/{workout_id}", model_version_id=model_version_id))

    def get_champion(self, subject: str) -> ChampionJson:
        """The version that serves a person, and its errors."""
        return cast(ChampionJson, self.get(f"{_of(subject)}/champion"))

    def get_champion_history(self, subject: str) -> Iterator[ChangeJson]:
        """Every change of it, newest first."""
        return cast(Iterator[ChangeJson], self.pages(f"{_of(subject)}/champion/history"))

    def roll_champion_back(self, subject: str) -> ChampionJson:
        """Roll back to the previous champion."""
        return cast(ChampionJson, self.post(f"{_of(subject)}/champion/rollback", {}))

    # -- predictions --

    def predict(self, *, speed: Row, **more: Any) -> PredictionJson:
        """Heart rate with a band, a value per sample.

        `more`: subject, model_version_id, altitude, heart_rate, t or step_seconds, units, correct, coverage.
        """
        return cast(PredictionJson, self.ask("/predict", {"speed": list(speed), **more}))

    def predict_batch(self, requests: Sequence[Json]) -> list[PredictionJson]:
        """Up to 64 predictions, each request as for `predict`."""
        return cast(list[PredictionJson], self.ask("/predict/batch", {"requests": list(requests)})["predictions"])

    def plan_pace(self, *, distance: Sequence[float], heart_rate_cap: float, **more: Any) -> PlanJson:
        """The fastest pace for a route under a heart rate. `more`: subject, altitude, units, max_heart_rate ..."""
        body = {"distance": list(distance), "heart_rate_cap": heart_rate_cap, **more}
        return cast(PlanJson, self.ask("/predict/plan", body))

    # -- the service --

    def check_alive(self) -> bool:
        """Whether the API's process answers."""
        return bool(self.get("/healthz")["alive"])

    def check_ready(self) -> list[str]:
        """Missing parts that do not stop the API; RequestFailed when it cannot serve."""
        return list(self.get("/readyz")["degraded"])

    def read_metrics(self) -> str:
        """Counters in Prometheus' text format."""
        return self.get_bytes("/metrics").decode()


def _of(subject: str) -> str:
    return f"/subjects/{quote(subject, safe='')}"
