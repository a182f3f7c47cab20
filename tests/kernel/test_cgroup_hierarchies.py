"""Every form of control groups, on trees of our own: what lies where, which files limits go to, and what is refused."""

from __future__ import annotations

import os

import pytest
from limited import MIB, ONE_OF_EACH

from reconciler.engine.containers import apparmor, capabilities, limits
from reconciler.engine.containers.resources import Limits, oci_resources
from reconciler.engine.kernel import cgroups, processes, sysctl
from reconciler.engine.records import ResourceConfig
from reconciler.model.desired import Container, Ulimit
from reconciler.runtimes.embedded import capacity
from reconciler.runtimes.embedded.refusals import refusals

NO_LIMIT = str((1 << 63) - 4096)
FORMS = ("v1", "hybrid", "v2")
V1 = {
    "memory": {
        "memory.limit_in_bytes": NO_LIMIT, "memory.memsw.limit_in_bytes": NO_LIMIT, "memory.soft_limit_in_bytes": NO_LIMIT
    },
    "cpu,cpuacct": {"cpu.shares": "1024", "cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"},
    "cpuset": {"cpuset.cpus": "0-3", "cpuset.effective_cpus": "0-3"},
    "pids": {"pids.max": "max"},
    "freezer": {"freezer.state": "THAWED"},
}  # fmt: skip
V2 = {
    "memory.max": "max", "memory.swap.max": "max", "memory.low": "0", "memory.high": "max", "memory.current": "4096",
    "cpu.weight": "100", "cpu.max": "max 100000", "cpuset.cpus": "", "cpuset.cpus.effective": "0-3", "pids.max": "max",
}  # fmt: skip
OF_V1 = {
    "memory/box/memory.limit_in_bytes": str(64 * MIB),
    "memory/box/memory.memsw.limit_in_bytes": str(96 * MIB),
    "memory/box/memory.soft_limit_in_bytes": str(8 * MIB),
    "cpu,cpuacct/box/cpu.shares": "512",
    "cpu,cpuacct/box/cpu.cfs_quota_us": "50000",
    "cpuset/box/cpuset.cpus": "0",
    "pids/box/pids.max": "40",
}
OF_V2 = {
    "box/memory.max": str(64 * MIB), "box/memory.swap.max": str(32 * MIB), "box/memory.low": str(8 * MIB),
    "box/cpu.weight": "59", "box/cpu.max": "50000 100000", "box/cpuset.cpus": "0", "box/pids.max": "40",
}  # fmt: skip


class Tree:
    """Hierarchies that are folders; a group "box" in each."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.mounted = str(folder), {}
        monkeypatch.setattr(cgroups, "MOUNT", self.folder)
        monkeypatch.setattr(cgroups, "_mounted", lambda: self.mounted)
        for name in ("form", "hierarchies", "controller", "counts_swap"):
            monkeypatch.setattr(cgroups, name, getattr(cgroups, name).__wrapped__)

    def make(self, form, *, without=()):
        """Mount a form's hierarchies, without some controllers or files."""
        if form == "v2":
            self._mount("", "cgroup2", {key: value for key, value in V2.items() if key not in without})
            names = ("memory", "cpu", "cpuset", "pids")
            self.write("cgroup.controllers", " ".join(name for name in names if name not in without))
            self.write("cgroup.procs", "")
            return self
        for name, files in V1.items():
            if not set(name.split(",")) & set(without):
                self._mount(name, "cgroup", {key: value for key, value in files.items() if key not in without})
        if form == "hybrid":
            self._mount("unified", "cgroup2", {})
        return self

    def _mount(self, name, kind, files):
        path = os.path.join(self.folder, name).rstrip("/")
        self.mounted[path] = (kind, name.split(","))
        for group in ("", "box"):
            os.makedirs(os.path.join(path, group), exist_ok=True)
            for file, text in {**files, "cgroup.procs": ""}.items():
                self.write(os.path.join(name, group, file), text)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
            file.write(text)

    def picture(self):
        found = {}
        for top, _, names in os.walk(self.folder):
            for path in (os.path.join(top, name) for name in names):
                with open(path, encoding="ascii") as file:
                    found[os.path.relpath(path, self.folder)] = file.read()
        return found

    def set(self, config):
        """Change the box's limits; the files that are different from before."""
        before = self.picture()
        wanted = limits.limits_of(config)
        limits._change("box", limits._held("box", wanted), wanted)
        return {path: text for path, text in self.picture().items() if text != before[path]}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    return Tree(tmp_path, monkeypatch)


@pytest.mark.parametrize("form", FORMS)
def test_the_form_is_told_and_each_limit_goes_to_its_file_and_back(tree, form):
    assert cgroups.form() == ""
    fresh = tree.make(form).picture()
    assert cgroups.form() == form
    assert tree.set(ONE_OF_EACH) == (OF_V2 if form == "v2" else OF_V1)
    assert limits._held("box", limits.limits_of(ONE_OF_EACH)) == limits.limits_of(ONE_OF_EACH)
    assert tree.set(ONE_OF_EACH) == {}
    tree.set(ResourceConfig())
    assert limits._held("box", Limits()) == Limits()
    one = "box/cpuset.cpus" if form == "v2" else "cpuset/box/cpuset.cpus"
    sizes = {path: text for path, text in tree.picture().items() if text not in ("-1", "0-3")}
    assert sizes == {path: fresh[path] for path in sizes}
    assert tree.picture()[one] == "0-3"


@pytest.mark.parametrize("form", FORMS)
def test_where_swap_is_not_counted_it_is_neither_set_nor_missed(tree, form):
    tree.make(form, without=("memory.swap.max", "memory.memsw.limit_in_bytes"))
    assert not cgroups.counts_swap()
    expected = {path: text for path, text in (OF_V2 if form == "v2" else OF_V1).items() if "sw" not in path}
    assert tree.set(ONE_OF_EACH) == expected
    assert tree.set(ONE_OF_EACH) == {}
    told = oci_resources(ONE_OF_EACH, swap_counted=cgroups.counts_swap(), v2=form == "v2")
    assert told["memory"] == {"limit": 64 * MIB, "reservation": 8 * MIB}


def test_the_oci_runtime_is_told_shares_on_v1_and_a_weight_on_v2():
    common = {"memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 8 * MIB}, "pids": {"limit": 40}}
    cpu = {"period": 100_000, "quota": 50_000, "cpus": "0"}
    assert oci_resources(ONE_OF_EACH, swap_counted=True, v2=False) == {**common, "cpu": {**cpu, "shares": 512}}
    assert oci_resources(ONE_OF_EACH, swap_counted=True, v2=True) == {
        **common,
        "cpu": cpu,
        "unified": {"cpu.weight": "59"},
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_monitor_enters_every_hierarchy_but_the_cpusets(tree, form):
    tree.make(form)
    cgroups.enter("box", 42)
    entered = {path.split("/")[0] for path, text in tree.picture().items() if text == "42"}
    assert (
        entered
        == {
            "v1": {"memory", "cpu,cpuacct", "pids", "freezer"},
            "hybrid": {"memory", "cpu,cpuacct", "pids", "freezer", "unified"},
            "v2": {"box"},
        }[form]
    )


@pytest.mark.parametrize("form", ["v1", "v2"])
def test_pausing_uses_the_freezer_of_the_form(tree, form):
    tree.make(form)
    tree.write("box/cgroup.events" if form == "v2" else "freezer/box/unused", "populated 1\nfrozen 1\n")
    if form == "v2":
        tree.write("box/cgroup.freeze", "0")
    assert not cgroups.is_frozen("box")
    assert cgroups.freeze("box")
    assert tree.picture()["box/cgroup.freeze" if form == "v2" else "freezer/box/freezer.state"] in ("1", "FROZEN")
    assert cgroups.is_frozen("box")
    cgroups.thaw("box")
    assert not cgroups.is_frozen("box")


def refused(**settings):
    """Field and message of what a plan would refuse of a container."""
    wanted = Container(key="box", name="box", image="tiny", **settings)
    return {found.field: found.message for found in refusals([wanted], lambda _image: "")}


LIMITED = {
    "mem_limit": 64 * MIB, "mem_reservation": 8 * MIB, "memswap_limit": 96 * MIB, "cpus": 0.5, "cpu_shares": 512,
    "cpu_period": 50_000, "cpu_quota": 25_000, "cpuset": "0", "pids_limit": 40,
}  # fmt: skip
NEEDS = {
    "memory": {"mem_limit", "mem_reservation", "memswap_limit"},
    "cpu": {"cpus", "cpu_shares", "cpu_period", "cpu_quota"},
    "cpuset": {"cpuset"},
    "pids": {"pids_limit"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("controller", NEEDS)
def test_what_needs_a_controller_that_is_missing_is_refused(tree, form, controller):
    tree.make(form, without=(controller,))
    message = f"it can't be limited: this machine has no {controller} controller for control groups"
    assert refused(**LIMITED) == dict.fromkeys(NEEDS[controller], message)


def test_without_control_groups_nothing_can_be_limited(tree):
    message = "it can't be limited: no control groups are mounted at /sys/fs/cgroup"
    assert refused(**LIMITED) == dict.fromkeys(LIMITED, message)
    for form in FORMS:
        tree.make(form)
        assert refused(**LIMITED) == {}
        tree.mounted.clear()


def test_inside_a_group_with_processes_on_v2_nothing_can_be_limited(tree):
    tree.make("v2")
    tree.write("cgroup.type", "domain")
    tree.write("cgroup.procs", "1\n")
    tree.write("cgroup.subtree_control", "")
    assert {message.split(" controller ")[1] for message in refused(**LIMITED).values()} == {
        "is not enabled for groups below the one we are in"
    }
    assert refused(**LIMITED).keys() == LIMITED.keys()
    tree.write("cgroup.subtree_control", "cpu pids")
    assert refused(**LIMITED).keys() == {"mem_limit", "mem_reservation", "memswap_limit", "cpuset"}


@pytest.mark.parametrize("form", FORMS)
def test_keys_of_another_form_and_more_than_there_is_are_refused(tree, form):
    tree.make(form, without=("memory.swap.max", "memory.memsw.limit_in_bytes"))
    assert refused(memswap_limit=MIB, mem_limit=MIB) == {
        "memswap_limit": "this kernel does not count swap, so memory and swap together can't be limited"
    }
    old = refused(mem_swappiness=10, oom_kill_disable=True)
    expected = {
        name: f"{name} is of cgroup v1, and this machine has v2" for name in ("mem_swappiness", "oom_kill_disable")
    }
    assert old == (expected if form == "v2" else {})
    assert refused(cpus=4.0, cpuset="0-3") == {}
    assert refused(cpus=4.5, cpuset="2-4") == {
        "cpus": "cpus is 4.5: Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        "cpuset": "Requested CPUs are not available - requested 2-4, available: 0-3",
    }


def test_what_needs_a_privilege_is_refused_without_it(monkeypatch):
    lower = {"oom_score_adj": -1000, "ulimits": (Ulimit("stack", 10, 1 << 40),)}
    monkeypatch.setattr(capacity.resource, "getrlimit", lambda _number: (1 << 20, 1 << 20))
    monkeypatch.setattr(processes, "has_capability", lambda _number: True)
    assert refused(**lower) == {}
    monkeypatch.setattr(processes, "has_capability", lambda _number: False)
    assert refused(**lower) == {
        "oom_score_adj": "oom_score_adj can't be lowered to -1000 without CAP_SYS_RESOURCE",
        "ulimits": f"ulimit stack=10:{1 << 40} is above our own hard limit of {1 << 20}",
    }
    assert refused(ulimits=(Ulimit("stack", 10, 1 << 20),), oom_score_adj=1000) == {}
    assert refused(ulimits=(Ulimit("locks", 1, -1),))["ulimits"].endswith(f"above our own hard limit of {1 << 20}")


def test_more_open_files_than_the_kernel_gives_are_refused_for_everybody(monkeypatch):
    monkeypatch.setattr(sysctl, "read", lambda _name: "5000")
    monkeypatch.setattr(processes, "has_capability", lambda _number: True)
    assert refused(ulimits=(Ulimit("nofile", 100, 5000),)) == {}
    for hard in (5001, -1):
        (message,) = refused(ulimits=(Ulimit("nofile", 100, hard),)).values()
        assert message.endswith("this kernel gives a process at most 5000 open files")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(2, "x"), "this kernel has no parameter net.core.x that a container could have of its own"),
        (
            PermissionError(13, "x"),
            "the kernel parameter net.core.x is the whole machine's, and read-only for a container",
        ),
        (OSError(22, "Invalid argument"), "this kernel does not take '9' for net.core.x: Invalid argument"),
    ],
)
def test_kernel_parameters_that_are_not_taken_are_refused(monkeypatch, error, message):
    monkeypatch.setattr(sysctl, "refused", lambda _values: {"net.core.x": error})
    assert refused(sysctls={"net.core.x": "9"}) == {"sysctls": message}


def test_capabilities_apparmor_and_devices_that_are_missing_are_refused(monkeypatch):
    monkeypatch.setattr(capabilities, "available", lambda: ("CAP_CHOWN",))
    monkeypatch.setattr(apparmor, "enabled", lambda: False)
    monkeypatch.setattr(apparmor, "loaded", set)
    assert refused(cap_add=("CAP_CHOWN", "ALL")) == {}
    assert refused(cap_add=("CAP_SYS_ADMIN",)) == {"cap_add": "this machine has no CAP_SYS_ADMIN to give"}
    assert refused(security_opt=("apparmor=unconfined", "no-new-privileges")) == {}
    (message,) = refused(security_opt=("apparmor=mine",)).values()
    assert message.startswith("this machine has no AppArmor, which the profile")
    monkeypatch.setattr(apparmor, "loaded", lambda: {"mine"})
    assert refused(security_opt=("apparmor=mine",)) == {}
