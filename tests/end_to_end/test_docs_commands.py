"""Every command of README and docs, as it is written, page by page, on a service of its own with small data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from apple_export import write_export

from hrmodel.workouts.simulate import simulate_runner, simulate_workouts
from hrmodel.workouts.workout import Workout
from service.cli.demo import write_parquet
from service.local.background import running
from tests import endomondo_writer
from tests.browser.recordings import gpx
from tests.page_commands import not_run
from tests.readme import DOCS, PAGES, README, ROOT, python_blocks, shell_blocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed on this machine"),
]
BIN = Path(sys.executable).parent
PRINTED = "http://127.0.0.1:8000"
WITH_COMMANDS = [page for page in PAGES if any(not_run(block) is None for block in shell_blocks(page))]
FRESH = {README, DOCS / "tutorial.md"}  # these begin with nothing; all others where the tutorial has ended
SAID = {
    README: '"protocol":"forecast"',
    DOCS / "tutorial.md": '"segments":',
    DOCS / "how-to" / "endomondo.md": '"stage":"base","state":"succeeded"',
    DOCS / "how-to" / "upgrade.md": "worker",
    DOCS / "reference" / "checkpoint-format.md": "51009 parameters",
    DOCS / "reference" / "metrics.md": '"event": "job taken"',
    DOCS / "explanation" / "protocols.md": "ridge",
    DOCS / "troubleshooting.md": "The stage1 job",
}


@pytest.fixture(scope="module")
def after_the_tutorial(tmp_path_factory):
    """A service whose `me` has runs and both stages."""
    folder = tmp_path_factory.mktemp("after")
    with running(folder / "var") as service:
        walk(DOCS / "tutorial.md", prepared(folder), service)
        yield folder, service


def prepared(folder: Path) -> Path:
    """A folder as a reader of the docs has it: the project's environment, and files to import."""
    (folder / ".venv").symlink_to(BIN.parent)
    (folder / "docs").symlink_to(ROOT / "docs")
    write_export(folder / "export.zip", 15)
    *runs, newest = simulate_runner(workouts=10, seed=1)
    write_parquet(runs, folder / "runs.zip")  # found by content, not by name
    (folder / "run.gpx").write_text(gpx(newest))
    (folder / "my-endomondo.zip").write_bytes(lines_of(simulate_runner(workouts=9, seed=2), 7))
    people = simulate_workouts(people=4, workouts=3, seed=5)
    (folder / "endomondoHR_proper.json").write_bytes(lines_of(people, 100))
    return folder


def lines_of(workouts: list[Workout], first: int) -> bytes:
    """The workouts as FitRec has them: km/h, and numbers for people."""
    people = sorted({workout.person for workout in workouts})
    made = []
    for number, workout in enumerate(workouts):
        began = int(workout.started_at.timestamp())
        rows = {
            "speed": [round(3.6 * float(v), 3) for v in workout.speed],
            "altitude": [round(float(v), 2) for v in workout.altitude],
            "heart_rate": [None if v != v else round(float(v)) for v in workout.heart_rate],
            "timestamp": [began + int(t) for t in workout.t],
        }
        known = [n for n, bpm in enumerate(rows["heart_rate"]) if bpm is not None]
        rows = {name: [values[n] for n in known] for name, values in rows.items()}
        ids = {"userId": first + people.index(workout.person), "id": 1000 + number, "latitude": ..., "longitude": ...}
        made.append(endomondo_writer.line(points=len(known), **rows, **ids))
    return endomondo_writer.write(*made)


def walk(page: Path, folder: Path, service) -> str:
    """Run the page's blocks in order, those in Python last; what they said."""
    blocks = [block for block in shell_blocks(page) if not_run(block) is None]
    script = "\n".join(["set -euo pipefail", *blocks])
    programs = [["bash", "-c", script], *([sys.executable, "-c", block] for block in python_blocks(page))]
    place = {"STAGEWISE_STATE_DIR": str(folder / "var"), "STAGEWISE_URL": service.url}
    environment = {**os.environ, **place, "no_proxy": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    said = ""
    for *words, code in programs:
        command = [*words, code.replace(PRINTED, service.url)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, f"{page}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        said += done.stdout
    return said


@pytest.mark.parametrize("page", [page for page in WITH_COMMANDS if page in FRESH], ids=lambda page: page.stem)
def test_pages_for_a_newcomer_work_from_nothing(page, tmp_path):
    with running(tmp_path / "var") as service:
        said = walk(page, prepared(tmp_path), service)
    assert SAID[page] in said


@pytest.mark.parametrize("page", [page for page in WITH_COMMANDS if page not in FRESH], ids=lambda page: page.stem)
def test_the_other_pages_work_after_the_tutorial(page, after_the_tutorial):
    said = walk(page, *after_the_tutorial)
    assert SAID.get(page, "") in said


def test_what_the_tutorial_leaves_behind_is_what_it_says(after_the_tutorial):
    folder, _ = after_the_tutorial
    for picture in ("before.png", "after-180-s.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
