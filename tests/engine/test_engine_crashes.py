"""Kill `apply` at any effect: the next `apply` gets there, nothing is left over, and `down` leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from support import crashes
from support.machine import until

from reconciler.engine.containers import status
from reconciler.engine.containers.runtime import OciRuntime
from reconciler.engine.kernel import processes
from reconciler.kits.errors import ReconcilerError

DRIVER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support", "crashes.py")
EVERYTHING = bool(os.environ.get("RECONCILER_TEST_TORTURE"))
STRIDE = 3

PAIR = {
    "containers": {
        "db": {
            "image": "tiny",
            "command": ["sleep", "1000"],
            "volumes": ["data:/srv/fixture", "/anonymous"],
            "stop_grace_period": "0s",
        },
        "web": {
            "image": "tiny",
            "command": ["httpd", "-f"],
            "links": ["db:mysql"],
            "ports": ["80"],
            "restart": "always",
            "stop_grace_period": "0s",
        },
    },
    "volumes": {"data": {}},
}


@pytest.mark.kernel
@pytest.mark.slow
def test_apply_is_killed_at_an_effect_and_runs_again(machine):
    """After every effect from the first to the last, in steps that between them meet each kind; `make torture`: all of
    them, and before each one, too.
    """
    options = ["--both"] if EVERYTHING else ["--every", str(STRIDE)]
    done = subprocess.run(
        [sys.executable, DRIVER, machine.spec(PAIR), *options],
        env=machine.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=3600,
    )
    first, *rounds = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [one for one in rounds if one["differences"]]
    print(f"crash points: {len(rounds)} of {first['effects']} effects, survived: {len(rounds) - len(failed)}")
    print(f"leaked or wrong: {len(failed)}")
    report = [f"{one['when']} {one['effect']} {one['name']}\n  " + "\n  ".join(one["differences"]) for one in failed]
    assert not failed, "\n".join(report)
    assert done.returncode == 0
    assert rounds[-1]["effect"] > first["effects"] * 0.9, "it came to the last effects"


class KilledAfter:
    """Ends this process after the effect that is called `name` and has `argument` among its own."""

    def __init__(self, name, argument):
        self.wanted = (name, argument)

    def before(self, name, arguments):
        pass

    def after(self, name, arguments):
        if name == self.wanted[0] and self.wanted[1] in arguments:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.kernel
def test_a_start_is_killed_between_opening_the_fifo_and_writing_to_it(machine, monkeypatch):
    """Crun's process is awake then, reading an empty fifo over and over: a writer who has not written yet would end it.

    More than once, as it may be anywhere in its loop; and the next start is killed while it holds that process still.
    """
    sleep = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
    machine.apply({"containers": {"c": sleep}})
    for variable in ("RECONCILER_ROOT", "RECONCILER_RUN"):
        monkeypatch.setenv(variable, machine.environment[variable])
    log = os.path.join(machine.folder, "crash.log")
    fifo = os.path.join(machine.paths.runtime, machine.record("c").id, "exec.fifo")
    for number in range(12):
        machine.cli("stop", "c")
        assert crashes.run(["start", "c"], log, KilledAfter("files.open_for_writing", fifo)) == -signal.SIGKILL
        if number % 3 == 0:
            held = KilledAfter("processes.send_signal", signal.SIGSTOP)
            assert crashes.run(["start", "c"], log, held) == -signal.SIGKILL
        assert status.waits(machine.paths, machine.record("c"))
        machine.cli("start", "c")
        until(lambda: status.runs_own_program(machine.record("c").pid) or machine.state("c") != "running")
        assert machine.state("c") == "running"
        assert processes.process_state(machine.record("c").pid) == "S"


SLOW = """
import os, select, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
poller = select.poll()
poller.register(fd, 0)
if poller.poll(300):
    sys.exit("the reader has left")
os.write(fd, b"0")
"""


@pytest.mark.parametrize("code", [SLOW, "pass"], ids=["slow", "gone"])
def test_runcs_process_has_a_reader_until_it_has_written(tmp_path, code):
    """Between its open and its write it may lose its processor for long; one that has ended is not waited for."""
    fifo = tmp_path / "c" / "exec.fifo"
    fifo.parent.mkdir()
    os.mkfifo(fifo)
    with subprocess.Popen([sys.executable, "-c", code, str(fifo)]) as process:
        runc = OciRuntime("runc", ("runc",), str(tmp_path))
        if code == SLOW:
            runc.release("c", process.pid, processes.start_time(process.pid))
        else:
            with pytest.raises(ReconcilerError, match="its process is gone"):
                runc.release("c", process.pid, processes.start_time(process.pid))
    assert process.returncode == 0
    assert fifo.exists() == (code != SLOW)
