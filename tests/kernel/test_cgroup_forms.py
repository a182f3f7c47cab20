"""What is read from and written to a cgroup of either form: here on files of our own, by the other tests on the kernel's."""

from __future__ import annotations

import os

import pytest
from limited import MIB, ONE_OF_EACH

from reconciler.engine.containers import catalog, limits, statistics
from reconciler.engine.containers.resources import Limits, limits_of, weight_of
from reconciler.engine.kernel import cgroups, effects
from reconciler.engine.paths import Paths
from reconciler.engine.records import ContainerConfig, ResourceConfig
from reconciler.kits.errors import ReconcilerError

FRESH = {
    "memory.current": f"{20 * MIB}",
    "memory.stat": f"anon {10 * MIB}\ninactive_file {4 * MIB}\n",
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.low": "0",
    "memory.high": "max",
    "cpu.weight": "100",
    "cpu.max": "max 100000",
    "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
    "cpuset.cpus": "",
    "pids.max": "max",
    "pids.current": "3",
    "io.stat": "8:0 rbytes=4096 wbytes=1 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=10 wbytes=2 rios=1 wios=1\n",
}


class Group:
    """A container's cgroup that is files, and the writes to it in their order."""

    def __init__(self, folder, monkeypatch):
        for name, value in (("MOUNT", str(folder)), ("form", lambda: "v2"), ("counts_swap", lambda: True)):
            monkeypatch.setattr(cgroups, name, value)
        self.paths = Paths(str(folder / "root"), str(folder / "run"))
        self.folder = folder / self.paths.cgroup / "c1"
        self.folder.mkdir(parents=True)
        self.writes = []
        for name, text in FRESH.items():
            (self.folder / name).write_text(text)

    def before(self, name, arguments):
        if name == "cgroups._write_control":
            self.writes.append((os.path.basename(arguments[0]), arguments[1]))

    def after(self, name, arguments):
        pass

    def change(self, old, new):
        """The writes that lead from one to the other."""
        self.writes.clear()
        watcher = effects.watch(self)
        try:
            limits.change(self.paths, record(old), new)
        finally:
            effects.watch(watcher)
        return self.writes[:]

    def holds(self, name):
        return (self.folder / name).read_text().strip()


def record(resources):
    unset = dict.fromkeys(catalog.Record.__annotations__, "")
    return catalog.Record(
        **{**unset, "id": "c1", "name": "web", "config": ContainerConfig("web", "i", resources=resources)}
    )


@pytest.fixture
def group(tmp_path, monkeypatch):
    return Group(tmp_path, monkeypatch)


NONE = ResourceConfig()


def test_all_limits_on_v2_and_away_again(group):
    changed = dict(group.change(NONE, ONE_OF_EACH))
    assert {name: group.holds(name) for name in changed} == {
        "memory.max": str(64 * MIB),
        "memory.swap.max": str(32 * MIB),
        "memory.low": str(8 * MIB),
        "memory.high": "max",
        "cpu.weight": "59",
        "cpu.max": "50000 100000",
        "cpuset.cpus": "0",
        "pids.max": "40",
    }
    assert limits.drift(group.paths, record(ONE_OF_EACH)) == ()
    assert group.change(ONE_OF_EACH, ONE_OF_EACH) == []
    group.change(ONE_OF_EACH, NONE)
    assert {name: group.holds(name) for name in changed} == {name: FRESH[name] for name in changed}


def test_memory_comes_down_before_its_limit_does_on_v2(group):
    """A limit below what is used would kill: first what can be given up is, and where that is not enough nothing changes."""
    group.change(NONE, ONE_OF_EACH)
    small = ResourceConfig(memory=32 * MIB, memory_swap=32 * MIB, pids=10)
    assert group.change(ONE_OF_EACH, ResourceConfig(memory=128 * MIB))[-2:] == [
        ("memory.max", str(128 * MIB)),
        ("memory.swap.max", str(128 * MIB)),
    ]
    assert [name for name, _ in group.change(ONE_OF_EACH, small)][-4:] == [
        *("memory.high", "memory.max", "memory.high", "memory.swap.max")
    ]
    (group.folder / "memory.current").write_text(str(31 * MIB))
    held = {name: group.holds(name) for name in FRESH}
    with pytest.raises(ReconcilerError, match=r"web can't be lowered to 16 MiB while it runs: it uses 31 MiB"):
        group.change(small, ResourceConfig(memory=16 * MIB, pids=5, cpus=0.1))
    assert {name: group.holds(name) for name in FRESH} == held


def test_drift_is_told_in_words_and_not_where_a_value_only_looks_different(group):
    group.change(NONE, ONE_OF_EACH)
    for name, text in (("memory.max", str(64 * MIB + 100)), ("cpuset.cpus", "0-0")):
        (group.folder / name).write_text(text)
    assert limits.drift(group.paths, record(ONE_OF_EACH)) == ()
    for name, text in (("memory.max", "max"), ("cpu.weight", "100"), ("cpu.max", "max 100000"), ("pids.max", "max")):
        (group.folder / name).write_text(text)
    assert limits.drift(group.paths, record(ONE_OF_EACH)) == (
        "its memory limit is none, not 64 MiB",
        "its limit of memory and swap is none, not 96 MiB",
        "its CPU weight in shares is 1024, not 512",
        "its CPU quota is none, not 50000 us",
        "its limit of processes is none, not 40",
    )


def test_usage_on_v2(group):
    found = statistics.read(group.paths, record(NONE))
    assert (found.processor, found.memory, found.processes) == (2.5, 16 * MIB, 3)
    assert (found.read, found.written) == (4106, 3)
    assert found.memory_limit == statistics.machine_memory()
    group.change(NONE, ONE_OF_EACH)
    assert statistics.read(group.paths, record(ONE_OF_EACH)).memory_limit == 64 * MIB


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (NONE, Limits()),
        (ResourceConfig(memory=10 * MIB), Limits(memory=10 * MIB, swap=20 * MIB)),
        (ResourceConfig(memory=10 * MIB, memory_swap=-1), Limits(memory=10 * MIB)),
        (ResourceConfig(cpus=1.5), Limits(quota=150_000)),
        (ResourceConfig(cpu_quota=5000, cpu_period=20_000), Limits(quota=5000, period=20_000)),
    ],
)
def test_what_is_left_out_follows_dockers_rules(config, expected):
    assert limits_of(config) == expected


def test_the_usual_weight_is_everybodys():
    assert [weight_of(shares) for shares in (2, 1024, 262_144)] == [1, 100, 10_000]
    weights = [weight_of(shares) for shares in range(2, 4096)]
    assert weights == sorted(weights)


@pytest.mark.parametrize("wanted", [64 * MIB, 128 * MIB, 32 * MIB, 0])
def test_memory_is_not_throttled_for_ever_after_a_lowering_that_was_cut_off_on_v2(group, wanted):
    """What a SIGKILL leaves: the lower `memory.high`, the old `memory.max`, and the mark that has it done again."""
    group.change(NONE, ONE_OF_EACH)
    (group.folder / "memory.high").write_text(str(32 * MIB))
    group.change(ONE_OF_EACH, ResourceConfig(memory=wanted))
    assert (group.holds("memory.high"), group.holds("memory.max")) == ("max", str(wanted or "max"))
