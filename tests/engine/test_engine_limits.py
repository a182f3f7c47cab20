"""Limits and names that a spec gives a container, as the kernel and the container see them."""

from __future__ import annotations

import itertools
import json
import os
import re

import pytest
from support.machine import until

from reconciler.engine.containers import runtime, statistics
from reconciler.engine.containers.runtime import find_program
from reconciler.engine.kernel import cgroups, effects, processes
from reconciler.engine.records import ContainerConfig, ResourceConfig
from reconciler.loop.resolve import read
from reconciler.model.action import UpdateContainer
from reconciler.model.observed import Scope
from reconciler.runtimes.base import Context

pytestmark = pytest.mark.kernel

SLEEP = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
MIB = 1 << 20
IN_SYNC = "nothing to do"


def group(machine, name):
    return machine.paths.group(machine.record(name).id)


LIMITS = ResourceConfig(
    memory=32 * MIB, memory_reservation=16 * MIB, memory_swap=48 * MIB, cpus=0.5, cpu_shares=512, cpuset="0", pids=40
)
V2 = cgroups.form() == "v2"
HELD = (
    {
        "memory.max": 32 * MIB,
        "memory.swap.max": 16 * MIB,
        "memory.low": 16 * MIB,
        "cpu.max": "50000 100000",
        "cpu.weight": 59,  # by the formula of newer OCI runtimes, whatever the one here thinks
        "cpuset.cpus.effective": 0,  # a set that was taken away again is spelled out in cpuset.cpus
        "pids.max": 40,
    }
    if V2
    else {
        "memory.limit_in_bytes": 32 * MIB,
        "memory.memsw.limit_in_bytes": 48 * MIB,
        "memory.soft_limit_in_bytes": 16 * MIB,
        "cpu.shares": 512,
        "cpu.cfs_quota_us": 50000,
        "cpu.cfs_period_us": 100000,
        "cpuset.cpus": 0,
        "pids.max": 40,
    }
)


def held(machine, name, files=HELD):
    """What the container's cgroup holds."""
    return {file: cgroups.read(group(machine, name), file) for file in files}


def inspected(machine, name):
    return json.loads(machine.cli("inspect", name).out)[0]


@pytest.mark.parametrize("program", ["crun", "runc"])
def test_limits_are_the_cgroups(machine, monkeypatch, program):
    if program == "runc":
        monkeypatch.setattr(runtime, "find_program", lambda name: "" if name == "crun" else find_program(name))
    machine.engine.lifecycle.create(ContainerConfig("web", "tiny", command=("sleep", "1000"), resources=LIMITS))
    machine.console.start("web")
    assert held(machine, "web") == {file: str(value) for file, value in HELD.items()}
    shown = inspected(machine, "web")["HostConfig"]
    assert (shown["Memory"], shown["MemorySwap"], shown["NanoCpus"]) == (32 * MIB, 48 * MIB, 500_000_000)
    assert (shown["CpuShares"], shown["CpusetCpus"], shown["PidsLimit"]) == (512, "0", 40)


def test_hogs_stop_at_their_limits(machine):
    """Memory: killed; processor: throttled."""
    machine.apply(
        {
            "containers": {
                "eater": {**SLEEP, "command": ["sh", "-c", "head -c 64m /dev/zero | tail"], "mem_limit": "16m"},
                "spinner": {**SLEEP, "command": ["sh", "-c", "while :; do :; done"], "cpus": "0.05"},
            }
        },
        code=None,
    )
    until(lambda: machine.state("eater") == "exited")
    assert inspected(machine, "eater")["State"]["OOMKilled"]
    throttled = group(machine, "spinner")
    until(lambda: dict(line.split() for line in cgroups.read(throttled, "cpu.stat").splitlines())["nr_throttled"] > "0")


BOMB = """trap 'exec sh -c "$BOMB"' EXIT; while :; do sh -c "$BOMB" & done"""
"""A shell ends when it can't fork; this one begins anew."""


@pytest.mark.parametrize("end", [["rm", "-f", "bomb"], ["down", "stack"]], ids=lambda verbs: verbs[0])
def test_a_fork_bomb_stops_at_its_limit_harms_nobody_and_can_be_removed(machine, end):
    """It forks as fast as it can, without waiting for anything; who is not in it forks as ever."""
    bomb = {**SLEEP, "command": ["sh", "-c", BOMB], "environment": {"BOMB": BOMB}, "pids_limit": 60, "cpus": "0.3"}
    machine.apply({"containers": {"bomb": bomb, "other": {**SLEEP, "pids_limit": 5}}}, code=None)
    bombs = group(machine, "bomb")

    def refused():
        """How often it was kept from forking; never are there more than it may have."""
        assert int(cgroups.read(bombs, "pids.current")) <= 60
        return int(cgroups.read(bombs, "pids.events").split()[1])

    until(lambda: refused() > 1000)
    assert machine.state("bomb") == "running"
    assert machine.exec("other", "sh", "-c", "sleep 0 & wait; echo fine") == "fine\n"
    assert cgroups.read(group(machine, "other"), "pids.events") == "max 0"
    before = refused()
    until(lambda: refused() > before)
    members = cgroups.members(bombs)
    assert len(members) > 1
    machine.cli(*end)
    assert "bomb" not in {one.name for one in machine.console.containers()}
    assert not any(os.path.exists(f"/proc/{pid}") and processes.start_time(pid) for pid in members)
    assert cgroups.members(bombs) == set()


def test_ulimits_shm_size_and_kernel_parameters_are_seen_inside(machine):
    machine.apply(
        {
            "containers": {
                "web": {
                    **SLEEP,
                    "ulimits": {"nofile": {"soft": 100, "hard": 200}, "core": 0},
                    "shm_size": "8m",
                    "sysctls": {"net.core.somaxconn": 77, "kernel.shmmax": 1000000},
                    "oom_score_adj": 300,
                }
            }
        }
    )
    seen = machine.exec(
        "web",
        "sh",
        "-c",
        "ulimit -n; ulimit -Hn; ulimit -c; df -m /dev/shm | tail -1; cat /proc/1/oom_score_adj"
        " /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax; grep 'open files' /proc/1/limits",
    ).split("\n")
    assert [" ".join(line.split()) for line in seen[:8]] == [
        *("100", "200", "0", "shm 8 0 8 0% /dev/shm", "300", "77", "1000000"),
        "Max open files 100 200 files",
    ]
    shown = inspected(machine, "web")["HostConfig"]
    assert shown["Ulimits"] == [
        {"Name": "nofile", "Hard": 200, "Soft": 100},
        {"Name": "core", "Hard": 0, "Soft": 0},
    ]
    assert (shown["ShmSize"], shown["OomScoreAdj"]) == (8 * MIB, 300)
    assert shown["Sysctls"] == {"net.core.somaxconn": "77", "kernel.shmmax": "1000000"}


def test_usage_is_what_the_kernel_counts(machine):
    spinner = {**SLEEP, "command": ["sh", "-c", "while :; do :; done"], "cpus": "0.05", "mem_limit": "32m"}
    machine.apply({"containers": {"spinner": spinner, "idle": SLEEP, "done": {**SLEEP, "command": ["true"]}}})
    before = {one.name: one for one in machine.console.usage(stopped=True)}
    assert {one.name for one in machine.console.usage()} == {"spinner", "idle"} == before.keys() - {"done"}
    assert not before["done"].running
    machine.exec(
        "idle", "sh", "-c", f"ping -c 1 -s 5000 {machine.engine.network.subnet().gateway}; sleep 100 >/dev/null 2>&1 &"
    )
    until(lambda: machine.console.usage(["spinner"])[0].processor > before["spinner"].processor)
    until(lambda: machine.console.usage(["idle"])[0].processes == 2)
    (idle,) = machine.console.usage(["idle"])
    assert idle.sent > before["idle"].sent + 5000
    assert idle.received > before["idle"].received + 5000
    assert idle.memory_limit == statistics.machine_memory()
    assert before["spinner"].memory_limit == 32 * MIB
    assert 0 < before["spinner"].memory < 32 * MIB
    (shown,) = json.loads(machine.cli("stats", "--no-stream", "--json", "stack/spinner").out)
    assert (shown["name"], shown["memory_limit"], shown["running"]) == ("spinner", 32 * MIB, True)


def test_names_are_those_that_are_given(machine):
    machine.apply(
        {
            "containers": {
                "db": SLEEP,
                "web": {
                    **SLEEP,
                    "hostname": "h1",
                    "domainname": "example.org",
                    "links": ["db:mysql"],
                    "extra_hosts": ["far.example:192.0.2.9", "far.example:2001:db8::9", "up:host-gateway"],
                    "dns": "192.0.2.53",
                    "dns_search": ["x.org", "y.org"],
                    "dns_opt": ["ndots:3"],
                },
            }
        }
    )
    db, web = machine.record("db"), machine.record("web")
    gateway = machine.engine.network.subnet().gateway
    hosts = machine.exec("web", "cat", "/etc/hosts").splitlines()[6:]
    assert [line.rstrip() for line in hosts] == [
        "192.0.2.9\tfar.example",
        "2001:db8::9\tfar.example",
        f"{gateway}\tup",
        f"{db.address}\tmysql {db.id[:12]} db",
        f"{web.address}\th1.example.org h1",
    ]
    assert (
        machine.exec("web", "cat", "/etc/resolv.conf") == "search x.org y.org\nnameserver 192.0.2.53\noptions ndots:3\n"
    )
    names = "cat /etc/hostname /proc/sys/kernel/hostname /proc/sys/kernel/domainname; echo $HOSTNAME"
    assert machine.exec("web", "sh", "-c", names).split() == ["h1.example.org", "h1.example.org", "example.org", "h1"]
    shown = inspected(machine, "web")
    assert shown["HostConfig"]["ExtraHosts"] == ["far.example:192.0.2.9", "far.example:2001:db8::9", "up:host-gateway"]
    assert (shown["Config"]["Hostname"], shown["Config"]["Domainname"]) == ("h1", "example.org")
    assert shown["HostConfig"]["DnsSearch"] == ["x.org", "y.org"]


def test_what_this_machine_can_not_give_is_refused_in_the_plan(machine):
    web = {
        **SLEEP,
        "cpus": 4000,
        "cpuset": "0,4000",
        "ulimits": {"nofile": -1},
        "sysctls": {"net.core.somaxconn": "many", "net.core.rmem_max": 1, "net.nothing": 1},
    }
    ran = machine.apply({"containers": {"web": web}}, code=1)
    assert "Range of CPUs is from 0.01 to" in ran.err
    assert "Requested CPUs are not available - requested 0,4000, available: 0" in ran.err
    assert "gives a process at most" in ran.err
    assert "net.core.somaxconn" in ran.err
    for alone, words in (
        # there for containers to read since some kernel after 6.1, before that only for the host
        ({"net.core.rmem_max": "1"}, r"net.core.rmem_max (is the whole machine's|that a container could have)"),
        ({"net.nothing": "1"}, "no parameter net.nothing"),
    ):
        ran = machine.apply({"containers": {"web": {**SLEEP, "sysctls": alone}}}, code=1)
        assert re.search(words, ran.err), ran
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
        before = file.read()
    assert "created web" in machine.apply({"containers": {"web": {**SLEEP, "sysctls": {"net.core.somaxconn": 9}}}}).out
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
        assert file.read() == before


def test_what_a_container_writes_to_its_names_fills_nothing_of_the_host(machine):
    """Neither does it keep its hosts file from being brought up to date, or its removal from leaving nothing."""
    machine.apply({"containers": {"db": SLEEP, "web": {**SLEEP, "links": ["db"]}}})
    fill = "cat /dev/zero >> /etc/hostname; for i in 1 2; do cat /dev/zero >> /etc/resolv.conf; done; wc -c < /etc/hostname"
    written = int(machine.exec("web", "sh", "-c", fill))
    assert written < MIB
    names = machine.paths.names(machine.record("web").id)
    assert os.statvfs(names).f_bavail == 0
    with machine.engine.store.write() as connection:
        connection.execute(
            "UPDATE addresses SET address = '172.31.255.9' WHERE container = ?", (machine.record("db").id,)
        )
        connection.execute("UPDATE containers SET address = '172.31.255.9' WHERE name = 'db'")
    machine.engine.lifecycle._preparing.tell_dependents(machine.record("db"))
    assert "172.31.255.9\tdb" in machine.exec("web", "cat", "/etc/hosts")


NEW = {**SLEEP, "mem_limit": "48m", "memswap_limit": -1, "cpus": "0.25", "cpuset": "0", "pids_limit": 30}
NEWER = {**SLEEP, "mem_limit": "24m", "memswap_limit": "24m", "cpu_quota": 20000, "cpu_period": 40000, "cpu_shares": 64}


def by_spec(machine, spec, tmp="other"):
    """What the cgroup of a container that is made with this spec holds."""
    machine.apply({"containers": {tmp: spec}, "name": tmp})
    found = held(machine, tmp)
    machine.console.remove(tmp, force=True)
    return found


def test_limits_change_while_a_container_runs(machine):
    """Up, down, away and back: the cgroup holds what that of a new container would, and the next start has it too."""
    expected = {id(spec): by_spec(machine, spec) for spec in (SLEEP, NEW, NEWER)}
    machine.apply({"containers": {"web": SLEEP}})
    before = machine.record("web")
    for spec in (NEW, NEWER, SLEEP, NEWER, NEW):
        ran = machine.apply({"containers": {"web": spec}})
        assert "updated web" in ran.out
        assert held(machine, "web") == expected[id(spec)], spec
        assert IN_SYNC in machine.apply({"containers": {"web": spec}}).out
    assert machine.record("web").pid == before.pid
    machine.cli("stop", "web")
    machine.cli("start", "web")
    assert held(machine, "web") == expected[id(NEW)]


def test_a_set_of_all_processors_is_held(machine):
    spec = {**SLEEP, "cpuset": ",".join(str(number) for number in sorted(cgroups.processors()))}
    machine.apply({"containers": {"web": spec}})
    assert IN_SYNC in machine.apply({"containers": {"web": spec}}).out


def test_a_limit_below_what_is_used_is_refused_and_nothing_changes(machine):
    eater = {
        **SLEEP,
        "command": ["sh", "-c", "head -c 20m /dev/zero > /dev/shm/x; sleep 1000"],
        "mem_limit": "40m",
        "memswap_limit": "40m",
        "cpus": "0.5",
    }
    machine.apply({"containers": {"web": eater}})
    until(lambda: "20971520" in machine.exec("web", "stat", "-c", "%s", "/dev/shm/x", code=None))
    before, record = held(machine, "web"), machine.record("web")
    less = {**eater, "mem_limit": "10m", "memswap_limit": "10m", "cpus": "0.25"}
    ran = machine.apply({"containers": {"web": less}}, code=1)
    assert "the memory limit of web can't be lowered to 10 MiB while it runs: it uses 20" in ran.err
    assert held(machine, "web") == before
    assert machine.record("web") == record
    assert (
        "updated web"
        in machine.apply({"containers": {"web": {**less, "mem_limit": "30m", "memswap_limit": "30m"}}}).out
    )


def test_limits_that_drift_are_set_right(machine):
    """By somebody else's hand, and by an update that is cut off between any two of its effects."""
    machine.apply({"containers": {"web": NEW}})
    expected, record = held(machine, "web"), machine.record("web")
    cgroups.write(group(machine, "web"), "pids.max", "77")
    spec = machine.spec({"containers": {"web": NEW}})
    assert "its limit of processes is 77, not 30" in machine.cli("plan", spec).out
    machine.cli("apply", spec)
    assert held(machine, "web") == expected

    wanted = by_spec(machine, NEWER)
    old, new = (update_of(machine.spec({"containers": {"web": one}})) for one in (NEW, NEWER))
    for number in itertools.count(1):
        machine.runtime.perform(old, Context())
        assert held(machine, "web") == expected
        before = effects.watch(Crasher(number))
        try:
            machine.runtime.perform(new, Context())
        except Crashed:
            pass
        else:
            break
        finally:
            effects.watch(before)
        machine.restart()
        (seen,) = machine.runtime.observe(Scope("stack")).containers
        assert seen.drift or seen.settings == old.container.settings() or held(machine, "web") == wanted
        machine.runtime.perform(new, Context())
        assert held(machine, "web") == wanted
        assert not machine.runtime.observe(Scope("stack")).containers[0].drift
    assert number > 8
    assert machine.record("web").pid == record.pid


class Crashed(BaseException):
    """Not an Exception: nobody may clean up after it, as nobody does after SIGKILL."""


class Crasher:
    def __init__(self, number):
        self.left = number

    def before(self, _name, _arguments):
        self.left -= 1
        if not self.left:
            raise Crashed

    def after(self, _name, _arguments):
        pass


def update_of(path):
    """The action that an apply of the spec would carry out."""
    stack = read(path)
    return UpdateContainer(stack.name, stack.origin, stack.containers["web"])
