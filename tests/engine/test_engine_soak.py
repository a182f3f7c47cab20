"""Many containers come and go, many at a time: nothing of them is left, and whoever makes them does not grow.

`make soak` runs a thousand of them, `make test` a slice.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import queue
import re
import signal
import threading
from collections import Counter

import pytest
from support import world
from support.machine import until, until_gone

from reconciler.engine.containers.health import journal
from reconciler.engine.kernel import processes, programs
from reconciler.engine.records import ContainerConfig, HealthConfig, LinkConfig, MountConfig, PortConfig

pytestmark = pytest.mark.kernel

CYCLES = int(os.environ.get("RECONCILER_TEST_SOAK", "60"))
AT_ONCE = 50 if CYCLES >= 1000 else 12
WARM_UP = 2 * AT_ONCE
ALLOWANCE = 1 << 20
"""Bytes that a process may grow by in the second half: fragments, a few caches, which the first half has mostly filled.

A kilobyte lost in each of a thousand cycles is half of it; so is what is known of a container that is checked.
"""

KINDS = ("sleep", "server", "volume", "child", "checked")


def configuration(name, number):
    """One of several kinds: published and linked, with an anonymous volume, with children that it leaves, checked."""
    kind = KINDS[number % len(KINDS)]
    more = {
        "sleep": {"command": ("sleep", "1000")},
        "server": {"command": ("httpd", "-f"), "ports": (PortConfig(80),), "links": (LinkConfig("anchor", "db"),)},
        "volume": {
            "command": ("sleep", "1000"),
            "mounts": (MountConfig("anonymous", "", "/data"),),
            "restart": "always",
        },
        "child": {"command": ("sh", "-c", "(sleep 1000 &); (sleep 0.01 &); exec sleep 1000")},
        "checked": {"command": ("sleep", "1000"), "health": HealthConfig(("CMD", "true"), interval=0.05)},
    }[kind]
    return ContainerConfig(name=name, image="tiny", stop_timeout=0.0, **more)


ANCHOR = ContainerConfig(
    name="anchor",
    image="tiny",
    command=("sleep", "1000"),
    health=HealthConfig(("CMD", "true"), interval=0.5),
    mounts=(MountConfig("anonymous", "", "/data"),),
    log_max_size=1 << 20,
)
"""It is there all the time, and so are the prober, for its check, and the keeper, for its log."""


def cycle(machine, number):
    """Create, start, stop or kill, remove: by turns what ends a container, and whether a probe of it is at work then."""
    lifecycle, name = machine.engine.lifecycle, f"one{number}"
    container_id = lifecycle.create(configuration(name, number))
    lifecycle.start(container_id)
    record = machine.record(name)
    if record.config.health and number % 2:
        until(lambda: journal.status(machine.paths, record) == "healthy", 120)
    if number % 3 == 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGKILL)  # behind its back, and perhaps it is restarted meanwhile
    elif number % 3 == 1:
        lifecycle.stop(container_id)
    lifecycle.remove(container_id, force=True, with_volumes=True)


def cycles(machine, numbers):
    """That many cycles, AT_ONCE of them at a time; raises what went wrong first."""
    work, errors = queue.SimpleQueue(), []
    for number in numbers:
        work.put(number)

    def run():
        try:
            while not errors:
                cycle(machine, work.get_nowait())
        except queue.Empty:
            return
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class Process:
    """One that is there all the time: this one, the keeper, the prober."""

    def __init__(self, pid):
        self.pid, self.started = pid, processes.start_time(pid)

    def is_there(self):
        return processes.start_time(self.pid) == self.started != 0

    def memory(self):
        """Bytes that are its own."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("Private_")) << 10

    def descriptors(self, folder):
        """What is open, but for removed files of tests before, which the collector closes when it comes by."""
        found = Counter()
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                path = os.readlink(f"/proc/{self.pid}/fd/{name}")
                if folder in path or not path.endswith(" (deleted)"):
                    found[re.sub(r":\[\d+\]", "", path)] += 1
        return found


def alone_with_anchor(paths):
    """The whole state while nothing runs but the anchor, its monitor, the keeper and the prober; None while more does."""
    found = world.Snapshot(paths)
    return found if len(found.sections["processes"]) == len(("anchor", "monitor", "keeper", "prober")) else None


def test_containers_come_and_go_and_leave_nothing(machine):
    """Compared with the machine on which only the anchor has ever run; and the second half of the cycles with the first."""
    paths, lifecycle = machine.paths, machine.engine.lifecycle
    lifecycle.start(lifecycle.create(ANCHOR))
    until(lambda: journal.status(paths, machine.record("anchor")) == "healthy")
    alone = until(lambda: alone_with_anchor(paths))

    def left():
        programs.reap_detached()
        return [*alone.difference(world.Snapshot(paths)), *world.zombies_of(paths, os.getpid())]

    def settle():
        assert not until_gone(left), "\n".join(left())
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what the C library only keeps to use it again

    cycles(machine, range(WARM_UP))
    settle()
    pids = {
        "this": os.getpid(),
        "keeper": world.holder_of(paths.keeper_lock),
        "prober": world.holder_of(paths.prober_lock),
    }
    watched = {name: Process(pid) for name, pid in pids.items()}
    opened = {name: one.descriptors(machine.folder) for name, one in watched.items()}
    sizes = [{name: one.memory() for name, one in watched.items()}]
    for half in (1, 2):
        cycles(machine, range(half * CYCLES, half * CYCLES + CYCLES // 2))
        settle()
        sizes.append({name: one.memory() for name, one in watched.items()})
    for name, one in watched.items():
        figures = [size[name] for size in sizes]
        print(f"{name}: {', '.join(f'{size / (1 << 20):.2f}' for size in figures)} MiB before, half way, at the end")
        assert one.is_there(), f"{name} is another one"
        assert not one.descriptors(machine.folder) - opened[name], f"more than before is open in {name}"
        assert figures[2] - figures[1] < ALLOWANCE, f"{name} grows: {figures}"
    print(
        f"{CYCLES} cycles, {AT_ONCE} at a time; descriptors: {', '.join(f'{k} {v.total()}' for k, v in opened.items())}"
    )
