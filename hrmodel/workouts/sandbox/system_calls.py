"""The system calls of a confined reader: the name, the number on x86_64, and the number on aarch64 ("-": none).

Numbers are from the kernel's headers (asm/unistd_64.h, asm-generic/unistd.h) and never change.
"""

# open files, and queries about a path; none of them opens, makes, changes or removes a file
FILES = """
read 0 63, write 1 64, lseek 8 62, close 3 57, fstat 5 80, newfstatat 262 79, statx 332 291, pread64 17 67,
pwrite64 18 68, readv 19 65, writev 20 66, preadv 295 69, pwritev 296 70, stat 4 -, lstat 6 -, statfs 137 43,
fstatfs 138 44, access 21 -, faccessat 269 48, faccessat2 439 439, readlink 89 -, readlinkat 267 78,
getdents 78 -, getdents64 217 61, getcwd 79 17, ftruncate 77 46, fadvise64 221 223, readahead 187 213,
dup 32 23, dup2 33 -, dup3 292 24, close_range 436 436, pipe 22 -, pipe2 293 59, eventfd2 290 19, poll 7 -,
ppoll 271 73, select 23 -, pselect6 270 72, epoll_create1 291 20, epoll_ctl 233 21, epoll_wait 232 -,
epoll_pwait 281 22
"""

# memory of its own
MEMORY = """
munmap 11 215, mprotect 10 226, mremap 25 216, brk 12 214, madvise 28 233, mincore 27 232, msync 26 227,
mbind 237 235, get_mempolicy 239 236, set_mempolicy 238 237, membarrier 324 283
"""

# its threads and signals
ITSELF = """
futex 202 98, set_robust_list 273 99, rseq 334 293, set_tid_address 218 96,
gettid 186 178, getpid 39 172, getppid 110 173, sched_yield 24 124, sched_getaffinity 204 123,
sched_getparam 143 121, sched_getscheduler 145 120, sched_get_priority_max 146 125,
sched_get_priority_min 147 126, getcpu 309 168, exit 60 93, exit_group 231 94, restart_syscall 219 128,
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136,
rt_sigtimedwait 128 137, sigaltstack 131 132
"""

# time, and facts about the process and the machine
FACTS = """
clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115, nanosleep 35 101, gettimeofday 96 169,
time 201 -, times 100 153, getrusage 98 165, getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177,
getresuid 118 148, getresgid 120 150, getgroups 115 158, getpgrp 111 -, getpgid 121 155, getsid 124 156,
uname 63 160, sysinfo 99 179, getrlimit 97 163, arch_prctl 158 -, umask 95 166, getrandom 318 278
"""

# allowed with some arguments only (seccomp.py)
CHECKED = """
open 2 -, openat 257 56, mmap 9 222, clone 56 220, fcntl 72 25, ioctl 16 29, prctl 157 167, prlimit64 302 261,
kill 62 129, tgkill 234 131, sched_setaffinity 203 122
"""

# answered as missing, so that the C library falls back to a call whose flags a filter can see
ABSENT = """
clone3 435 435, openat2 437 437
"""


def numbers(table: str, machine: str) -> dict[str, int]:
    """Name -> number of the calls of a table on this machine (`x86_64` or `aarch64`), without calls that it lacks."""
    column = ("x86_64", "aarch64").index(machine) + 1
    rows = (row.split() for row in table.split(","))
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
