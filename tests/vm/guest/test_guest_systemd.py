"""Beside systemd: containers, monitors and keeper outlive the unit that started them, and keep their control groups."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess

import pytest
from support.machine import until

from reconciler.engine.containers import status

pytestmark = [pytest.mark.kernel, pytest.mark.images]

STACK = {
    "containers": {
        "one": {
            "image": "tiny",
            "command": ["sh", "-c", "echo began; trap 'exit 0' TERM; while sleep 0.2; do :; done"],
            "restart": "always",
            "ports": ["80"],
            "logging": {"options": {"max-size": "1m"}},  # has the keeper at work
        }
    }
}


def groups(*pids: int) -> list[str]:
    found = []
    for pid in pids:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            found.append(file.read().strip())
    return found


@pytest.mark.slice
def test_all_outlives_the_unit_that_started_it_and_daemon_reload(machine):
    spec = machine.spec(STACK)
    command = shlex.join(machine.argv("apply", spec))
    settings = [f"--setenv={name}={machine.environment[name]}" for name in ("RECONCILER_ROOT", "RECONCILER_RUN")]
    # a unit that is up until it is stopped, as a login session is
    subprocess.run(
        [
            *("systemd-run", "--unit=starter-of-a-test", "--collect", "--property=RemainAfterExit=yes", *settings),
            *("sh", "-c", f"{command} && touch {machine.folder}/applied; exec sleep 1000"),
        ],
        check=True,
    )
    until(lambda: os.path.exists(f"{machine.folder}/applied"), 300)
    until(machine.engine.containers.keeper_lives, 60)
    record = machine.record("one")
    before = groups(record.pid, record.monitor)
    assert before == [f"0::/{machine.paths.cgroup}/{record.id}", f"0::/{machine.paths.cgroup}/monitors"]

    subprocess.run(["systemctl", "stop", "starter-of-a-test"], check=True)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "daemon-reexec"], check=True)

    assert status.lives(record)
    assert status.monitor_lives(record)
    assert machine.engine.containers.keeper_lives()
    assert groups(record.pid, record.monitor) == before

    # and the policy is carried out although nobody of ours is logged in any more
    os.kill(record.pid, signal.SIGKILL)
    until(lambda: machine.record("one").restarts == 1 and machine.state("one") == "running", 120)
    again = machine.record("one")
    assert again.pid != record.pid
    assert groups(again.pid, again.monitor)[1:] == before[1:]
    assert machine.cli("logs", "one").out.count("began") == 2


def test_group_is_delegated_whole_and_not_shared(machine):
    machine.apply(STACK)
    pid = machine.record("one").pid
    assert "cgroup" in os.listdir(f"/proc/{pid}/ns")
    assert os.readlink(f"/proc/{pid}/ns/cgroup") != os.readlink("/proc/self/ns/cgroup")
    assert machine.exec("one", "cat", "/proc/1/cgroup") == "0::/\n"
    shown = machine.exec("one", "cat", "/proc/self/mounts")
    (mount,) = [line.split() for line in shown.splitlines() if " /sys/fs/cgroup " in line]
    assert mount[2] == "cgroup2"
    assert "ro" in mount[3].split(",")
