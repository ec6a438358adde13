"""A process that dies when it so much as makes a socket to the internet, whoever asks for it.

Patching Python's `socket` would not see what a C++ library does; the kernel does.
"""

from __future__ import annotations

import ctypes
import platform
import socket
import struct
from collections.abc import Callable

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
KILL_PROCESS, ALLOW = 0x8000_0000, 0x7FFF_0000
SYSCALL_NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
SOCKET_CALL = {"x86_64": 41, "aarch64": 198}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def no_internet() -> Callable[[], None] | None:
    """A `preexec_fn` that forbids internet sockets; None where this can't be done."""
    call = SOCKET_CALL.get(platform.machine())
    if platform.system() != "Linux" or call is None:
        return None
    steps = [
        (LOAD_WORD, 0, 0, SYSCALL_NUMBER),
        (JUMP_IF_EQUAL, 0, 4, call),
        (LOAD_WORD, 0, 0, FIRST_ARGUMENT),
        (JUMP_IF_EQUAL, 1, 0, socket.AF_INET),
        (JUMP_IF_EQUAL, 0, 1, socket.AF_INET6),
        (RETURN, 0, 0, KILL_PROCESS),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)

    def forbid() -> None:
        _ = code  # lives as long as the program that points at it
        unset = ctypes.c_ulong(0)
        one = ctypes.c_ulong(1)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, one, unset, unset, unset):
            raise OSError(ctypes.get_errno(), "no_new_privs")
        mode = ctypes.c_ulong(SECCOMP_MODE_FILTER)
        if libc.prctl(PR_SET_SECCOMP, mode, ctypes.byref(program), unset, unset):
            raise OSError(ctypes.get_errno(), "seccomp")

    return forbid
