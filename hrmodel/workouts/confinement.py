"""What a process gives up before it reads a stranger's file: memory, processor time, large files, the network.

The kernel enforces it (Linux): even a reader that a hostile file has taken over cannot open a connection or start a
program. Elsewhere only the limits that the system knows are set.
"""

import ctypes
import platform
import resource
import signal
import struct
import sys
from dataclasses import dataclass

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
# linux/audit.h and the numbers of the system calls: socket, connect, execve, execveat, ptrace, io_uring_setup
ARCHITECTURES = {
    "x86_64": (0xC000003E, (41, 42, 59, 322, 101, 425)),
    "aarch64": (0xC00000B7, (198, 203, 221, 281, 117, 425)),
}
X32_BIT = 0x40000000  # a second numbering of the same calls on x86_64
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # BPF: ld [k]; jeq; jge; ret
NUMBER_AT, ARCHITECTURE_AT = 0, 4  # in struct seccomp_data


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`memory`: bytes of data of the process; `cpu_seconds`; `file_bytes`: of the largest file that it writes."""

    memory: int
    cpu_seconds: int
    file_bytes: int


def confine(limits: Limits) -> None:
    """Confine this process for the rest of its life. Call it when everything that it needs is imported."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 5))
    # of data, not of address space: libraries map far more than they use
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _filter_system_calls(libc)


def _filter_system_calls(libc: ctypes.CDLL) -> None:
    """Let the kernel refuse (EPERM) the calls of ARCHITECTURES from now on. Raises OSError when it cannot."""
    known = ARCHITECTURES.get(platform.machine())
    if known is None:
        return
    program = _program(*known)
    instructions = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(instructions)
    header = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header):
        raise OSError(ctypes.get_errno(), "the kernel does not take the filter of system calls")


def _program(architecture: int, refused: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """BPF as (code, jump if true, jump if false, constant): refuse the listed calls, allow the rest."""
    body = [(LOAD, 0, 0, NUMBER_AT), (AT_LEAST, len(refused) + 1, 0, X32_BIT)]
    for i, number in enumerate(refused):
        body.append((EQUAL, len(refused) - i, 0, number))
    body += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    # another architecture's numbers mean other calls: refuse all of them
    return [(LOAD, 0, 0, ARCHITECTURE_AT), (EQUAL, 0, len(body) - 1, architecture), *body]
