"""One person's whole way through the API of a running service, and only through it.

    python tests/end_to_end/journey.py --url http://127.0.0.1:8000 --key KEY --data personal.parquet --subject p004

Uploads the person's workouts, trains stage 1 and stage 2, reads the metrics, asks for predictions, and prints the error
of every model beside the baselines. Ends with status 1 when a promise is broken. `--all` does it for every person in
the file; `--json FILE` keeps the figures.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import pyarrow.compute as pc
import pyarrow.parquet as pq

PROTOCOLS = ("P1", "P2-60", "P2-180", "P2-600", "P3-30")
P1_TARGET = {"p004": 6.0}  # bpm, mean over test workouts
JOB_SECONDS = 1800.0
Json = dict[str, Any]


class Api:
    """Requests that must succeed."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx2.Client(base_url=url, headers=headers, timeout=120.0, trust_env=False)

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def get(self, path: str, **query: Any) -> Json:
        return self._json(self.http.get(path, params=query))

    def post(self, path: str, **content: Any) -> Json:
        return self._json(self.http.post(path, **content))

    def finished(self, job_id: str) -> Json:
        """The job once it succeeded."""
        deadline = time.monotonic() + JOB_SECONDS
        while (job := self.get(f"/jobs/{job_id}"))["state"] in ("queued", "running"):
            assert time.monotonic() < deadline, f"{job['stage']} took more than {JOB_SECONDS:g} s: {job}"
            time.sleep(0.3)
        assert job["state"] == "succeeded", job
        return job

    @staticmethod
    def _json(response: httpx2.Response) -> Json:
        assert response.is_success, f"{response.request.method} {response.request.url}: {response.text}"
        return dict(response.json())


def people_of(data: Path) -> list[str]:
    """Everybody in the file."""
    return sorted(set(pq.read_table(data, columns=["athlete_id"])["athlete_id"].to_pylist()))


def rows_of(data: Path, subject: str, target: Path) -> Path:
    """Just that person's rows, all splits, as a file of their own."""
    table = pq.read_table(data)
    pq.write_table(table.filter(pc.equal(table["athlete_id"], subject)), target)
    return target


def travel(url: str, key: str, data: Path, subject: str) -> Json:
    """Upload, stage 1, stage 2, metrics, predict. What came out, as JSON."""
    with Api(url, key) as api:
        return walk(api, data, subject)


def walk(api: Api, data: Path, subject: str) -> Json:
    """The same with an open connection."""
    with tempfile.TemporaryDirectory() as folder:
        upload = rows_of(data, subject, Path(folder) / "rows.parquet")
        accepted = api.post("/datasets", params={"subject": subject, "name": "journey"}, content=upload.read_bytes())
    api.finished(accepted["job_id"])
    versions = {"base": api.get(f"/subjects/{subject}/champion")["model_version_id"]}
    decisions, epochs = {}, {}
    for stage in ("stage1", "stage2"):
        job = api.finished(api.post(f"/jobs/{stage}", json={"dataset_id": accepted["id"]})["id"])
        versions[stage] = job["result"]["model_version_id"]
        decisions[stage] = job["result"]["decision"]
        epochs[stage] = len(api.get(f"/jobs/{job['id']}/metrics")["epochs"])
    reports = {
        name: api.get(f"/models/{version}/evaluation", dataset_id=accepted["id"])["report"]
        for name, version in versions.items()
    }
    champion = api.get(f"/subjects/{subject}/champion")["model_version_id"]
    return {
        "subject": subject,
        "workouts": api.get(f"/datasets/{accepted['id']}")["workouts"],
        "versions": versions,
        "champion": next(name for name, version in versions.items() if version == champion),
        "decisions": decisions,
        "epochs": epochs,
        "mae": {
            name: {p: report["protocols"][p]["mean"]["mae"] for p in PROTOCOLS} for name, report in reports.items()
        },
        "baselines": {
            name: {p: means[p]["mae"] for p in PROTOCOLS} for name, means in reports["base"]["baselines"].items()
        },
        "predictions": predictions(api, subject),
    }


def predictions(api: Api, subject: str) -> Json:
    """An hour of easy running, blind and after 180 s of heart rate."""
    speed, altitude = [2.7] * 360, [5.0 * math.sin(i / 20) for i in range(360)]
    observed = [110.0 + i for i in range(18)] + [None] * 342
    blind = api.post("/predict", json={"subject": subject, "speed": speed, "altitude": altitude})
    forecast = api.post(
        "/predict", json={"subject": subject, "speed": speed, "altitude": altitude, "heart_rate": observed}
    )
    return {"blind": blind, "forecast": forecast}


def broken_promises(result: Json) -> list[str]:
    """What this person was promised and did not get; empty when all is well."""
    broken = []
    mine, baselines = result["mae"][result["champion"]]["P1"], result["baselines"]
    if mine > P1_TARGET.get(result["subject"], math.inf):
        broken.append(f"P1 is {mine:.2f} bpm, over {P1_TARGET[result['subject']]}")
    broken += [
        f"P1 is {mine:.2f} bpm, not below {name} with {baselines[name]['P1']:.2f}"
        for name in ("training_mean", "elapsed_curve")
        if not mine < baselines[name]["P1"]
    ]
    for name, answer in result["predictions"].items():
        if not all(
            25 <= low <= value <= high <= 240
            for low, value, high in zip(answer["lower"], answer["heart_rate"], answer["upper"], strict=True)
        ):
            broken.append(f"the {name} prediction leaves 25..240 bpm or its own band")
        if answer["model"]["version_id"] != result["versions"][result["champion"]] or answer["level"] != "subject":
            broken.append(f"the {name} prediction is not the champion's at the subject's level")
    return broken


def show(result: Json) -> None:
    """The table of one person."""
    counts = ", ".join(f"{count} {split}" for split, count in result["workouts"].items())
    print(f"\n{result['subject']}: {counts}; {result['champion']} serves; mean absolute error in bpm")
    print(f"{'':16}" + "".join(f"{protocol:>9}" for protocol in PROTOCOLS))
    for name, errors in [*result["mae"].items(), *result["baselines"].items()]:
        print(f"{name:16}" + "".join(f"{errors[p]:9.2f}" if errors[p] is not None else f"{'-':>9}" for p in PROTOCOLS))


def main() -> int:
    parser = argparse.ArgumentParser(description="Take one person's data the whole way through a running service.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--data", type=Path, required=True, help="a Parquet file of one or more people")
    parser.add_argument("--subject", default="p004")
    parser.add_argument("--all", action="store_true", help="everybody in the file")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    results, failed = [], False
    for subject in people_of(options.data) if options.all else [options.subject]:
        started = time.monotonic()
        result = travel(options.url, options.key, options.data, subject)
        result["seconds"] = time.monotonic() - started
        show(result)
        for sentence in broken_promises(result):
            failed = True
            print(f"{subject}: {sentence}", file=sys.stderr)
        results.append({name: value for name, value in result.items() if name != "predictions"})
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
