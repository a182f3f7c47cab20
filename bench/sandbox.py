"""A sandbox for one peer: namespaces of its own for network, mounts and processes, and a cgroup that counts everything.

So the peers neither see nor disturb each other or what else runs on the machine, no daemon escapes the accounting, and
nothing is left when the benchmark ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from agent import CGROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Hierarchy = tuple[str, str, str]  # mount point, kind, mount options

_PREFIX = "reconciler-bench-"
_HERE = os.path.dirname(os.path.abspath(__file__))
_FLAGS = frozenset(("rw", "ro", "relatime", "noatime", "nosuid", "nodev", "noexec", "xattr", "release_agent"))


class SandboxError(Exception):
    """Something in the sandbox failed; the text says what."""


def hierarchies() -> list[Hierarchy]:
    """The machine's cgroup mounts, v1, hybrid or v2."""
    found = []
    with open("/proc/self/mounts", encoding="utf-8") as table:
        for line in table:
            _, path, kind, options, *_ = line.split()
            if kind in ("cgroup", "cgroup2") and path.startswith(CGROUPS):
                own = [word for word in options.split(",") if word.partition("=")[0] not in _FLAGS]
                if any(word.startswith("name=") for word in own):
                    own = ["none", *own]
                found.append((path, kind, ",".join(own) if kind == "cgroup" else ""))
    return found


class Sandbox:
    """`data` is a folder on disk for the peer; what is mounted there in the sandbox is not seen outside."""

    def __init__(self, name: str, data: str, *, hide_unified: bool = False) -> None:
        """With `hide_unified` a hybrid machine looks like a v1 machine in there."""
        self.name, self.data = name, data
        self.env = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": data, "LANG": "C.UTF-8"}
        self._hierarchies = [h for h in hierarchies() if not (hide_unified and h[0].endswith("/unified"))]
        self._top = f"{_PREFIX}{os.getpid()}"
        os.makedirs(data)
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Make the cgroup and start the agent."""
        groups = [self._make_group(path, kind) for path, kind, _ in self._hierarchies]
        agent = os.path.join(_HERE, "agent.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", agent, "enter", json.dumps(groups), json.dumps(self._hierarchies)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        self._ask(order="cpu")
        for group in groups:
            if os.path.dirname(os.path.dirname(group)) == CGROUPS:
                _open_up(group)

    def _make_group(self, path: str, kind: str) -> str:
        group = os.path.join(path, self._top, self.name)
        os.makedirs(group, exist_ok=True)
        for folder in (os.path.dirname(group), group):
            if os.path.exists(f"{folder}/cpuset.cpus") and kind == "cgroup":
                for name in ("cpuset.cpus", "cpuset.mems"):
                    _copy(os.path.join(os.path.dirname(folder), name), os.path.join(folder, name))
        return group

    def run(self, *commands: Sequence[str], wanted: Sequence[Sequence[str]] = (), gone: bool = False) -> float:
        """Run commands one after another; returns the seconds they took together. Raises SandboxError.

        The time ends when the containers' command lines in `wanted` run, or with `gone` have ended.
        """
        log = self._log("run")
        answer = self._ask(order="run", commands=commands, env=self.env, log=log, wanted=wanted, gone=gone)
        return float(answer["seconds"])

    def start(self, command: Sequence[str], until: str) -> int:
        """Start a daemon, wait for its socket; returns its process id inside."""
        return int(self._ask(order="start", command=command, env=self.env, log=self._log("daemon"), until=until)["pid"])

    def output(self) -> str:
        """What the last `run` printed."""
        with open(self._log("run"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def heal(self, command: Sequence[str]) -> float:
        """Kill -9 the container that runs `command`; seconds until it runs again."""
        return float(self._ask(order="heal", command=command)["seconds"])

    def memory(self, program: str) -> dict[str, int]:
        """Bytes by process name of what is resident outside of containers (which run `program`)."""
        return dict(self._ask(order="memory", program=program)["pss"])

    def cpu(self) -> float:
        """Processor seconds used so far by everything in the sandbox."""
        return float(self._ask(order="cpu")["seconds"])

    def _log(self, name: str) -> str:
        return os.path.join(self.data, f"bench-{name}.log")

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self._process
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            raise SandboxError(f"{self.name}: the sandbox has ended")
        answer: dict[str, Any] = json.loads(line)
        if "failure" in answer:
            raise SandboxError(f"{self.name}: {answer['failure']}")
        return answer

    def close(self) -> None:
        """End everything in the sandbox and remove what is left outside of it."""
        if self._process:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for path, _, _ in self._hierarchies:
            _remove_group(os.path.join(path, self._top, self.name))
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(path, self._top))
        shutil.rmtree(self.data, ignore_errors=True)


@contextlib.contextmanager
def opened(sandbox: Sandbox) -> Iterator[Sandbox]:
    """Open it, and close it whatever happens."""
    try:
        sandbox.open()
        yield sandbox
    finally:
        sandbox.close()


def sweep() -> None:
    """Remove what a benchmark that was killed has left: its cgroups. Namespaces and processes have gone with it."""
    for path, _, _ in hierarchies():
        for name in os.listdir(path):
            pid = name.removeprefix(_PREFIX)
            if pid != name and not os.path.exists(f"/proc/{pid}"):
                _remove_group(os.path.join(path, name))


def _open_up(group: str) -> None:
    """On v2, let groups be made below: no process may be in one that hands controllers on (cgroups(7))."""
    leaf = os.path.join(group, "agent")
    os.mkdir(leaf)
    with open(f"{group}/cgroup.procs", encoding="ascii") as file:
        members = file.read().split()
    for pid in members:
        with open(f"{leaf}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(pid)
    top = os.path.dirname(group)
    for folder in (CGROUPS, top, group):
        with open(f"{folder}/cgroup.controllers", encoding="ascii") as file:
            controllers = file.read().split()
        with open(f"{folder}/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write(" ".join(f"+{name}" for name in controllers))


def _copy(source: str, target: str) -> None:
    with open(source, encoding="ascii") as file:
        value = file.read()
    with open(target, "w", encoding="ascii") as file:
        file.write(value)


def _remove_group(group: str) -> None:
    """Remove a cgroup and those below; their last processes may still be on their way out."""
    end = time.monotonic() + 20
    while os.path.isdir(group):
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if time.monotonic() > end:
            raise SandboxError(f"{group} can't be removed: something still runs in it")
        time.sleep(0.01)
