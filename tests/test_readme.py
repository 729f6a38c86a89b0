"""The README and the tables of the reference are true: they are what the code has, and the commands run."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hrmodel.workouts.simulate import simulate_runner
from service.app import create_app
from service.cli.demo import write_parquet
from service.settings import Settings
from tests.readme import ENDPOINTS, README, ROOT, table_under

BIN = Path(sys.executable).parent
# make of the tests' own environment: it is set up already
MAKE = ["make", "-C", str(ROOT), "--old-file", ".venv/.stagewise", f"BIN={BIN}"]


def test_the_endpoints_table_is_what_the_api_has(tmp_path):
    settings = Settings(state_dir=tmp_path)
    paths = create_app(settings).openapi()["paths"]
    served = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert {row[0] for row in table_under("Endpoints", ENDPOINTS)} == served


def test_every_make_target_that_is_named_exists():
    named = set(re.findall(r"\bmake ([a-z-]+)\b", README.read_text())) - {"and"}
    assert {"demo", "up", "check", "test", "test-slow", "test-compose"} <= named
    for target in named:
        subprocess.run([*MAKE, "--dry-run", target], check=True, capture_output=True)


def test_make_alone_lists_every_target():
    shown = subprocess.run(["make", "-C", str(ROOT)], check=True, capture_output=True, text=True).stdout
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert [target for target in targets if f"make {target} " not in shown] == []


@pytest.mark.slow
def test_make_demo_trains_shows_the_table_and_draws_a_picture(tmp_path):
    environment = {**os.environ, "STAGEWISE_STATE_DIR": str(tmp_path), "COLUMNS": "160"}
    shown = subprocess.run([*MAKE, "demo"], env=environment, capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for row in ("base", "stage 1", "stage 2", "training mean", "elapsed curve", "persistence", "ridge"):
        assert re.search(rf"│ {row} +│ +[0-9.]+ │", shown.stdout), row
    assert "model serves." in shown.stdout
    assert (tmp_path / "demo" / "prediction.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_make_demo_takes_ones_own_export(tmp_path):
    export = tmp_path / "my export"
    export.mkdir()
    write_parquet(simulate_runner(workouts=9, seed=3), export / "a.parquet")
    (export / "notes.txt").write_text("not a workout")
    environment = {**os.environ, "STAGEWISE_STATE_DIR": str(tmp_path), "COLUMNS": "160"}
    shown = subprocess.run(
        [*MAKE, "demo", f"DATA={export}"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "3 test workouts" in shown.stdout
    assert (tmp_path / "demo" / "prediction.png").exists()


@pytest.mark.slow
def test_make_up_says_where_it_listens_and_ends_on_ctrl_c(tmp_path):
    environment = {**os.environ, "STAGEWISE_STATE_DIR": str(tmp_path), "STAGEWISE_PORT": "0"}
    process = subprocess.Popen(
        [*MAKE, "up"], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        said = [process.stdout.readline() for _ in range(5)]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.wait(timeout=90)
    assert any(line.startswith("Stagewise listens on http://127.0.0.1:") for line in said), said
