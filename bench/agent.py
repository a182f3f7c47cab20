"""Runs inside a peer's sandbox and does the timing there. Not to be started by hand: `sandbox.py` does.

Three stages: `enter` joins the sandbox's cgroup and unshares, `init` is process 1 (it only reaps), and its child takes
orders: one JSON object a line on standard input, one answer a line on standard output. When process 1 ends, the kernel
kills whatever is left in the sandbox and drops its mounts, its network and its firewall.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Any

NAMESPACES = ("--net", "--mount", "--pid", "--ipc", "--uts", "--cgroup")
CGROUPS = "/sys/fs/cgroup"
LONGEST = 300.0
"""Seconds after which a command that does not end is given up, or a container that should run, or be gone."""
_NOTHING = subprocess.DEVNULL


# --- into the sandbox -------------------------------------------------------------------------------------------------


def enter(groups: list[str], arguments: list[str]) -> None:
    """Join the cgroups (one folder a hierarchy), then become `unshare`, which starts `init`.

    The sandbox ends with the benchmark, also when that is killed: the kernel kills `unshare`, and then its child.
    """
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    for group in groups:
        with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")
    program = ["unshare", *NAMESPACES, "--propagation", "private", "--fork", "--kill-child", "--mount-proc"]
    os.execvp("unshare", [*program, sys.executable, os.path.abspath(__file__), "init", *arguments])


def init(hierarchies: list[list[str]]) -> None:
    """Furnish the sandbox, start the one that takes orders, reap until that one ends."""
    _mount_all(hierarchies)
    _loopback_up()
    child = os.fork()
    if child == 0:
        serve()
        os._exit(0)
    while True:
        pid, _ = os.wait()
        if pid == child:
            sys.exit(0)


def _mount(source: str, target: str, kind: str, data: str = "", flags: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind} on {target}: {os.strerror(number)}")


def _mount_all(hierarchies: list[list[str]]) -> None:
    """/sys of this network; the host's cgroup layout with the sandbox as its top; an empty /run and /dev/shm."""
    _mount("sysfs", "/sys", "sysfs")
    if [path for path, _, _ in hierarchies] != [CGROUPS]:
        _mount("tmpfs", CGROUPS, "tmpfs", "mode=755")
    for path, kind, options in hierarchies:
        os.makedirs(path, exist_ok=True)
        _mount("cgroup", path, kind, options)
    for path, mode in (("/run", "755"), ("/dev/shm", "1777")):
        _mount("tmpfs", path, "tmpfs", f"mode={mode}")
    shared = 1 << 20 | 1 << 14  # MS_SHARED | MS_REC: as systemd leaves a machine
    _mount("", "/", "", flags=shared)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        fcntl.ioctl(anything, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING


# --- taking orders ----------------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer orders until standard input ends."""
    orders: dict[str, Any] = {"run": run, "start": start, "heal": heal, "memory": memory, "cpu": cpu}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = orders[order.pop("order")](**order)
        except Exception as error:  # the other side reports it
            answer = {"failure": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def run(
    commands: list[list[str]], env: dict[str, str], log: str, wanted: list[list[str]], *, gone: bool
) -> dict[str, Any]:
    """Run the commands one after another: seconds until the last has ended, and how they ended.

    `wanted` are the command lines that must run by then, or with `gone` must run no more: who returns early is waited
    for, on its time.
    """
    failure = ""
    with open(log, "wb") as output:
        begun = time.perf_counter()
        for command in commands:
            ended = subprocess.run(
                command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
            )
            if ended.returncode:
                failure = f"{' '.join(command)}: exit code {ended.returncode}"
                break
        seconds = time.perf_counter() - begun
    while wanted and not failure and not _as_wanted(wanted, gone=gone):
        time.sleep(0.001)
        seconds = time.perf_counter() - begun
        if seconds > LONGEST:
            failure = f"{' '.join(commands[-1])}: containers {'still' if gone else 'do not'} run"
    if failure:
        with open(log, encoding="utf-8", errors="replace") as output:
            return {"failure": f"{failure}\n{output.read()[-2000:]}"}
    return {"seconds": seconds}


def _as_wanted(wanted: list[list[str]], *, gone: bool) -> bool:
    lines = [_read(f"/proc/{pid}/cmdline") for pid in _processes()]
    return all((_line(command) in lines) != gone for command in wanted)


def _line(command: list[str]) -> bytes:
    return b"\0".join(word.encode() for word in command) + b"\0"


def start(command: list[str], env: dict[str, str], log: str, until: str) -> dict[str, Any]:
    """Start a daemon and wait until the socket `until` takes connections: a path, or address:port."""
    with open(log, "wb") as output:
        daemon = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        host, _, port = until.rpartition(":")
        with socket.socket(socket.AF_INET if host else socket.AF_UNIX) as probe:
            if probe.connect_ex((host, int(port)) if host else until) == 0:
                return {"pid": daemon.pid}
        if daemon.poll() is not None:
            break
        time.sleep(0.05)
    with open(log, encoding="utf-8", errors="replace") as output:
        return {"failure": f"{command[0]} did not come up:\n{output.read()[-2000:]}"}


def heal(command: list[str], timeout: float = 30.0) -> dict[str, Any]:
    """Kill the one container that runs `command` with SIGKILL; seconds until another process runs it."""
    found = running(command)
    if len(found) != 1:
        return {"failure": f"{len(found)} processes run {' '.join(command)}, not one"}
    (victim,) = found
    begun = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    while time.perf_counter() - begun < timeout:
        time.sleep(0.001)
        if running(command) - {victim}:
            return {"seconds": time.perf_counter() - begun}
    return {"failure": f"nothing came back within {timeout} s"}


def running(command: list[str]) -> set[int]:
    """The processes with exactly this command line."""
    line = _line(command)
    return {pid for pid in _processes() if _read(f"/proc/{pid}/cmdline") == line}


def memory(program: str) -> dict[str, Any]:
    """Proportional set size (bytes) of all that is not in a container, by name: what does not run `program`."""
    found: dict[str, int] = {}
    for pid in _processes():
        try:
            inside = os.path.basename(os.readlink(f"/proc/{pid}/exe")) == program
        except OSError:
            continue
        if inside or pid in (1, os.getpid()):
            continue
        name = _read(f"/proc/{pid}/comm").decode().strip()
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                found[name] = found.get(name, 0) + int(line.split()[1]) * 1024
    return {"pss": found}


def cpu() -> dict[str, Any]:
    """Processor seconds that all processes of the sandbox have used so far, ended ones included."""
    usage = _read(f"{CGROUPS}/cpuacct/cpuacct.usage") or _read(f"{CGROUPS}/cpu,cpuacct/cpuacct.usage")
    if usage:
        return {"seconds": int(usage) / 1e9}
    statistics = dict(line.split() for line in _read(f"{CGROUPS}/cpu.stat").decode().splitlines())
    return {"seconds": int(statistics["usage_usec"]) / 1e6}


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


if __name__ == "__main__":
    if sys.argv[1] == "enter":
        enter(json.loads(sys.argv[2]), sys.argv[3:])
    else:
        init(json.loads(sys.argv[2]))
