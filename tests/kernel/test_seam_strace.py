"""The seam counts what the kernel sees: one effect is one system call, none is missed, none counted twice."""

from __future__ import annotations

import collections
import json
import os
import re
import subprocess
import sys

import pytest

SCENARIO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scenario.py")

CALLS = {
    "cgroups._kill_member": "pidfd_send_signal",
    "cgroups._write_control": "write",
    "copying.copy_range": "copy_file_range",
    "copying.send": "sendfile",
    "copying.sync_filesystem": "syncfs",
    "files.chmod": "chmod",
    "files.chown": "chown",
    "files.create": "open",
    "files.fsync": "fsync",
    "files.link": "link",
    "files.mkdir": "mkdir",
    "files.mkfifo": "mknod",
    "files.open_for_writing": "open",
    "files.pwrite": "write",
    "files.rename": "rename",
    "files.rmdir": "rmdir",
    "files.symlink": "symlink",
    "files.truncate": "truncate",
    "files.unlink": "unlink",
    "files.write": "write",
    "mounts._mount": "mount",
    "mounts._umount": "umount",
    "netlink._enter": "setns",
    "netlink.change": "netlink",
    "nftables._delete_flow": "netlink",
    "nftables.change_elements": "netlink",
    "processes.send_signal": "pidfd_send_signal",
    "programs.spawn": "fork",
    "rooted._open_for_change": "open",
    "rooted.chmod_fd": "chmod",
    "rooted.chown_at": "chown",
    "rooted.create": "open",
    "rooted.create_at": "open",
    "rooted.link_at": "link",
    "rooted.mkdir_at": "mkdir",
    "rooted.mknod_at": "mknod",
    "rooted.setxattr_at": "setxattr",
    "rooted.setxattr_fd": "setxattr",
    "rooted.symlink_at": "symlink",
    "rooted.unlink_at": "unlink",
    "rooted.utime_at": "utime",
    "rooted.utime_fd": "utime",
    "seccomp._memory_file": "memfd",
    "sockets.bind": "bind",
    "sysctl.write": "write",
}
"""What each effect is for the kernel. `store._commit` has none of its own: SQLite's writes are left out below."""

TRACED = (
    "openat,openat2,creat,write,pwrite64,writev,sendfile,copy_file_range,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,"
    "renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,"
    "utimensat,truncate,ftruncate,fallocate,setxattr,lsetxattr,fsetxattr,removexattr,mount,umount2,fsmount,move_mount,"
    "pivot_root,setns,kill,tkill,tgkill,pidfd_send_signal,bind,connect,sendto,sendmsg,sendmmsg,fsync,fdatasync,syncfs,"
    "memfd_create,clone,clone3,fork,vfork,execve,sethostname,prctl,setpriority,ioctl"
)
_ALIKE = {
    "chmod": r"f?chmod(at)?",
    "chown": r"[fl]?chown(at)?",
    "copy_file_range": "copy_file_range",
    "fsync": "f(data)?sync",
    "link": r"link(at)?",
    "mkdir": r"mkdir(at)?",
    "memfd": "memfd_create",
    "mknod": r"mknod(at)?",
    "mount": "mount|fsmount|move_mount|pivot_root",
    "pidfd_send_signal": "pidfd_send_signal|t?g?kill",
    "rename": r"rename(at2?)?",
    "sendfile": "sendfile",
    "setns": "setns",
    "setxattr": "[fl]?setxattr|removexattr",
    "symlink": r"symlink(at)?",
    "syncfs": "syncfs",
    "truncate": "f?truncate|fallocate",
    "umount": "umount2",
    "utime": "utimensat",
    "write": "p?writev?(64)?",
}
_LINE = re.compile(r"^(\d+) +([a-z0-9_]+)\((.*)\) += (-?\w+)", re.DOTALL)
_SQLITE = re.compile(r"/store\.db(-wal|-shm|-journal)?[>\"]")
_BY_FILE = ("write", "pwrite64", "writev", "unlink", "ftruncate", "fsync", "fdatasync", "fchmod", "fchown")
_NOT_OURS = re.compile(rf"^[12](<|,)|<pipe:|</memfd:|{_SQLITE.pattern}")
_NETLINK_CHANGE = re.compile(r"RTM_(NEW|DEL|SET)|NFNL_MSG_BATCH_BEGIN|IPCTNL_MSG_CT_DELETE")


def calls_of(trace):
    """The whole lines of the trace, unfinished and resumed calls put together."""
    pending = {}
    for line in trace.splitlines():
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            pending[pid] = line.removesuffix("<unfinished ...>").rstrip()
            continue
        resumed = re.match(r"^\d+ +<\.\.\. \w+ resumed>(.*)$", line)
        text = pending.pop(pid, "") + resumed[1] if resumed else line
        if match := _LINE.match(text):
            yield match[1], match[2], match[3], match[4]


def classify(name, arguments):
    """The kind of change, "" for what changes nothing that outlives the process, or is SQLite's or a pipe's."""
    if name in ("openat", "openat2", "creat"):
        changes = re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC)", arguments)
        outside = re.search(r'"/(dev/null|proc/sys/|sys/fs/cgroup/)', arguments) or _SQLITE.search(arguments)
        return "open" if changes and not outside else ""
    if name in _BY_FILE and _NOT_OURS.search(arguments):
        return ""
    if name in ("rmdir", "unlinkat"):
        return "rmdir" if name == "rmdir" or "AT_REMOVEDIR" in arguments else "unlink"
    if name == "unlink":
        return "unlink"
    if name in ("sendto", "sendmsg"):
        return "netlink" if _NETLINK_CHANGE.search(arguments) or _is_raw_change(arguments) else ""
    if name == "bind":
        return "bind" if "AF_NETLINK" not in arguments else ""
    if name in ("clone", "clone3", "fork", "vfork"):
        return "" if "CLONE_THREAD" in arguments else "fork"
    for kind, pattern in _ALIKE.items():
        if re.fullmatch(pattern, name):
            return kind
    return "" if name in ("execve", "connect", "prctl", "ioctl") else name


def _is_raw_change(arguments):
    """On a socket of another network namespace strace does not know the protocol: of routing's, 2 modulo 4 only asks."""
    raw = re.search(r"nlmsg_type=0x([0-9a-f]+) /\* NLMSG", arguments)
    return bool(raw) and int(raw[1], 16) % 4 != 2


def counted(trace):
    """Successful changes of the traced process and its threads, and each one's line."""
    threads = set()
    counts = collections.Counter()
    lines = collections.defaultdict(list)
    spawned = {}
    for pid, name, arguments, result in calls_of(trace):
        if not threads:
            threads.add(pid)
        if pid not in threads and "CLONE_THREAD" not in spawned.get(pid, ""):
            spawned.setdefault(pid, "")
        if name in ("clone", "clone3", "fork", "vfork") and pid in threads and "CLONE_THREAD" in arguments:
            threads.add(result)
        if pid not in threads or result.startswith("-") or result == "?":
            continue
        if kind := classify(name, arguments):
            counts[kind] += 1
            lines[kind].append(f"{name}({arguments[:160]}) = {result}")
    return counts, lines


@pytest.mark.kernel
def test_the_seam_counts_what_strace_counts(machine):
    """Create, start, stop, start and remove with a link, two kinds of volumes and a port."""
    spec = machine.spec(
        {
            "containers": {
                "db": {
                    "image": "tiny",
                    "command": ["sleep", "1000"],
                    "volumes": ["data:/srv/fixture", "/anonymous"],
                    "stop_grace_period": "0s",
                },
                "web": {
                    "image": "tiny",
                    "command": ["httpd", "-f"],
                    "links": ["db"],
                    "ports": ["80", "53/udp"],
                    "restart": "always",
                    "stop_grace_period": "0s",
                },
            },
            "volumes": {"data": {}},
        }
    )
    trace, out = os.path.join(machine.folder, "trace"), os.path.join(machine.folder, "effects.json")
    command = ["strace", "-f", "-y", "-v", "-s", "256", "-e", "signal=none", "-e", f"trace={TRACED}", "-o", trace]
    done = subprocess.run(
        [*command, sys.executable, "-B", SCENARIO, out, spec],
        env=machine.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with open(out, encoding="utf-8") as file:
        effects = json.load(file)
    os.remove(out)
    with open(trace, encoding="utf-8", errors="replace") as file:
        seen, lines = counted(file.read())
    assert effects.pop("store._commit") > 0
    expected = collections.Counter()
    for name, number in effects.items():
        expected[CALLS[name]] += number
    seen["open"] -= 1  # the scenario's own report, and its content
    seen["write"] -= 1
    differing = {kind: (expected[kind], seen[kind]) for kind in expected | seen if expected[kind] != seen[kind]}
    assert not differing, "\n".join(
        f"{kind}: {e} effects, {s} system calls:\n  " + "\n  ".join(lines[kind]) for kind, (e, s) in differing.items()
    )
    assert sum(expected.values()) > 100
