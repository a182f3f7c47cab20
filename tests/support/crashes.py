"""Kills the command line before or after its effect number k, and compares what the next run makes of it.

    python crashes.py SPEC [--both] [--every N] [--start N] [--only K]      with RECONCILER_ROOT and RECONCILER_RUN of its own

For every k: from an empty machine `apply` is killed at its effect k, `apply` runs again and has to succeed, the whole
state is compared with that of an undisturbed `apply`, then `down --volumes` has to leave nothing. One JSON line each:
{"effect", "when", "name", "differences"}. The processes are forked from this one, which has everything imported.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(sys.path[0]))

from support import world

from reconciler.cli.main import main
from reconciler.engine.kernel import effects
from reconciler.engine.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BUSY_LIMIT = 120.0
"""Seconds beyond LIMIT for what is seen at work: a removal of a bridge takes its time on a busy machine."""

LIMIT = 8.0
"""Seconds until what goes on in the background (monitors, links, the network's removal) must have ended."""


class Crasher:
    """A watcher that ends this process as power loss would end it for others: SIGKILL at effect `number` (from 1)."""

    def __init__(self, number: int, *, after: bool) -> None:
        self._number = number
        self._after = after
        self._begun = 0

    def before(self, _name: str, _arguments: tuple[Any, ...]) -> None:
        self._begun += 1
        # One that failed has no `after`: the next one's beginning is just as good.
        if self._begun == self._number + self._after:
            os.kill(os.getpid(), signal.SIGKILL)

    def after(self, _name: str, _arguments: tuple[Any, ...]) -> None:
        if self._begun == self._number and self._after:
            os.kill(os.getpid(), signal.SIGKILL)


class Recorder:
    """A watcher that writes down the names of the effects to a file, in the order in which they begin."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)

    def before(self, name: str, arguments: tuple[Any, ...]) -> None:
        os.write(self._file, f"{name}{str(arguments)[:150]!r}\n".encode())

    def after(self, name: str, arguments: tuple[Any, ...]) -> None:
        pass


def run(arguments: Sequence[str], log: str, watcher: effects.Watcher | None = None) -> int:
    """The command line in a forked process; its exit code, negative for a signal."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        effects.watch(watcher)
        code = main(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


class Driver:
    """One spec on one pair of roots, over and over."""

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.paths = Paths.of()
        self.log = os.path.join(os.path.dirname(self.paths.root), "crash.log")
        self.applied: world.Snapshot | None = None
        self.down: world.Snapshot | None = None
        self.names: list[str] = []

    def prepare(self) -> None:
        """The undisturbed run, which all others are compared with."""
        run(["down", "--volumes", "--yes", self.spec], self.log)
        self._settled(None)
        self.clear()
        record = os.path.join(os.path.dirname(self.paths.root), "effects")
        self._must(["apply", "--parallel", "1", self.spec], Recorder(record))
        with open(record, encoding="utf-8") as file:
            self.names = file.read().splitlines()
        self.applied = self._settled(None)
        self._must(["down", "--volumes", "--yes", self.spec])
        self.down = self._settled(None)

    def clear(self) -> None:
        """Back to a machine that has nothing but an image: no caches, nothing in RUN."""
        for folder in (os.path.join(self.paths.root, "state"), os.path.join(self.paths.root, "cache"), self.paths.run):
            shutil.rmtree(folder, ignore_errors=True)

    def crash(self, number: int, *, after: bool) -> dict[str, Any] | None:
        """One round; None when `apply` ended before it came to that effect."""
        self.clear()
        command = ["apply", "--parallel", "1", self.spec]
        code = run(command, self.log, Crasher(number, after=after))
        if code == 0:
            return None
        differences: list[str] = (
            [] if code == -signal.SIGKILL else [f"ended with {code} before the crash: {self._said()}"]
        )
        differences += self._again(command, self.applied, "after apply")
        differences += self._again(["down", "--volumes", "--yes", self.spec], self.down, "after down")
        name = self.names[number - 1] if number <= len(self.names) else "?"
        return {"effect": number, "when": "after" if after else "before", "name": name, "differences": differences}

    def _again(self, command: list[str], expected: world.Snapshot | None, when: str) -> list[str]:
        code = run(command, self.log)
        found = []
        if code:
            found = [f"{when}: exit code {code}: {self._said()}"]
        assert expected is not None
        return found + [f"{when}: {line}" for line in expected.difference(self._settled(expected))]

    def _must(self, command: list[str], watcher: effects.Watcher | None = None) -> None:
        if run(command, self.log, watcher):
            raise SystemExit(self._said())

    def _said(self) -> str:
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def _settled(self, expected: world.Snapshot | None) -> world.Snapshot:
        """The state once nothing goes on in the background, or is as expected."""
        end = time.monotonic() + LIMIT
        while True:
            busy = [line for line in world.processes_of(self.paths).values() if f" tidy {self.paths.root}" in line]
            if not busy or time.monotonic() > end + BUSY_LIMIT:
                snapshot = world.Snapshot(self.paths)
                if expected is None or not expected.difference(snapshot) or time.monotonic() > end:
                    return snapshot
            time.sleep(0.005)


def rounds(driver: Driver, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    number = options.only or options.start
    while True:
        for after in (False, True) if options.both else (True,):
            result = driver.crash(number, after=after)
            if result is None:
                return
            yield result
        if options.only:
            return
        number += options.every


def _import_everything() -> None:
    package = importlib.import_module("reconciler")
    for module in pkgutil.walk_packages(package.__path__, "reconciler."):
        if not module.name.endswith("__main__") and ".spec.generate" not in module.name:
            importlib.import_module(module.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("spec")
    parser.add_argument(
        "--both", action="store_true", help="before each effect, too (the same as after the one before)"
    )
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--start", type=int, default=1)
    parser.add_argument("--only", type=int, default=0)
    given = parser.parse_args()
    _import_everything()
    crashes = Driver(given.spec)
    crashes.prepare()
    print(json.dumps({"effects": len(crashes.names)}), flush=True)
    for line in rounds(crashes, given):
        print(json.dumps(line), flush=True)
