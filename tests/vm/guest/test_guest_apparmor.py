"""AppArmor in earnest: which profile containers have, and what it keeps them from by itself."""

from __future__ import annotations

import os
import subprocess

import pytest
from support.machine import until

from reconciler.engine.containers import apparmor
from reconciler.engine.records import SecurityConfig

pytestmark = [pytest.mark.kernel, pytest.mark.images]

SHOW = ("cat", "/proc/self/attr/current")
SLEEP = {
    "image": "tiny",
    "command": ["sh", "-c", f"{' '.join(SHOW)}; exec sleep 100000"],
    "stop_signal": "SIGKILL",
    "healthcheck": {"test": ["CMD", *SHOW], "interval": "10m", "timeout": "5m"},
}


def profile() -> str:
    return apparmor.default_profile()[0]


def under_profile(command: str) -> subprocess.CompletedProcess[str]:
    """A root shell of the guest itself under the default profile: without any of a container's other walls."""
    return subprocess.run(
        ["aa-exec", "-p", profile(), "--", "sh", "-c", command], capture_output=True, text=True, check=False
    )


def shown(machine, name: str) -> set[str]:
    """The profiles of a container's first process, before and after it executes something, of exec, and of a probe."""
    first = machine.exec(name, "cat", "/proc/1/attr/current")
    own = until(lambda: machine.cli("logs", name).out)
    probe = until(lambda: machine.console.inspect(name)["State"]["Health"]["Log"], 60)[0]
    assert probe["ExitCode"] == 0, probe
    return {text.strip() for text in (first, own, machine.exec(name, *SHOW), probe["Output"])}


def test_first_process_exec_and_probe_have_the_default_profile(machine):
    machine.apply({"containers": {"one": SLEEP}})
    assert shown(machine, "one") == {f"{profile()} (enforce)"}
    assert f'"AppArmorProfile": "{profile()}"' in machine.cli("inspect", "one").out


@pytest.mark.slice
def test_default_profile_denies_by_itself():
    assert apparmor.ready_profile(SecurityConfig()) == profile()
    for path in (
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/vm/swappiness",
        "/proc/sys/fs/file-max",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/module/apparmor/parameters/audit",
        "/sys/fs/ext4/vda/trigger_fs_error",
    ):
        # to be opened for writing is what is refused; nothing is written
        done = under_profile(f": >> {path}")
        assert "Permission denied" in done.stderr, (path, done)
    for path in ("/proc/kcore", "/sys/kernel/security/apparmor/profiles"):
        done = under_profile(f"head -c 1 {path}")
        assert "Permission denied" in done.stderr, (path, done)
    assert under_profile("mount -t tmpfs none /mnt").returncode != 0
    assert not os.path.ismount("/mnt")
    assert under_profile("kill -0 1").returncode != 0
    for command in (
        ": >> /proc/sys/kernel/shm_rmid_forced",
        ": >> /proc/self/oom_score_adj",
        "mkdir /sys/fs/cgroup/of-a-test && rmdir /sys/fs/cgroup/of-a-test",
        "cat /proc/meminfo /sys/class/net/lo/mtu",
        "sleep 100 & kill $!",
    ):
        done = under_profile(command)
        assert done.returncode == 0, (command, done)


def test_profiles_by_name(machine):
    subprocess.run(
        ["apparmor_parser", "-r"], input=b"profile of-a-test { file, capability, network, signal, }", check=True
    )
    try:
        machine.apply(
            {
                "containers": {
                    "named": {**SLEEP, "security_opt": ["apparmor=of-a-test"]},
                    "free": {**SLEEP, "security_opt": ["apparmor=unconfined"]},
                }
            }
        )
        assert shown(machine, "named") == {"of-a-test (enforce)"}
        assert shown(machine, "free") == {"unconfined"}
        machine.clean()
    finally:
        subprocess.run(["apparmor_parser", "-R"], input=b"profile of-a-test { }", check=True)
    ran = machine.apply({"containers": {"named": {**SLEEP, "security_opt": ["apparmor=of-a-test"]}}}, code=1)
    assert "the AppArmor profile 'of-a-test' is not loaded" in ran.err


def test_profile_that_somebody_unloaded_is_loaded_again(machine):
    machine.apply({"containers": {"one": SLEEP}})
    machine.cli("stop", "-t", "0", "one")
    name, text = apparmor.default_profile()
    subprocess.run(["apparmor_parser", "-R"], input=text.encode(), check=True)
    assert name not in apparmor.loaded()
    machine.cli("start", "one")
    assert machine.exec("one", *SHOW) == f"{name} (enforce)\n"
