"""A seccomp filter for this process: an allowlist of system calls, some of them with some arguments only (Linux).

Allowed: use open files, open files for reading, use its own memory, threads, signals to itself, clocks. Refused
(EPERM) is everything else: processes, programs, sockets, signals to others, shared memory, and every call that opens a
file for writing, makes, changes or removes one.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

from hrmodel.workouts.sandbox import system_calls
from hrmodel.workouts.sandbox.system_calls import numbers

Instruction = tuple[int, int, int, int]  # BPF: code, jump if true, jump if false, constant

PR_GET_SECCOMP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 21, 22, 38
SECCOMP_MODE_FILTER = 2
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
ALLOW, REFUSE, ABSENT = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS  # SECCOMP_RET_*
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # ld [k]; jeq; jge; jset; ret
NUMBER_AT, MACHINE_AT, ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data
NEWER = 449  # the first number beyond this list; 0x40000000 and above are x86_64's second numbering

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
MAP_SHARED, MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_HUGETLB, PROT_WRITE = 0x01, 0x20, 0x100, 0x40000, 0x2
CLONE_THREAD = 0x10000
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)  # F_DUPFD to F_SETLKW, F_DUPFD_CLOEXEC, F_GETPIPE_SZ: none sends a signal
IOCTL = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONCLEX, FIOCLEX: none types a key
PRCTL = (15, 16, 0x53564D41)  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA


def is_available() -> bool:
    """Whether this kernel takes filters, and the filter covers this machine's system calls."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    taken = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None) == -1 and ctypes.get_errno() == errno.EFAULT
    return taken  # EFAULT: it read the filter; EINVAL: no seccomp


def restrict_calls() -> None:
    """Filter the calls of this thread, and of all that it starts, for good. Raises OSError when the kernel cannot."""
    program = _program(platform.machine(), os.getpid())
    instructions = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(instructions)
    header = struct.pack("@HP", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header):
        raise OSError(ctypes.get_errno(), "the kernel does not take the filter of system calls")


def _program(machine: str, process: int) -> list[Instruction]:
    """The filter of this machine for the process with this id."""
    checks = {
        "open": _without_bits(1, WRITING),
        "openat": _without_bits(2, WRITING),
        "mmap": _mmap(),
        "clone": [_load(0), (ANY_BIT, 0, 1, CLONE_THREAD), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)],
        "fcntl": _one_of(1, FCNTL),
        "ioctl": _one_of(1, IOCTL),
        "prctl": _one_of(0, PRCTL),
        "prlimit64": [*_unless_zero(2, low=True), *_unless_zero(2, low=False), (RETURN, 0, 0, ALLOW)],
        "kill": _one_of(0, (process,)),
        "tgkill": _one_of(0, (process,)),
        "sched_setaffinity": _one_of(0, (0, process)),
    }
    program = [(LOAD, 0, 0, MACHINE_AT), (EQUAL, 1, 0, MACHINES[machine]), (RETURN, 0, 0, REFUSE)]
    program += [(LOAD, 0, 0, NUMBER_AT), (AT_LEAST, 0, 1, NEWER), (RETURN, 0, 0, ABSENT)]
    for table in (system_calls.FILES, system_calls.MEMORY, system_calls.ITSELF, system_calls.FACTS):
        for number in numbers(table, machine).values():
            program += _at(number, [(RETURN, 0, 0, ALLOW)])
    for name, number in numbers(system_calls.CHECKED, machine).items():
        program += _at(number, checks[name])
    for number in numbers(system_calls.ABSENT, machine).values():
        program += _at(number, [(RETURN, 0, 0, ABSENT)])
    return [*program, (RETURN, 0, 0, REFUSE)]


def _at(number: int, body: list[Instruction]) -> list[Instruction]:
    """Run `body`, which ends in a return, for the call with this number."""
    return [(EQUAL, 0, len(body), number), *body]


def _load(argument: int, *, low: bool = True) -> Instruction:
    """The low or the high half of an argument (both machines are little-endian)."""
    return (LOAD, 0, 0, ARGUMENTS_AT + 8 * argument + (0 if low else 4))


def _one_of(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    """Allow these values of an int."""
    body = [_load(argument)]
    for value in values:
        body += [(EQUAL, 0, 1, value), (RETURN, 0, 0, ALLOW)]
    return [*body, (RETURN, 0, 0, REFUSE)]


def _without_bits(argument: int, bits: int) -> list[Instruction]:
    """Allow flags that hold none of these bits."""
    return [_load(argument), (ANY_BIT, 0, 1, bits), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]


def _unless_zero(argument: int, *, low: bool) -> list[Instruction]:
    return [_load(argument, low=low), (EQUAL, 1, 0, 0), (RETURN, 0, 0, REFUSE)]


def _mmap() -> list[Instruction]:
    """Refuse memory that RLIMIT_DATA does not count: shared and writable, shared and of no file, growing downwards."""
    refuse, allow = (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)
    return [
        *(_load(3), (ANY_BIT, 0, 1, MAP_GROWSDOWN | MAP_HUGETLB), refuse),
        *((ANY_BIT, 1, 0, MAP_SHARED), allow),
        *((ANY_BIT, 0, 1, MAP_ANONYMOUS), refuse),
        *(_load(2), (ANY_BIT, 0, 1, PROT_WRITE), refuse, allow),
    ]
