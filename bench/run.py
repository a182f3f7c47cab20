#!/usr/bin/env python3
"""Measures reconciler beside docker-compose, `docker run` and `podman run`: one run, one machine, in turn.

    make bench                     everything (about a quarter of an hour on two processors)
    make bench QUICK=1             one small round, to see that it works; docs are left alone
    make bench ROUNDS=3            so many rounds of everything
    make bench ONLY=podman         beside one peer only (names: docker compose podman); docs are left alone
    make bench PART=single         one part only; docs are left alone (names: pair single chain crowd
                                   crowd-large checked heal pull)

Each peer has a sandbox of its own (see sandbox.py). A round does the same with one peer after the other, and each round
begins with another one. The first round warms up and does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import platform
import shutil
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import peers
import pulled
import report
import stacks
from sandbox import Sandbox, SandboxError, hierarchies, opened, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from peers import Peer
    from stacks import Stack

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
IMAGE_FILE = os.path.join(PROJECT, "build/images/tiny.tar")
FOLDER = os.path.join(PROJECT, "build/bench")
RESULTS = os.path.join(PROJECT, "build/bench.json")
DOCUMENT = os.path.join(PROJECT, "docs/benchmarks.md")

MINUTE = 60.0
WARM = 35.0
"""Seconds from the start of containers until each has been probed at least once by every peer."""

LONG_ENOUGH = 10.5
"""Seconds that a container has run before it is killed: by then every peer restarts it at once."""

TITLES = {
    "pair": "pair",
    "single": "one container",
    "chain": "chain of {}",
    "crowd": "{} independent",
    "crowd-large": "{} independent",
    "heal": "one container",
    "pull": "200 MB image",
    "checked": "{} with a health check",
}


class Bench:
    """The measurements; `peers` are ready to be measured."""

    def __init__(self, ready: list[Peer], rounds: dict[str, int], sizes: dict[str, int]) -> None:
        self.peers, self.rounds, self.sizes = ready, rounds, sizes
        self.measured: dict[str, dict[str, dict[str, list[float]]]] = {}
        self.memory: dict[str, dict[str, dict[str, int]]] = {}
        self._warming = True
        self._values = 0

    def everything(self, part: str = "") -> None:
        """A warm-up of the pair, then all stacks, health checks, healing and pulling; only one of these with `part`."""
        if part == "pull":
            self._pull()
            return
        self._in_turn("pair", 1, partial(self._life, "pair", stacks.pair(), ["unchanged", "ps", "change"]))
        self._warming = False
        plan: list[tuple[str, Stack, list[str]]] = [
            ("pair", stacks.pair(), ["unchanged", "ps", "change"]),
            ("single", stacks.single(), ["exec"]),
            ("chain", stacks.chain(self.sizes["chain"]), ["unchanged"]),
            ("crowd", stacks.crowd(self.sizes["crowd"]), ["unchanged", "ps", "memory"]),
            ("crowd-large", stacks.crowd(self.sizes["crowd-large"]), ["unchanged", "ps", "memory"]),
        ]
        for name, stack, operations in plan:
            if part in ("", name):
                self._in_turn(name, self.rounds[name], partial(self._life, name, stack, operations))
        if part in ("", "checked"):
            self._in_turn("checked", self.rounds["checked"], self._idle)
        if part in ("", "heal"):
            self._heal()
        if not part:
            self._pull()

    def _in_turn(
        self, name: str, rounds: int, measure: Callable[[Peer], None], before: Callable[[], None] = lambda: None
    ) -> None:
        for number in range(rounds):
            say(f"{'warm-up' if self._warming else name}: round {number + 1} of {rounds}")
            before()
            shift = number % len(self.peers)
            for peer in self.peers[shift:] + self.peers[:shift]:
                measure(peer)

    def _life(self, name: str, stack: Stack, operations: list[str], peer: Peer) -> None:
        """Up, what is asked for in between, down. Each up has a value never seen before: nothing is cached of it."""
        stack = self._with_new_value(stack, peer)
        self._operation(name, "up", peer, peer.up(stack), stack)
        if "unchanged" in operations:
            self._operation(name, "unchanged", peer, peer.unchanged(stack))
        if "ps" in operations:
            self._operation(name, "ps", peer, peer.ps(stack))
        if "exec" in operations:
            self._operation(name, "exec", peer, peer.execute(stack.containers[0].key, "true"))
        if "memory" in operations:
            self.memory.setdefault(name, {})[peer.name] = peer.sandbox.memory(stacks.PROGRAM)
        if "change" in operations:
            stack = self._with_new_value(stack, peer)
            self._operation(name, "change", peer, peer.change(stack), stack)
        self._operation(name, "down", peer, peer.down(stack), stack)
        peer.sandbox.run(*peer.forget(stack))

    def _idle(self, peer: Peer) -> None:
        """What a minute costs in which nothing happens but health checks."""
        if not peer.checks_health:
            return
        stack = stacks.checked(self.sizes["checked"])
        peer.write(stack)
        peer.sandbox.run(*peer.up(stack), wanted=[container.command for container in stack.containers])
        time.sleep(WARM)
        before = peer.sandbox.cpu()
        time.sleep(MINUTE)
        self._note("checked/idle", peer, cpu=peer.sandbox.cpu() - before)
        self.memory.setdefault("checked", {})[peer.name] = peer.sandbox.memory(stacks.PROGRAM)
        peer.sandbox.run(*peer.down(stack))

    def _with_new_value(self, stack: Stack, peer: Peer) -> Stack:
        self._values += 1
        stack = stack.with_value(str(self._values))
        peer.write(stack)
        return stack

    def _operation(
        self, name: str, operation: str, peer: Peer, commands: list[list[str]], stack: Stack | None = None
    ) -> None:
        """Measure the commands; with `stack` until its containers run, or after a down have ended."""
        if not commands:
            return
        wanted = [container.command for container in stack.containers] if stack else []
        before = _quiet(peer.sandbox)
        seconds = peer.sandbox.run(*commands, wanted=wanted, gone=operation == "down")
        self._note(f"{name}/{operation}", peer, seconds=seconds, cpu=_quiet(peer.sandbox) - before)

    def _note(self, row: str, peer: Peer, **values: float) -> None:
        if self._warming:
            return
        for kind, value in values.items():
            self.measured.setdefault(row, {}).setdefault(peer.name, {}).setdefault(kind, []).append(value)

    def _pull(self) -> None:
        """From a registry on loopback in each sandbox; the first round warms up and does not count."""
        registry = os.path.join(FOLDER, "registry")
        pulled.fill(registry)
        able = [peer for peer in self.peers if peer.pull(pulled.IMAGE)]
        for peer in able:
            pulled.serve(peer.sandbox, registry)

        def measure(peer: Peer) -> None:
            if peer in able:
                self._operation("pull", "pull", peer, peer.pull(pulled.IMAGE))
                peer.sandbox.run(*peer.drop(pulled.IMAGE))
                os.sync()

        self._warming = True
        self._in_turn("pull", 1, measure)
        self._warming = False
        self._in_turn("pull", self.rounds["pull"], measure)

    def _heal(self) -> None:
        stack = stacks.Stack("heal", (stacks.Container("heal"),), linked=False)
        for peer in self.peers:
            peer.write(stack)
            peer.sandbox.run(*peer.up(stack))
        self._in_turn(
            "heal",
            self.rounds["heal"],
            lambda peer: self._note("heal/heal", peer, seconds=peer.sandbox.heal(stack.containers[0].command)),
            before=lambda: time.sleep(LONG_ENOUGH),
        )
        for peer in self.peers:
            peer.sandbox.run(*peer.down(stack))


def _quiet(sandbox: Sandbox, longest: float = 5.0) -> float:
    """Wait until the sandbox has come to rest, so that late work counts where it belongs; its processor seconds then."""
    end = time.monotonic() + longest
    used = sandbox.cpu()
    while time.monotonic() < end:
        time.sleep(0.1)
        now = sandbox.cpu()
        if now - used < 0.002:
            return now
        used = now
    return used


@contextlib.contextmanager
def prepared(names: list[str]) -> Iterator[list[Peer]]:
    """Peers with their daemons up and the image loaded, each in its sandbox; all gone afterwards."""
    kinds = {kind.name: kind for kind in (peers.Reconciler, peers.PodmanRun, peers.DockerRun, peers.Compose)}
    os.makedirs(os.path.dirname(FOLDER), exist_ok=True)
    with open(f"{FOLDER}.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError("another benchmark runs in this project") from None
        sweep()
        shutil.rmtree(FOLDER, ignore_errors=True)
        os.mkdir(FOLDER)
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, FOLDER, ignore_errors=True)
            ready = []
            for name in names:
                say(f"{name}: prepare")
                kind: type[Peer] = kinds[name]
                made = Sandbox(name, os.path.join(FOLDER, name), hide_unified=kind.hide_unified)
                ready.append(kind(stack.enter_context(opened(made))))
                ready[-1].prepare(IMAGE_FILE)
            yield ready


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    kinds = {kind for _, kind, _ in hierarchies()}
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "cpu": model or platform.machine(),
        "memory": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "cgroup": "hybrid" if len(kinds) == 2 else "v2" if "cgroup2" in kinds else "v1",
    }


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> int:
    options = _options()
    if os.geteuid() != 0:
        print("make bench needs root: it makes namespaces and containers", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rounds = {"pair": 7, "single": 7, "chain": 5, "crowd": 3, "crowd-large": 1, "heal": 5, "checked": 1, "pull": 5}
    sizes = {"chain": 10, "crowd": 50, "crowd-large": 200, "checked": 200}
    if options.quick:
        rounds, sizes = dict.fromkeys(rounds, 1), {"chain": 4, "crowd": 8, "crowd-large": 16, "checked": 8}
    if options.rounds:
        rounds = dict.fromkeys(rounds, options.rounds)
    others = options.only or ["podman", "docker", "compose"]
    try:
        with prepared([report.US, *others]) as ready:
            bench = Bench(ready, rounds, sizes)
            versions = {peer.name: peer.version() for peer in ready}
            bench.everything(options.part)
    except SandboxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was written, nothing is left behind", file=sys.stderr)
        return 130
    results = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions,
        "titles": {peer.name: peer.title for peer in ready},
        "rounds": {
            name: count for name, count in rounds.items() if any(row.startswith(f"{name}/") for row in bench.measured)
        },
        "stacks": {name: title.format(sizes.get(name)) for name, title in TITLES.items()},
        "sizes": sizes,
        "measured": bench.measured,
        "memory": bench.memory,
    }
    with open(RESULTS, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    figures = report.markdown(results)
    print(figures)
    if not (options.quick or options.only or options.part):
        with open(DOCUMENT, encoding="utf-8") as file:
            text = report.put_between_marks(file.read(), figures)
        with open(DOCUMENT, "w", encoding="utf-8") as file:
            file.write(text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures reconciler beside its peers.", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="so many rounds of everything")
    parser.add_argument(
        "--only", action="append", choices=["podman", "docker", "compose"], help="beside this peer only"
    )
    parser.add_argument("--part", default="", choices=["", *TITLES], help="this part only")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
