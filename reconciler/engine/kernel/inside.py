"""Starting a process inside a running container, as confined as the container's own: for probes, many and cheap.

What `crun exec` does in two programs, done in two forks: the first child joins control groups and namespaces with
nothing of the host in its hands; its child, who is the first that the container can see, takes on user, capabilities
and system call filter, and executes the command. The caller must have one thread only, and run from a sealed program
(`programs.spawn_sealed`): a container can make us execute `/proc/self/exe`, and must not get to a file that it can write to.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
from typing import TYPE_CHECKING

from reconciler.engine.kernel.effects import effect
from reconciler.kits import capabilities
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from typing import NoReturn

NAMESPACES = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "pid": 0x20000000,
    "network": 0x40000000,
}
"""Flags of setns(2) by the names of runtime-spec config-linux.md."""

SECCOMP_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
"""Flags of seccomp(2) by the names of runtime-spec config-linux.md."""

_NR_CLOSE_RANGE = 436
_NR_SECCOMP = {"x86_64": 317, "aarch64": 277}.get(os.uname().machine, -1)
_NR_KEYCTL = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine, 0)
_KEYCTL_JOIN_SESSION_KEYRING = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECCOMP_MODE_FILTER = 2
_SECCOMP_SET_MODE_FILTER = 1
_CAPABILITY_VERSION_3 = 0x20080522
_ST_RDONLY = 1
_REPORT = 3

_FRAME = struct.Struct("=cI")
"""How each part of a report begins: what it is, and a number: the pid, or how many bytes of an error follow."""

_PID, _ERROR = b"p", b"!"
_LONGEST_ERROR = 1024
"""Bytes. A part is written in one go, which no other gets into (pipe(7), PIPE_BUF)."""

_libc = ctypes.CDLL(None, use_errno=True)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


_CapabilityData = ctypes.c_uint32 * 6
"""Effective, permitted, inheritable: the lower 32 bits of each, then the higher ones."""


class Confinement(Frozen):
    """What a process shall be: the fields of runtime-spec config.md's `process`, in the kernel's terms.

    Capability sets are bit masks. `groups` are the files `cgroup.procs` that it writes itself to. `seccomp` is a BPF
    program, b"" for no filter, `seccomp_flags` are of `SECCOMP_FLAGS`. `rlimits` are (number, soft, hard).
    """

    namespaces: int
    groups: tuple[str, ...]
    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    umask: int
    working_dir: str
    environment: dict[str, str]
    bounding: int
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    no_new_privileges: bool
    seccomp: bytes
    seccomp_flags: int
    rlimits: tuple[tuple[int, int, int], ...]
    apparmor: str
    oom_score: int


def be_ready() -> None:
    """Make this process one that may start others inside: nobody looks into it, and what it starts becomes its own.

    Raises OSError where it does not run from a sealed program.
    """
    if not os.statvfs("/proc/self/exe").f_flag & _ST_RDONLY:
        raise OSError(errno.EPERM, "this program was not started sealed")
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


@effect
def start(pidfd: int, confinement: Confinement, arguments: tuple[str, ...], output: int, report: int) -> int:
    """Start `arguments` in the container of the process `pidfd`; returns the pid of a child that ends at once.

    `output` takes what the command writes. Into `report` comes what `read_report` reads, then its end of file. The
    command becomes a child of this process.
    """
    child = os.fork()
    if not child:
        _child(pidfd, confinement, arguments, output, report)
    return child


def _child(pidfd: int, confinement: Confinement, arguments: tuple[str, ...], output: int, report: int) -> NoReturn:
    code = 127
    try:
        _join(pidfd, confinement, output, report)
        report = _REPORT
        pid = os.fork()
        if pid:
            os.write(report, _FRAME.pack(_PID, pid))
            code = 0
        else:
            _become(confinement)
            os.execvpe(arguments[0], arguments, confinement.environment)  # noqa: S606 - the container's own command
    except Exception as error:
        said = _told(error, arguments[0]).encode("utf-8", "replace")[:_LONGEST_ERROR]
        os.write(report, _FRAME.pack(_ERROR, len(said)) + said)
    finally:
        os._exit(code)


def read_report(report: bytes) -> tuple[int, str]:
    """The command's pid (0 while it is not known) and why it can't be started ("": nothing of the kind), so far.

    The reason has the image's own words in it. They are counted, not looked for: they can't pass for a pid.
    """
    pid, why, at = 0, "", 0
    while len(report) - at >= _FRAME.size:
        kind, number = _FRAME.unpack_from(report, at)
        at += _FRAME.size
        if kind == _PID:
            pid = number
        else:
            why = why or report[at : at + number].decode("utf-8", "replace")
            at += number
    return pid, why


def _told(error: Exception, name: str) -> str:
    if not isinstance(error, OSError):
        return f'exec: "{name}": {error}'
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        why = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        return f'exec: "{name}": {why}'
    place = f"{error.filename}: " if error.filename and error.filename != name else ""
    return f'exec: "{name}": {place}{(error.strerror or str(error)).lower()}'


def _join(pidfd: int, confinement: Confinement, output: int, report: int) -> None:
    """Leave the host: control groups, then all namespaces at once; of descriptors only our own end of two pipes stays."""
    for path in confinement.groups:
        _put(path, "0")
    _put("/proc/self/oom_score_adj", str(confinement.oom_score))
    if confinement.apparmor:
        _put("/proc/self/attr/apparmor/exec", f"exec {confinement.apparmor}")
    null = os.open(os.devnull, os.O_RDWR)
    _check(_libc.setns(pidfd, ctypes.c_int(confinement.namespaces)), "setns")
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(report, _REPORT, inheritable=False)
    _check(_libc.syscall(ctypes.c_long(_NR_CLOSE_RANGE), _REPORT + 1, ctypes.c_uint(0xFFFFFFFF), 0), "close_range")


def _become(confinement: Confinement) -> None:
    """Take on user, limits, capabilities and filter. Without no_new_privs the filter needs a capability that goes last."""
    os.setsid()
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(ignored, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if _NR_KEYCTL:  # a keyring of its own, not the one of whoever started us
        _libc.syscall(ctypes.c_long(_NR_KEYCTL), _KEYCTL_JOIN_SESSION_KEYRING, None)
    os.umask(confinement.umask)
    for number, soft, hard in confinement.rlimits:
        resource.setrlimit(number, (soft, hard))
    os.chdir(confinement.working_dir)
    everything = _permitted()
    for number in range(len(capabilities.NAMES)):
        if not confinement.bounding >> number & 1:
            _drop(number)
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups(confinement.additional_gids)
    os.setresgid(confinement.gid, confinement.gid, confinement.gid)
    os.setresuid(confinement.uid, confinement.uid, confinement.uid)
    _set_capabilities(everything, everything, 0)
    if confinement.no_new_privileges:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if confinement.seccomp:
        _filter(confinement.seccomp, confinement.seccomp_flags)
    _set_capabilities(
        confinement.effective & everything, confinement.permitted & everything, confinement.inheritable & everything
    )
    for number in range(len(capabilities.NAMES)):
        if (confinement.ambient & everything) >> number & 1:
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)


def _put(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _drop(number: int) -> None:
    """From the bounding set; one that this kernel does not know needs no dropping."""
    if _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), "prctl: a capability can't be dropped")


def _permitted() -> int:
    header, data = _CapabilityHeader(_CAPABILITY_VERSION_3, 0), _CapabilityData()
    _check(_libc.capget(ctypes.byref(header), ctypes.byref(data)), "capget")
    return data[1] | data[4] << 32


def _set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    sets = (effective, permitted, inheritable)
    data = _CapabilityData(*(mask & 0xFFFFFFFF for mask in sets), *(mask >> 32 for mask in sets))
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")


def _filter(program: bytes, flags: int) -> None:
    described = _FilterProgram(len(program) // 8, program)
    if not flags:
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(described))
        return
    mode = ctypes.c_uint(_SECCOMP_SET_MODE_FILTER)
    number = ctypes.c_long(_NR_SECCOMP)
    _check(_libc.syscall(number, mode, ctypes.c_uint(flags), ctypes.byref(described)), "seccomp")


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(number) for number in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(ctypes.c_int(option), *padded), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
