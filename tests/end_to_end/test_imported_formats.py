"""What people really have, from the upload to a prediction, through the API of an embedded service."""

import zipfile
from pathlib import Path

import pytest

from service.local.background import running
from tests.end_to_end.journey import Api
from tests.shared_data import format_samples

pytestmark = pytest.mark.slow
DAY = "2024-11-09"  # of the run in the sample export


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running(tmp_path_factory.mktemp("state")) as service, Api(service.url, service.key) as api:
        yield api


def zipped(files: dict[str, Path], target: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for name, file in files.items():
            made.write(file, name)
    return target


def trained(api: Api, upload: Path, subject: str) -> dict:
    """The report of an upload that then went through both stages and serves."""
    made = api.post(f"/datasets?subject={subject}&name={upload.name}", content=upload.read_bytes())
    api.finished(made["job_id"])
    for stage in ("stage1", "stage2"):
        job = api.post(f"/jobs/{stage}", json={"dataset_id": made["id"], "hyperparameters": {"epochs": 3}})
        assert api.finished(job["id"])["result"]["model_version_id"]
    answer = api.post("/predict", json={"subject": subject, "speed": [2.8] * 60})
    assert len(answer["heart_rate"]) == 60
    assert all(
        25 < low <= rate <= high < 240
        for low, rate, high in zip(answer["lower"], answer["heart_rate"], answer["upper"], strict=True)
    )
    return api.get(f"/datasets/{made['id']}/report")


def repeated(folder: Path, days: int, target: Path) -> Path:
    """The export with its run on many days: one run alone trains nobody."""
    export = (folder / "export.xml").read_text()
    (route,) = (folder / "workout-routes").glob("*.gpx")
    begin, end = export.index("<Record"), export.index("</HealthData>")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        body = []
        for day in range(1, days + 1):
            moved = (DAY, f"2024-11-{day:02d}")
            body.append(export[begin:end].replace(*moved))
            name = f"apple_health_export/workout-routes/{route.name.replace(*moved)}"
            made.writestr(name, route.read_text().replace(*moved))
        made.writestr("apple_health_export/export.xml", export[:begin] + "".join(body) + export[end:])
    return target


def test_an_apple_health_export_becomes_a_model(api, tmp_path):
    folder = format_samples() / "apple_health_constructed"
    report = trained(api, repeated(folder, 10, tmp_path / "export.zip"), "apple")
    (file,) = report["files"]
    assert (file["format"], file["workouts"], file["problem"]) == ("apple_health", 10, None)
    assert report["summary"]["splits"] == {"train": 5, "val": 2, "test": 3}
    for workout in report["workouts"]:
        assert workout["verdict"] in ("kept", "repaired")
        assert 8 < workout["heart_rate_per_minute"] < 15  # a reading every 4 to 7 s


def test_one_run_alone_is_kept_and_the_base_serves(api, tmp_path):
    folder = format_samples() / "apple_health_constructed"
    upload = repeated(folder, 1, tmp_path / "export.zip")
    made = api.post("/datasets?subject=once", content=upload.read_bytes())
    api.finished(made["job_id"])
    assert api.get(f"/datasets/{made['id']}")["workouts"] == {"train": 1, "val": 0, "test": 0, "dropped": 0}
    answer = api.post("/predict", json={"subject": "once", "speed": [2.8] * 60})
    assert answer["model"]["stage"] == "base"


def test_a_zip_of_fit_gpx_and_tcx_files_becomes_a_model(api, tmp_path):
    folder = format_samples()
    names = {f"mixed/{file.name}": file for kind in ("fit", "gpx", "tcx") for file in sorted(folder.glob(f"*.{kind}"))}
    names["mixed/readme.txt"] = folder / "README.md"
    report = trained(api, zipped(names, tmp_path / "mixed.zip"), "mixed")
    formats = sorted(file["format"] or "" for file in report["files"])
    assert formats == ["", "fit", "fit", "fit", "gpx", "gpx", "gpx", "tcx", "tcx", "tcx"]
    assert report["summary"]["workouts"] == 9
    assert report["verdicts"]["kept"] + report["verdicts"]["repaired"] >= 7
