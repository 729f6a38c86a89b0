"""Supervised processes: kept alive, stopped in time, gone with their parent."""

import os
import signal
import subprocess
import sys

import pytest

from service.local.child import FIRST_DELAY, LONGEST_DELAY, Child
from tests.processes import alive, wait_until

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def make_child(tmp_path):
    made = []

    def make(command, grace=5.0):
        made.append(Child("The test child", command, dict(os.environ), tmp_path / "logs" / "child.log", grace))
        return made[-1]

    yield make
    for child in made:
        child.stop(lambda: True)


def test_a_child_that_died_is_started_again_after_a_delay_and_its_last_words_are_shown(make_child, capsys):
    child = make_child([sys.executable, "-c", "print('last words'); raise SystemExit(3)"])
    child.start()
    wait_until(lambda: child.exit_status is not None)
    child.keep_alive()
    said = capsys.readouterr().err
    assert "ended with 3" in said
    assert "last words" in said
    assert child.exit_status == 3, "not before the delay is over"
    first = child.process.pid
    wait_until(lambda: child.keep_alive() or child.process.pid != first)
    assert child.delay == 2 * FIRST_DELAY


def test_the_delay_grows_to_its_limit(make_child):
    child = make_child([sys.executable, "-c", ""])
    child.delay = LONGEST_DELAY
    child.start()
    wait_until(lambda: child.exit_status is not None)
    child.keep_alive()
    assert child.delay == LONGEST_DELAY


def test_stop_ends_a_child_with_sigterm(make_child):
    child = make_child(SLEEP)
    child.start()
    wait_until(lambda: "up" in child.log_tail())
    child.stop(lambda: False)
    assert child.exit_status == -signal.SIGTERM


@pytest.mark.parametrize(("grace", "hurried"), [(0.2, False), (60.0, True)])
def test_a_child_that_ignores_sigterm_is_killed_after_its_grace_or_at_once(make_child, grace, hurried):
    child = make_child([sys.executable, "-c", STUBBORN], grace)
    child.start()
    wait_until(lambda: "up" in child.log_tail())
    child.stop(lambda: hurried)
    assert child.exit_status == -signal.SIGKILL


def test_a_long_log_is_put_aside(make_child, monkeypatch):
    child = make_child(SLEEP)
    child.log.parent.mkdir()
    child.log.write_bytes(b"x" * 2000)
    monkeypatch.setattr("service.local.child.LOG_BYTES", 1000)
    child.start()
    assert child.log.with_suffix(".log.1").stat().st_size == 2000


CHATTY = "import time\nfor n in range(300): print('x' * 99, flush=True); time.sleep(0.002)\nprint('end', flush=True); time.sleep(60)"


def test_the_log_of_a_child_that_runs_and_runs_stays_bounded(make_child, monkeypatch):
    monkeypatch.setattr("service.local.child.LOG_BYTES", 5000)
    child = make_child([sys.executable, "-c", CHATTY])
    child.start()
    sizes, aside = [], child.log.with_suffix(".log.1")

    def has_ended():
        child.keep_alive()
        sizes.append(child.log.stat().st_size)
        return any(b"end" in file.read_bytes() for file in (child.log, aside) if file.exists())

    wait_until(has_ended, 20)
    assert max(sizes) < 15_000
    assert b"\0" not in child.log.read_bytes(), "it goes on where the log begins anew"
    assert aside.stat().st_size > 5000


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of this machine has no parent-death signal")
def test_children_are_gone_when_the_parent_is_killed(tmp_path):
    parent = f"""
import os, sys, time
from pathlib import Path
from service.local.child import Child
child = Child("child", {SLEEP!r}, dict(os.environ), Path({str(tmp_path)!r}) / "child.log", 5.0)
child.start()
print(child.process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        assert alive({pid})
        process.kill()
    wait_until(lambda: not alive({pid}))
