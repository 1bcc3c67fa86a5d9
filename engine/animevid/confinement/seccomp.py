"""A seccomp filter (linux/seccomp.h) that denies system calls that a decoder never needs.

It denies sockets of every kind, access to other processes (fork, exec, signals, ptrace), changes of modes and owners
of files (Landlock does not cover them), keys, mounts, and memory that no limit counts. A denied call returns ``EPERM``,
so a library that only probes continues.

Own code, because the existing bindings need libseccomp on the machine (``pyseccomp``, last changed in 2021) or are a
first release (``seccompy``). Supports x86-64 and 64-bit ARM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

#: Name -> number on x86-64, on 64-bit ARM (``None``: it has no such call). From asm/unistd_64.h, asm-generic/unistd.h.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # sockets
    "socket": (41, 198), "socketpair": (53, 199), "accept": (43, 202), "accept4": (288, 242),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # processes
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "sched_setaffinity": (203, 122),
    # memory that is shared, or that no limit counts
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191),
    "semtimedop": (220, 192), "mq_open": (240, 180), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # lengths (before Linux 6.2), modes, owners, times and attributes of files, which Landlock does not cover
    "truncate": (76, 45),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "mknod": (133, None), "mknodat": (259, 33), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    # the machine
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None),
}  # fmt: skip
#: Calls that depend on an argument, and the filter itself.
_NUMBERS: dict[str, tuple[int, int]] = {
    "clone": (56, 220), "clone3": (435, 435), "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261),
    "fcntl": (72, 25), "ioctl": (16, 29), "prctl": (157, 167), "seccomp": (317, 277),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_ALLOW, _KILL_PROCESS, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15  # select the process that a pipe signals when it has data
_TIOCSTI, _TIOCLINUX, _FIOSETOWN, _SIOCSPGRP = 0x5412, 0x541C, 0x8901, 0x8902
_SET_MODE_FILTER, _GET_ACTION_AVAIL, _ALL_THREADS = 1, 2, 1
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # the first ends a child with its parent, which must not be undone

# linux/bpf_common.h: load a word; jump if equal, at least, or a bit is set; return.
_LOAD, _EQUAL, _AT_LEAST, _BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def is_available() -> bool:
    """Whether the kernel supports such filters, on an architecture whose call numbers are known here."""
    if platform.system() != "Linux" or platform.machine() not in _ARCHITECTURES:
        return False
    action = ctypes.c_uint32(_FAIL)
    number = _NUMBERS["seccomp"][_ARCHITECTURES[platform.machine()][0]]
    return bool(_libc().syscall(number, _GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0)


def deny_calls() -> bool:
    """Install the filter for all threads of this process.

    Returns:
        Whether the kernel accepted it.
    """
    if not is_available():
        return False
    instructions = program(platform.machine(), os.getpid())
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))  # struct sock_fprog
    libc = _libc()
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    number = _NUMBERS["seccomp"][_ARCHITECTURES[platform.machine()][0]]
    return bool(libc.syscall(number, _SET_MODE_FILTER, _ALL_THREADS, head) == 0)


def program(machine: str, pid: int) -> list[Instruction]:
    """The filter for ``machine`` (``"x86_64"``, ``"aarch64"``) and the process ``pid``, which may signal itself."""
    column, architecture = _ARCHITECTURES[machine]
    number = {name: numbers[column] for name, numbers in _NUMBERS.items()}
    steps: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),  # the x32 ABI has its own call numbers
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    for numbers in _DENIED.values():
        denied = numbers[column]
        if denied is not None:
            steps += _when(denied, [_fail(errno.EPERM)])
    # glibc then starts threads with clone, whose flags can be checked.
    steps += _when(number["clone3"], [_fail(errno.ENOSYS)])
    steps += _when(
        number["clone"], [_argument(0), (_BIT, 0, 1, _CLONE_THREAD), (_RETURN, 0, 0, _ALLOW), _fail(errno.EPERM)]
    )
    for name in ("kill", "tgkill"):
        steps += _when(number[name], _only_if(0, (pid,)))
    steps += _when(number["prlimit64"], _only_if(0, (0, pid)))
    steps += _when(number["fcntl"], _only_if(1, (_F_SETOWN, _F_SETSIG, _F_SETOWN_EX), allowed=False))
    steps += _when(number["prctl"], _only_if(0, (_PR_SET_PDEATHSIG,), allowed=False))
    steps += _when(number["ioctl"], _only_if(1, (_TIOCSTI, _TIOCLINUX, _FIOSETOWN, _SIOCSPGRP), allowed=False))
    return [*steps, (_RETURN, 0, 0, _ALLOW)]


def _when(number: int, steps: list[Instruction]) -> list[Instruction]:
    """``steps``, which all end in a return, for the call ``number``; other calls skip them."""
    return [(_EQUAL, 0, len(steps), number), *steps]


def _only_if(argument: int, values: tuple[int, ...], *, allowed: bool = True) -> list[Instruction]:
    """Allow the call if its argument (its lower half: these are ints) is one of ``values``, or unless it is."""
    then, other = (_RETURN, 0, 0, _ALLOW), _fail(errno.EPERM)
    if not allowed:
        then, other = other, then
    tests = [step for value in values for step in ((_EQUAL, 0, 1, value), then)]
    return [_argument(argument), *tests, other]


def _argument(index: int) -> Instruction:
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * index)  # both architectures are little-endian


def _fail(code: int) -> Instruction:
    return (_RETURN, 0, 0, _FAIL | code)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
