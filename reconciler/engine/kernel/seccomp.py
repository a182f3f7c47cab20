"""Compiles a seccomp filter to BPF with libseccomp (LGPL, linked at run time). Changes nothing on the machine.

Where the library is missing the OCI runtime compiles the filter itself, which is slower and just as safe.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import Any

from reconciler.engine.kernel.effects import effect

_KILL_PROCESS = 0x80000000
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": _KILL_PROCESS,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_WITH_VALUE = {"SCMP_ACT_ERRNO": 0x00050000, "SCMP_ACT_TRACE": 0x7FF00000}
"""Their low half is the error number, or what a tracer is told."""
_COMPARISONS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint))


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.seccomp_arch_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_version.restype = ctypes.POINTER(_Version)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    )
    return library


def library_version() -> str:
    """Libseccomp's version, "" where it is not installed."""
    library = _library()
    if library is None:
        return ""
    version = library.seccomp_version().contents
    return f"{version.major}.{version.minor}.{version.micro}"


@effect
def _memory_file() -> int:
    return os.memfd_create("seccomp", os.MFD_CLOEXEC)


def compile_filter(oci: dict[str, Any]) -> bytes:
    """The BPF program (struct sock_filter array) of an OCI `linux.seccomp` object.

    System calls that this libseccomp does not know are left out, as the OCI runtimes do. Raises OSError.
    """
    library = _library()
    if library is None:
        raise OSError(errno.ENOENT, "libseccomp.so.2 is not installed")
    context = library.seccomp_init(_action(oci["defaultAction"], oci.get("defaultErrnoRet")))
    if not context:
        raise OSError(errno.ENOMEM, "libseccomp: seccomp_init failed")
    try:
        for name in oci.get("architectures", ()):
            token = library.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
            _check(library.seccomp_arch_add(context, token), "seccomp_arch_add", errno.EEXIST)
        for rule in oci["syscalls"]:
            _add(library, context, rule)
        fd = _memory_file()
        try:
            _check(library.seccomp_export_bpf(context, fd), "seccomp_export_bpf")
            os.lseek(fd, 0, os.SEEK_SET)
            return os.read(fd, 1 << 20)
        finally:
            os.close(fd)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: int, rule: dict[str, Any]) -> None:
    action = _action(rule["action"], rule.get("errnoRet"))
    arguments = rule.get("args", ())
    array = (_Comparison * max(1, len(arguments)))(
        *(_Comparison(a["index"], _COMPARISONS[a["op"]], a["value"], a.get("valueTwo", 0)) for a in arguments)
    )
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != -1:  # __NR_SCMP_ERROR
            code = library.seccomp_rule_add_array(context, action, number, len(arguments), array)
            # EACCES: the rule says what the default says; EDOM: not on one of the architectures
            _check(code, f"seccomp_rule_add({name})", errno.EACCES, errno.EDOM)


def _action(name: str, errno_value: int | None) -> int:
    if base := _WITH_VALUE.get(name):
        return base | ((errno.EPERM if errno_value is None else errno_value) & 0xFFFF)
    return _ACTIONS[name]


def _check(code: int, what: str, *fine: int) -> None:
    if code < 0 and -code not in fine:
        raise OSError(-code, f"libseccomp: {what}: {os.strerror(-code)}")
