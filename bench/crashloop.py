#!/usr/bin/env python3
"""What a crash loop costs: many containers that end at once and are restarted for ever, measured while they do.

    bench/crashloop.py [--containers 200] [--minutes 3]

On roots of its own, with all processor time of containers, monitors, hooks and the keeper counted by their control
group. Needs root and the tiny image in build/images. Prints one line each ten seconds, and what is resident at the end.
Ends with 1 where that is more than a crash loop may take, or the containers were not restarted, or not by turns. Each
bound is about twice what was measured (docs/benchmarks.md), and processor time does not depend on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from reconciler.engine.kernel import cgroups
from reconciler.engine.paths import Paths

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

PERIOD = 10.0

SHARE = 0.5
"""Of one processor's time, that everything together may take once the containers have been made."""

RESTARTS_A_SECOND = 8.0
"""Twice the keeper's pace."""

PROCESSES = 12
RESIDENT = 64 << 10
"""Kibibytes: a keeper, and the monitors of those that have just been restarted."""

APART = 2
"""Restarts that one container may have had more than another: they take turns."""


class Loop:
    """The stack, on roots in `folder`."""

    def __init__(self, folder: str, containers: int) -> None:
        self.containers = containers
        self.folder = folder
        root, run = os.path.join(folder, "root"), os.path.join(folder, "run")
        self.paths = Paths.of(root, run)
        self._environment = {**os.environ, "RECONCILER_ROOT": root, "RECONCILER_RUN": run}

    def command(self, *words: str) -> str:
        """What the command line prints; how it ends does not matter: every container ends at once with an error."""
        program = os.path.join(os.path.dirname(sys.executable), "reconciler")
        done = subprocess.run([program, *words], env=self._environment, capture_output=True, text=True, check=False)
        return done.stdout

    def start(self) -> None:
        self.command("load", "-i", os.path.join(PROJECT, "build", "images", "tiny.tar"))
        container = {"image": "tiny", "command": ["false"], "restart": "always"}
        keys = [f"loop{number:03}" for number in range(self.containers)]
        document = {"apiVersion": "reconciler/v1", "kind": "Stack", "name": "loops"}
        spec = os.path.join(self.folder, "loops.yaml")
        with open(spec, "w", encoding="utf-8") as file:
            json.dump({**document, "containers": dict.fromkeys(keys, container)}, file)
        self.command("apply", "-q", spec)

    def processor_seconds(self) -> float:
        """Of everything below the top group of these roots, what has ended included."""
        if cgroups.form() == "v2":
            with open(f"{cgroups.MOUNT}/{self.paths.cgroup}/cpu.stat", encoding="ascii") as file:
                return int(file.readline().split()[1]) / 1e6
        with open(f"{cgroups.MOUNT}/cpuacct/{self.paths.cgroup}/cpuacct.usage", encoding="ascii") as file:
            return int(file.read()) / 1e9

    def restarts(self) -> list[int]:
        names = [container["name"] for container in json.loads(self.command("ps", "-a", "--json"))]
        return [found["RestartCount"] for found in json.loads(self.command("inspect", *names))]

    def resident(self) -> tuple[int, int]:
        """(processes, kibibytes): what of ours is there beside the containers."""
        sizes = []
        for pid in cgroups.members(f"{self.paths.cgroup}/monitors"):
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                    sizes.append(next(int(line.split()[1]) for line in file if line.startswith("Pss:")))
            except OSError:
                continue
        return len(sizes), sum(sizes)


def faults(used: float, seconds: float, counts: list[int], resident: tuple[int, int]) -> list[str]:
    """Which bounds were not kept. `used` are processor seconds, `counts` restarts of each container, in `seconds`."""
    processes, size = resident
    rate = sum(counts) / seconds
    checks = {
        f"{used / seconds:.0%} of a processor is more than {SHARE:.0%}": used / seconds > SHARE,
        f"{rate:.1f} restarts a second are more than {RESTARTS_A_SECOND:g}": rate > RESTARTS_A_SECOND,
        "one was never restarted": min(counts) < 1,
        f"one was restarted {max(counts)} times and another {min(counts)}": max(counts) - min(counts) > APART,
        f"{processes} processes are more than {PROCESSES}": processes > PROCESSES,
        f"{size} KiB are more than {RESIDENT}": size > RESIDENT,
    }
    return [text for text, is_so in checks.items() if is_so]


def main() -> int:
    """Run it, and say what was seen; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=3.0)
    given = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="reconciler-crashloop-")
    loop = Loop(folder, given.containers)
    try:
        loop.start()
        begin, used_before = time.monotonic(), loop.processor_seconds()
        while time.monotonic() < begin + given.minutes * 60:
            before, since = loop.processor_seconds(), time.monotonic()
            time.sleep(PERIOD)
            used = (loop.processor_seconds() - before) / (time.monotonic() - since)
            print(f"{time.monotonic() - begin:5.0f} s: {used * 100:5.1f} % of one processor", flush=True)
        spent, seconds = loop.processor_seconds() - used_before, time.monotonic() - begin
        counts, resident = loop.restarts(), loop.resident()
        print(
            f"restarts of each: {min(counts)} to {max(counts)}; resident: {resident[0]} processes,"
            f" {resident[1] / 1024:.0f} MiB; {spent / seconds:.1%} of one processor in all"
        )
        broken = faults(spent, seconds, counts, resident)
        print("\n".join(f"FAILED: {text}" for text in broken) or "all within bounds")
        return 1 if broken else 0
    finally:
        loop.command("down", "-q", "loops")
        time.sleep(1.0)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
