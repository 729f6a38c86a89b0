"""What a confined process cannot do: each act is tried inside one, and the kernel refuses it."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hrmodel.workouts.sandbox import confinement, landlock, seccomp, system_calls

linux = pytest.mark.skipif(not seccomp.is_available(), reason="this kernel filters no system calls")
with_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel or container offers no Landlock")
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
LIMITS = {"memory": 300 << 20, "cpu_seconds": 10, "file_bytes": 1 << 20}
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}

BEGIN = """
import ctypes, json, mmap, os, signal, socket, sqlite3, subprocess, sys, threading
from pathlib import Path
from hrmodel.workouts.sandbox import landlock
from hrmodel.workouts.sandbox.confinement import Limits, confine
from hrmodel.workouts.formats import scratch
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def map_memory(flags):
    if libc.mmap(None, 1 << 30, 3, flags, -1, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "refused")
def thread():
    started = threading.Thread(target=lambda: None)
    started.start()
    started.join()
given = json.loads(sys.argv[1])
state = Path(given["state"])
scratch.open_ahead(Path("unpacked"), 2)
confine(Limits(**given["limits"]), [state / "upload", Path("unpacked").absolute()])
outcomes = {}
def attempt(name, act):
    try:
        act()
        outcomes[name] = "done"
    except OSError as error:
        outcomes[name] = os.strerror(error.errno)
    except BaseException as error:
        outcomes[name] = type(error).__name__
"""
NOT_PERMITTED = """
attempt("socket", socket.socket)
attempt("unix socket", lambda: socket.socket(socket.AF_UNIX))
attempt("socket pair", socket.socketpair)
attempt("netlink socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("program", lambda: subprocess.run(["true"]))
attempt("program in its place", lambda: os.execv("/bin/true", ["true"]))
attempt("fork", os.fork)
attempt("kill the parent", lambda: os.kill(os.getppid(), signal.SIGKILL))
attempt("kill its group", lambda: os.kill(0, signal.SIGTERM))
attempt("kill everybody", lambda: os.kill(-1, signal.SIGTERM))
attempt("limit the parent", lambda: __import__("resource").prlimit(os.getppid(), 0, (1, 1)))
attempt("open the parent's files", lambda: os.pidfd_open(os.getppid()))
attempt("write a file", lambda: open("new", "wb"))
attempt("write outside", lambda: (state / "new").write_text("x"))
attempt("append to the database", lambda: open(state / "stagewise.db", "ab"))
attempt("delete", lambda: (state / "api-key").unlink())
attempt("rename", lambda: (state / "api-key").rename(state / "key"))
attempt("truncate", lambda: os.truncate(state / "api-key", 0))
attempt("change the mode", lambda: (state / "api-key").chmod(0o777))
attempt("make a folder", lambda: (state / "folder").mkdir())
attempt("remove a folder", lambda: (state / "empty").rmdir())
attempt("make a link", lambda: (state / "link").symlink_to("api-key"))
attempt("make a hard link", lambda: (state / "hard").hardlink_to(state / "api-key"))
attempt("make a pipe", lambda: os.mkfifo(state / "pipe"))
attempt("file in memory", lambda: os.memfd_create("x"))
attempt("shared memory", lambda: map_memory(0x21))
attempt("memory that grows downwards", lambda: map_memory(0x122))
attempt("keystrokes", lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"))
attempt("signals from a file", lambda: __import__("fcntl").fcntl(0, 8, os.getppid()))
attempt("become somebody else", lambda: os.setuid(12345))
attempt("root folder", lambda: os.chroot("/tmp"))
attempt("priority of the parent", lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 10))
"""
# calls without a function in Python, by their numbers on x86_64
RAW = {
    **{"clone": 56, "vfork": 58, "unshare": 272, "setns": 308, "mount": 165, "ptrace": 101, "bpf": 321, "keyctl": 250},
    **{"perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425, "process_vm_readv": 310, "mknod": 133},
    **{"process_vm_writev": 311, "process_madvise": 440, "pidfd_getfd": 438, "pidfd_send_signal": 424},
    **{"shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240, "creat": 85, "open_by_handle_at": 304, "tkill": 200},
    **{"execveat": 322, "inotify_init": 253, "landlock_create_ruleset": 444, "sethostname": 170, "reboot": 169},
    **{
        "add_key": 248,
        "timer_create": 222,
        "utimensat": 280,
        "fallocate": 285,
        "setxattr": 188,
        "chown": 92,
        "setrlimit": 160,
    },
}
ALLOWED = """
attempt("read the upload", (state / "upload").read_bytes)
attempt("thread", thread)
attempt("signal to itself", lambda: os.kill(os.getpid(), 0))
attempt("import", lambda: __import__("pyarrow.parquet"))
def temporary():
    with scratch.temporary_file() as path:
        with scratch.writing(path) as file:
            file.write(bytes(1 << 10))
        assert path.read_bytes() == bytes(1 << 10)
attempt("temporary file", temporary)
"""
END = "\nprint(json.dumps(outcomes))\n"


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    (folder / "empty").mkdir(parents=True)
    (folder / "api-key").write_text("secret")
    (folder / "upload").write_text("<gpx/>")
    with sqlite3.connect(folder / "stagewise.db") as database:
        database.execute("create table jobs (id)")
    database.close()
    return folder


@pytest.fixture
def outcomes(tmp_path, state):
    """What becomes of acts inside a confined process that starts in a job's folder."""

    def tried(acts: str, before: str = "") -> dict[str, str]:
        (tmp_path / "job").mkdir()
        given = json.dumps({"limits": LIMITS, "state": str(state)})
        begin = BEGIN.replace("confine(Limits", f"{before}\nconfine(Limits")
        output = subprocess.run(
            [sys.executable, "-c", begin + acts + END, given],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=tmp_path / "job",
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            timeout=60,
        )
        return json.loads(output.stdout)

    return tried


@linux
@pytest.mark.parametrize("kernel", ["this kernel", "a kernel without Landlock"])
def test_a_confined_process_starts_writes_removes_and_reaches_nothing(outcomes, state, kernel):
    before = "landlock.version = lambda: 0" if kernel != "this kernel" else ""
    files = sorted(path.name for path in state.iterdir())
    found = outcomes(NOT_PERMITTED, before)
    allowed = {"Operation not permitted", "Permission denied"}
    assert {name: outcome for name, outcome in found.items() if outcome not in allowed} == {}
    assert sorted(path.name for path in state.iterdir()) == files
    assert (state / "api-key").read_text() == "secret"


@linux
@pytest.mark.skipif("x86_64" not in os.uname().machine, reason="the numbers are those of x86_64")
def test_calls_that_python_does_not_know_are_refused_too(outcomes):
    acts = [f'attempt("{name}", lambda: call({number}, 0, 0, 0, 0, 0))' for name, number in RAW.items()]
    found = outcomes("\n".join(acts))
    assert {name: outcome for name, outcome in found.items() if outcome != "Operation not permitted"} == {}
    assert len(found) == len(RAW)


@linux
@with_landlock
def test_a_confined_process_reads_no_file_but_its_own(outcomes):
    acts = """
attempt("key", (state / "api-key").read_text)
attempt("database", lambda: sqlite3.connect(f"file:{state}/stagewise.db?mode=ro", uri=True).execute("select * from jobs"))
attempt("folder", lambda: os.listdir(state))
attempt("environment of the parent", Path(f"/proc/{os.getppid()}/environ").read_bytes)
attempt("memory of the parent", lambda: open(f"/proc/{os.getppid()}/mem", "rb").read(1))
attempt("files of the parent", lambda: os.listdir(f"/proc/{os.getppid()}/fd"))
attempt("passwords", lambda: open("/etc/shadow").read())
attempt("home", lambda: os.listdir(Path.home()))
"""
    found = outcomes(acts)
    assert found.pop("database") == "OperationalError"
    assert set(found.values()) == {"Permission denied"}


@linux
@pytest.mark.parametrize("kernel", ["this kernel", "a kernel without Landlock"])
def test_a_confined_process_reads_the_upload_starts_threads_imports_and_fills_temporary_files(outcomes, kernel):
    found = outcomes(ALLOWED, "landlock.version = lambda: 0" if kernel != "this kernel" else "")
    assert {name: outcome for name, outcome in found.items() if outcome != "done"} == {}


@linux
def test_memory_and_files_are_bounded(outcomes):
    acts = """
def large():
    with scratch.temporary_file() as path, scratch.writing(path) as file:
        file.write(bytes(2 << 20))
attempt("memory", lambda: bytearray(1 << 30))
attempt("private memory", lambda: mmap.mmap(-1, 1 << 30, flags=0x22))
attempt("addresses", lambda: mmap.mmap(-1, 1 << 40, flags=0x22, prot=1))
attempt("large file", large)
attempt("files", lambda: [os.dup(0) for _ in range(1000)])
"""
    assert outcomes(acts) == {
        "memory": "MemoryError",
        "private memory": "Cannot allocate memory",
        "addresses": "Cannot allocate memory",
        "large file": "File too large",
        "files": "Too many open files",
    }


def test_processor_time_is_bounded(tmp_path):
    limits = LIMITS | {"cpu_seconds": 1}
    script = f"from hrmodel.workouts.sandbox.confinement import *\nconfine(Limits(**{limits}), [])\nwhile True: pass"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        timeout=60,
        cwd=tmp_path,
        check=False,
        env=ENVIRONMENT,
    )
    assert ended.returncode == -signal.SIGXCPU


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(machine):
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", HEADERS[machine].read_text())
    theirs = {name: int(number) for name, number in defined} | ({"newfstatat": 79} if machine == "aarch64" else {})
    tables = (system_calls.FILES, system_calls.MEMORY, system_calls.ITSELF, system_calls.FACTS)
    for table in (*tables, system_calls.CHECKED, system_calls.ABSENT):
        for name, number in system_calls.numbers(table, machine).items():
            assert theirs[name] == number, name


@pytest.mark.parametrize(
    ("filters", "version", "said"),
    [
        (False, 7, [confinement.NO_FILTER]),
        (True, 0, [confinement.NO_LANDLOCK]),
        (True, 1, []),
    ],
)
def test_what_a_machine_cannot_enforce_is_said(monkeypatch, filters, version, said):
    monkeypatch.setattr(seccomp, "is_available", lambda: filters)
    monkeypatch.setattr(landlock, "version", lambda: version)
    assert confinement.missing() == said
