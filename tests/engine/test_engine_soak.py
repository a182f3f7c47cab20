"""Many containers come and go, many at a time: nothing of them is left, and whoever makes them does not grow.

`make soak` runs a thousand of them, `make test` a slice.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import threading
from collections import Counter

import pytest
from support import world
from support.machine import until, until_gone

from reconciler.engine.records import ContainerConfig, LinkConfig, MountConfig, PortConfig

pytestmark = pytest.mark.kernel

CYCLES = int(os.environ.get("RECONCILER_TEST_SOAK", "60"))
AT_ONCE = 50 if CYCLES >= 1000 else 12
WARM_UP = 2 * AT_ONCE
ALLOWANCE = 6 << 20
"""Bytes that a process may grow by meanwhile: fragments, a few caches. A kilobyte lost in each of a thousand cycles shows
as a sixth of this, so the soak also compares its two halves."""

KINDS = ("sleep", "server", "volume", "child")


def configuration(name, number):
    """One of several kinds of containers: published and linked, with an anonymous volume, with children that it leaves."""
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
    }[kind]
    return ContainerConfig(name=name, image="tiny", stop_timeout=0.0, **more)


def cycle(machine, number):
    """Create, start, stop or kill, remove: by turns what ends a container."""
    lifecycle, name = machine.engine.lifecycle, f"one{number}"
    container_id = lifecycle.create(configuration(name, number))
    lifecycle.start(container_id)
    if number % 3 == 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(machine.record(name).pid, signal.SIGKILL)  # behind its back, and perhaps it is restarted meanwhile
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


def resident():
    """Bytes of this process, without what is only kept to be used again."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def descriptors(machine):
    """What is open, but for removed files of tests before, which the collector closes when it comes by."""
    found = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if is_open(name)]
    return sorted(path for path in found if machine.folder in path or not path.endswith(" (deleted)"))


def is_open(name):
    return os.path.lexists(f"/proc/self/fd/{name}")


def of_anchor_only(machine, before):
    """Whether the machine is as it was when only the anchor ran; monitors, links and the keeper need a moment."""
    now = world.Snapshot(machine.paths)
    keepers = (" keep ", "after.log", "RUN/locks/keeper")  # it comes when a container has ended, and stays for a while
    return [line for line in before.difference(now) if not any(word in line for word in keepers)]


def test_containers_come_and_go_and_leave_nothing(machine):
    lifecycle = machine.engine.lifecycle
    lifecycle.start(lifecycle.create(ContainerConfig(name="anchor", image="tiny", command=("sleep", "1000"))))
    until(lambda: machine.state("anchor") == "running")
    cycles(machine, range(WARM_UP))
    left = until_gone(
        lambda: [line for line in world.processes_of(machine.paths).values() if "conmon" in line][1:], 30.0
    )
    assert not left
    before, fds = world.Snapshot(machine.paths), descriptors(machine)
    sizes = [resident()]
    half = CYCLES // 2
    for first in (0, half):
        cycles(machine, range(1000 + first, 1000 + first + half))
        sizes.append(resident())
    left = until_gone(lambda: of_anchor_only(machine, before), 30.0)
    assert not left, "\n".join(left)
    assert not Counter(descriptors(machine)) - Counter(fds), "more than before is open"
    assert sizes[2] - sizes[0] < ALLOWANCE
    print(
        f"cycles: {CYCLES}, {AT_ONCE} at a time; left behind: {len(left)}; file descriptors: {len(fds)} before and after"
    )
    print(f"resident MiB before, half way, at the end: {', '.join(f'{size / (1 << 20):.1f}' for size in sizes)}")
