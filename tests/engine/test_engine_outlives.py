"""Containers, their monitors and the keeper outlive whoever started them: a closed terminal, Ctrl-C in it, a stopped unit."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys

import pytest
from support import world
from support.machine import until

from reconciler.engine.containers import status
from reconciler.engine.kernel import cgroups

pytestmark = pytest.mark.kernel

SLEEP = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
STUBBORN = {
    "image": "tiny",
    "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
    "stop_grace_period": "10m",
}
WITH_KEEPER = {**SLEEP, "restart": "always", "logging": {"options": {"max-size": "1m"}}}


class Terminal:
    """A login: a session of its own with a terminal, in which one command line runs in the foreground."""

    def __init__(self, machine, *arguments):
        self.ours, theirs = pty.openpty()
        # SIGINT as at a login, whatever a test run has
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "env", "--default-signal=INT,HUP", *machine.argv(*arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**machine.environment, "TERM": "dumb"},
            cwd=machine.folder,
        )
        os.close(theirs)
        os.set_blocking(self.ours, False)
        self.said = b""

    def type(self, data):
        os.write(self.ours, data)

    def ended(self):
        """Its exit code once it has ended; what it says is read meanwhile, or it would wait for a reader."""
        with contextlib.suppress(OSError):
            self.said += os.read(self.ours, 65536)
        return self.process.poll() is not None

    def close(self):
        """Hang up: the kernel sends SIGHUP to the session."""
        os.close(self.ours)


def alive(machine, *names):
    for name in names:
        record = machine.record(name)
        assert status.lives(record), name
        assert status.monitor_lives(record), name
    return True


def keepers(machine):
    return [pid for pid, line in world.processes_of(machine.paths).items() if f" keep {machine.root}" in line]


def test_a_closed_terminal(machine):
    spec = machine.spec({"containers": {"db": SLEEP, "web": {**WITH_KEEPER, "links": ["db"]}}})
    login = Terminal(machine, "apply", spec)
    until(login.ended)
    assert login.process.returncode == 0, login.said
    until(lambda: keepers(machine))
    living = keepers(machine)
    login.type(b"\x03")
    login.close()
    assert keepers(machine) == living
    assert alive(machine, "db", "web")
    before = machine.record("web")
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: machine.record("web").pid != before.pid and machine.state("web") == "running")


@pytest.mark.parametrize("how", ["interrupt", "hangup"])
def test_a_terminal_that_interrupts_or_hangs_up_in_the_middle(machine, how):
    """What runs goes on; what was about to be stopped is left for the next apply."""
    stack = {"containers": {"db": SLEEP, "web": {**STUBBORN, "restart": "always"}}}
    machine.apply(stack)
    before = {name: machine.record(name) for name in ("db", "web")}
    stack["containers"]["web"]["environment"] = {"A": "1"}
    login = Terminal(machine, "apply", machine.spec(stack))
    until(lambda: login.ended() or machine.record("web").wanted == "stopped")
    if how == "interrupt":
        login.type(b"\x03")
        until(login.ended)
    login.close()
    login.process.wait(60)
    assert login.process.returncode, "it did not get to its end"
    assert alive(machine, "db", "web")
    assert {name: machine.record(name).pid for name in before} == {name: r.pid for name, r in before.items()}
    machine.cli("kill", "web")


def test_a_stopped_unit_takes_nothing_with_it(machine):
    """Everything in the caller's control group is killed, as systemd does it with a unit that is stopped."""
    unit = f"{machine.paths.cgroup}-unit"
    spec = machine.spec({"containers": {"db": SLEEP, "web": {**WITH_KEEPER, "ports": ["80"]}}})
    shell = subprocess.Popen(
        ["sh", "-c", 'read go && exec "$@"', "sh", *machine.argv("apply", spec)],
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        env=machine.environment,
        cwd=machine.folder,
    )
    try:
        cgroups.enter(unit, shell.pid)
        shell.communicate(b"go\n", timeout=120)
        assert shell.returncode == 0
        until(lambda: keepers(machine))
        until(lambda: not cgroups.members(unit))
        assert cgroups.kill(unit)
        assert alive(machine, "db", "web")
        assert keepers(machine)
    finally:
        cgroups.remove(unit)
