"""A sandbox for a process that reads an untrusted file: limits on memory, time, files, network and processes, for good.

The kernel enforces it (Linux), so it holds for a reader that a hostile file has taken over, too. seccomp refuses to
open anything for writing, and Landlock, where the kernel has it, to read other than the named paths. Elsewhere
only the limits of the system are set; `missing` lists the protections that are not enforced.
"""

import ctypes
import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hrmodel.workouts.sandbox import landlock, seccomp

PR_SET_PDEATHSIG = 1
ADDRESS_SPACE = 64 << 30  # libraries map far more than they use; page tables of it take 128 MB at most
OPEN_FILES = 256
PACKAGE = Path(__file__).resolve().parents[2]
# Files that libraries read while they are imported, and the shared libraries themselves
SYSTEM_FILES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/etc/ld.so.cache"),
    *("/dev/null", "/dev/urandom", "/etc/localtime", "/usr/share/zoneinfo", "/etc/passwd", "/etc/ssl/openssl.cnf"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm/transparent_hugepage"),
)
NO_FILTER = "system calls are not filtered: a hostile upload that takes over its reader can do what this user can"
NO_LANDLOCK = (
    "reading is not confined (this kernel or container offers no Landlock): a hostile upload that takes over its "
    "reader can read what this user can, but not write, send or start anything"
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`memory`: bytes of data of the process; `cpu_seconds`; `file_bytes`: of the largest file that it writes."""

    memory: int
    cpu_seconds: int
    file_bytes: int


def confine(limits: Limits, readable: Iterable[Path]) -> None:
    """Confine this process for the rest of its life; it may read these files and folders, Python, and open files.

    Call it before any other thread starts: a thread that runs already stays free. Raises OSError when the kernel
    refuses a protection that it offers.
    """
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_DATA, limits.memory),
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        _lower(kind, limit)
    _lower(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 5)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if landlock.version():
        landlock.restrict_files([*_of_python(), *map(Path, SYSTEM_FILES), *readable])
    if seccomp.is_available():
        seccomp.restrict_calls()


def missing() -> list[str]:
    """Limits that this machine cannot enforce, a sentence each; empty when it enforces all."""
    if not seccomp.is_available():
        return [NO_FILTER]
    return [] if landlock.version() else [NO_LANDLOCK]


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, below one that is there already."""
    _, ceiling = resource.getrlimit(kind)
    limit = soft if hard is None else hard
    hard = limit if ceiling == resource.RLIM_INFINITY else min(limit, ceiling)
    resource.setrlimit(kind, (min(soft, hard), hard))


def _of_python() -> Iterator[Path]:
    """The folders of the interpreter, its shared libraries and packages, and this package; never a whole checkout.

    A checkout is on the path when the package is installed as editable, and may hold the service's state.
    """
    libraries = (
        line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line
    )
    yield from {Path(library).parent for library in libraries if library.startswith("/")}
    yield from (Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder)
    yield from (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    yield from (Path(sys.base_prefix, name) for name in ("lib", "lib64"))
    yield from (path for path in map(Path, sys.path) if path.name in ("site-packages", "dist-packages"))
    yield PACKAGE
