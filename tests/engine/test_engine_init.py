"""An init program as first process: it reaps, passes signals on, and is refused in the plan where there is none."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from support.machine import until

from reconciler.cli.main import main
from reconciler.engine.containers import runtime
from reconciler.engine.kernel import processes

pytestmark = pytest.mark.kernel

ORPHANS = "for i in 1 2 3; do (sleep 0.01 &) ; done; sleep 1000"


def zombies(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [child for child in file.read().split() if processes.process_state(int(child)) == "Z"]


def command_line(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().split(b"\0")[:-1]


@pytest.fixture
def here(machine, monkeypatch, capfd):
    """Run a command line in this process, so that a test may change what it finds."""
    monkeypatch.setenv("RECONCILER_ROOT", machine.root)
    monkeypatch.setenv("RECONCILER_RUN", machine.run)

    def run(*argv, code=0):
        capfd.readouterr()
        ended = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfd.readouterr()
        assert ended == code, out + err
        return err

    return run


@pytest.mark.parametrize("program", ["tini-static", "catatonit"])
def test_it_reaps_orphans_and_passes_signals_on(machine, here, program, monkeypatch):
    monkeypatch.setattr(runtime, "_INITS", (program,))
    spec = machine.spec(
        {
            "containers": {
                "web": {
                    "image": "tiny",
                    "init": True,
                    "command": ["sh", "-c", ORPHANS],
                    "read_only": True,
                    "stop_grace_period": "60s",
                }
            }
        }
    )
    here("apply", spec)
    pid = machine.record("web").pid
    assert command_line(pid)[:3] == [b"/sbin/docker-init", b"--", b"sh"]
    assert machine.console.inspect("web")["HostConfig"]["Init"] is True
    until(lambda: processes.first_child(pid) and not zombies(pid))
    machine.cli("stop", "web")  # the shell has no handler: as a first process it would not even hear of it
    assert machine.record("web").exit_code == 128 + signal.SIGTERM
    here("start", "web")
    os.kill(until(lambda: processes.first_child(machine.record("web").pid)), signal.SIGSEGV)
    until(lambda: machine.state("web") == "exited")
    assert machine.console.inspect("web")["State"]["ExitCode"] == 128 + signal.SIGSEGV


def test_what_fails_at_once_is_seen_through_it(machine):
    failing = {"image": "tiny", "init": True, "command": ["sh", "-c", "echo no luck; exit 9"]}
    ran = machine.apply({"containers": {"job": failing}}, code=1)
    assert "ended at once with exit code 9" in ran.err
    assert "no luck" in ran.err


def test_without_such_a_program_the_plan_is_refused(machine, here, monkeypatch):
    monkeypatch.setattr(runtime, "_INITS", ("no-such-init",))
    spec = machine.spec({"containers": {"web": {"image": "tiny", "init": True, "command": ["sleep", "1000"]}}})
    refused = here("apply", spec, code=1)
    assert "no init program is installed" in refused
    assert "apt-get install tini" in refused
    assert f"{spec}:" in refused
    assert machine.console.containers() == ()
