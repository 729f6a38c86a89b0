"""A small process that reads uploads as an import does and tells what each cost: `python -m tests.measured_reading`.

It must be small: a process that is started has, for the kernel, at least the memory of the one that started it. Each
upload is read from a fork of its own, whose children are the confined readers and nobody else.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from hrmodel.workouts.errors import InvalidFile
from hrmodel.workouts.formats.upload import FileReport
from hrmodel.workouts.sandbox.isolated import read_isolated
from service.registry.artifacts import SCRATCH, ArtifactStore


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What became of an upload. `said`: the problem of the whole, or of its files, one a line."""

    refused: str | None  # the problem's code, when nothing was read
    said: list[str]
    workouts: int
    seconds: float
    cpu_seconds: float  # of the confined readers
    megabytes: float  # of the largest of them, at most
    left: list[str]  # files in the job's folder, beside the log, before it is removed


def measure(path: Path, name: str, root: Path) -> Measured:
    """Read one upload in the scratch folder of an artifact store at `root`, from a process that started no other."""
    began = time.monotonic()
    refused, said, workouts = None, [], 0
    with ArtifactStore(root).scratch("hostile") as folder:
        try:
            for one in read_isolated(path, name=name, folder=folder):
                if isinstance(one, FileReport):
                    said += [f"{one.file}: {one.problem}"[:300]] if one.problem else []
                else:
                    workouts += 1
        except InvalidFile as error:
            refused, said = error.code, [str(error)]
        left = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.name != "reader.log")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Measured(
        refused=refused,
        said=said[:1000],
        workouts=workouts,
        seconds=time.monotonic() - began,
        cpu_seconds=used.ru_utime + used.ru_stime,
        megabytes=used.ru_maxrss / 1024,
        left=left,
    )


class Measurer:
    """Asks such a process. `root`: where it works; its home and its temporary folder are below it too."""

    def __init__(self, process: "subprocess.Popen[bytes]", root: Path) -> None:
        self._process = process
        self.root = root

    def __call__(self, path: Path, name: str) -> Measured:
        """What reading this upload gives and costs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(path), name]).encode() + b"\n")
        self._process.stdin.flush()
        return Measured(**json.loads(self._process.stdout.readline()))


@contextmanager
def measurer(root: Path) -> Iterator[Measurer]:
    """A process that measures, for as long as the context is open."""
    for name in ("work", "home", "tmp", "store"):
        (root / name).mkdir(parents=True)
    environment = os.environ | {"HOME": str(root / "home"), "TMPDIR": str(root / "tmp")}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.measured_reading", str(root / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root / "work",
        env=environment,
    )
    try:
        yield Measurer(process, root)
    finally:
        process.kill()
        process.communicate()


def elsewhere(root: Path) -> set[str]:
    """All files but those that a job's folder may hold: what was there before an upload must be there after it."""
    found = {str(path) for path in root.rglob("*") if path != root / "store" / SCRATCH}
    return found | {str(path) for path in Path(tempfile.gettempdir()).glob("*stagewise-hostile*")}


def _serve(root: Path, asked: IO[bytes], answers: int) -> None:
    for line in asked:
        path, name = json.loads(line)
        if not (pid := os.fork()):
            answer = json.dumps(asdict(measure(Path(path), name, root))).encode() + b"\n"
            while answer:
                answer = answer[os.write(answers, answer) :]
            os._exit(0)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.stdin.buffer, 1)
