"""Forked processes: what they keep of their parent, what they do not, and how they end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import alive, wait_until

START = r"""
import fcntl, os, signal, sys, time
from service.forking import Forked
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
signal.signal(signal.SIGTERM, lambda *_: None)
memory = b"x" * 50_000_000

def run():
    os.write(1, f"{len(memory)} {sorted(os.listdir('/proc/self/fd'), key=int)}\n".encode())
    time.sleep(60)

forked = Forked(run, "python -m the.child", own_session=True)
os.write(1, f"{forked.pid}\n".encode())
time.sleep(60)
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at /proc")


@pytest.fixture
def family(tmp_path):
    """A process and its fork."""
    command = [sys.executable, "-c", START, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        lines = sorted((parent.stdout.readline() for _ in range(2)), key=len)
        yield parent, int(lines[0]), lines[1]
        parent.kill()


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    fields = dict(line.split(":") for line in lines if line.endswith("kB"))
    return 1024 * sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))


def test_it_shares_the_memory_of_its_parent_and_none_of_its_files(family):
    _, forked, said = family
    assert said.strip() == "50000000 ['0', '1', '2', '3']", "3 is the folder that it lists"
    assert private_bytes(forked) < 20_000_000


def test_it_has_a_command_line_of_its_own(family):
    _, forked, _ = family
    assert Path(f"/proc/{forked}/cmdline").read_text().rstrip("\0 ") == "python -m the.child"


def test_it_ends_with_sigterm_although_its_parent_does_not(family):
    parent, forked, _ = family
    os.kill(forked, signal.SIGTERM)
    wait_until(lambda: not alive({forked}))
    parent.terminate()
    time.sleep(0.3)
    assert parent.poll() is None


def test_it_is_gone_when_its_parent_is_killed(family):
    parent, forked, _ = family
    parent.kill()
    wait_until(lambda: not alive({forked}))
