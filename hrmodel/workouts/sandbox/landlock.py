"""Landlock for this process: it may read the named paths, and nothing else of any file system (Linux 5.13 and newer).

Landlock also keeps a process from looking into others through /proc (their environment, memory and open files).
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every machine
PR_SET_NO_NEW_PRIVS = 38
VERSION_FLAG, PATH_BENEATH = 1, 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}  # by version; 5: and devices
NEWEST_FILE_RIGHTS = (1 << 16) - 1
NETWORK_RIGHTS = 0b11  # bind and connect TCP, from version 4
SCOPES = 0b11  # abstract Unix sockets and signals, from version 6


def version() -> int:
    """The version of Landlock that this kernel offers; 0 when it offers none, or the container forbids it."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)))


def restrict_files(readable: Iterable[Path]) -> None:
    """Let this thread, and all that it starts, read these files and folders only, for good. Raises OSError.

    Files that are open stay as they are. Paths that do not exist are passed over.
    """
    abi = version()
    attributes = struct.pack("=Q", FILE_RIGHTS.get(abi, NEWEST_FILE_RIGHTS))
    if abi >= 4:
        attributes += struct.pack("=Q", NETWORK_RIGHTS)
    if abi >= 6:
        attributes += struct.pack("=Q", SCOPES)
    ruleset = _call(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for path in readable:
            _allow_reading(ruleset, path)
        if _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "the process cannot give up new privileges")
        _call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, path: Path) -> None:
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # a path that does not exist, or was unreadable before, needs no rule
    try:
        rights = READ_FILE | READ_DIR if path.is_dir() else READ_FILE
        _call(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", rights, file), 0)
    finally:
        os.close(file)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "the kernel does not take the rules of Landlock")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
