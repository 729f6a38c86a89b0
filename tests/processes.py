"""What runs, read from /proc: to prove that nothing is left behind."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def parent_of(pid: int) -> int | None:
    """The parent of a live process; None when it is gone or a zombie."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(parent)


def alive(pids: set[int]) -> set[int]:
    """Those that still run."""
    return {pid for pid in pids if parent_of(pid) is not None}


def children(pid: int) -> set[int]:
    """The processes that it has started and that still run."""
    return {each for each in descendants(pid) if parent_of(each) == pid}


def descendants(pid: int) -> set[int]:
    """Children, their children, and so on."""
    parents = {int(path.name): parent_of(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found, newest = set(), {pid}
    while newest:
        newest = {child for child, parent in parents.items() if parent in newest} - found
        found |= newest
    return found


def command_line(pid: int) -> str:
    """Its arguments, joined by spaces; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Poll until the condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s"
        time.sleep(0.05)


def connections_of(pid: int, port: int) -> set[int]:
    """The clients' ports of the connections to this port of ours that a process holds."""
    clients = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "01":  # established
            clients[f"socket:[{fields[9]}]"] = int(fields[2].rpartition(":")[2], 16)
    held = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            held.add(str(file.readlink()))
    return {client for name, client in clients.items() if name in held}


def memory(pid: int) -> int:
    """Bytes that a process and its descendants take; pages that they share count once."""
    total = 0
    for each in {pid, *descendants(pid)}:
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total
