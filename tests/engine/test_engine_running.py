"""While containers run: restart policies, monitors that are killed, logs, exec, and how locked in they are."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import threading

import pytest
from support import world
from support.machine import until

from reconciler.engine.containers import keeper, runtime
from reconciler.engine.containers.runtime import find_program
from reconciler.engine.records import ContainerConfig
from reconciler.runtimes.console import ExecOptions

pytestmark = pytest.mark.kernel

SLEEP = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
KEEPER = " keep "


def kill(machine, name):
    os.kill(machine.record(name).pid, signal.SIGKILL)


def restarted(machine, name, before):
    record = machine.record(name)
    return record.pid != before and machine.state(name) == "running" and record


def test_restart_policies_without_a_daemon(machine, monkeypatch):
    """Nothing of ours is resident; the monitor's exit hook finds what is to be done."""
    machine.apply(
        {
            "containers": {
                "always": {**SLEEP, "restart": "always", "ports": ["80"]},
                "stopped": {**SLEEP, "restart": "unless-stopped"},
                "failing": {**SLEEP, "command": ["sh", "-c", "sleep 0.3; exit 3"], "restart": "on-failure:2"},
                "never": SLEEP,
            }
        }
    )
    failed = until(lambda: (r := machine.record("failing")).restarts == 2 and r.state == "exited" and r)
    assert failed.exit_code == 3

    before, port = machine.record("always"), machine.record("always").ports
    assert not [line for line in world.processes_of(machine.paths).values() if "always" in line and "python" in line]
    kill(machine, "always")
    record = until(lambda: restarted(machine, "always", before.pid))
    assert (record.restarts, record.ports, record.address) == (1, port, before.address)
    kill(machine, "always")
    record = until(lambda: restarted(machine, "always", record.pid))
    assert record.restarts == 2

    machine.cli("stop", "stopped")
    kill(machine, "never")
    until(lambda: machine.state("never") == "exited")
    assert machine.cli("ps", "-a", "--json").code == 0
    assert machine.record("never").restarts == 0
    assert machine.state("stopped") == "exited"
    assert machine.record("stopped").restarts == 0

    # The keeper, which waits for the back-off, goes when there is nothing left to do; its successor, too.
    until(lambda: [line for line in world.processes_of(machine.paths).values() if KEEPER in line])
    living = next(pid for pid, line in world.processes_of(machine.paths).items() if KEEPER in line)
    os.kill(living, signal.SIGKILL)
    until(lambda: living not in world.processes_of(machine.paths))
    before = machine.record("always").pid
    kill(machine, "always")
    until(lambda: restarted(machine, "always", before))
    for pid, line in world.processes_of(machine.paths).items():
        if KEEPER in line:
            os.kill(pid, signal.SIGKILL)
    monkeypatch.setattr(keeper, "LINGER", 0.1)
    keeper.keep(machine.engine)


def test_a_crash_loop_backs_off(machine):
    machine.apply(
        {"containers": {"loop": {**SLEEP, "command": ["sh", "-c", "sleep 0.2; exit 1"], "restart": "always"}}}
    )
    record = until(lambda: (r := machine.record("loop")).restarts >= 2 and r.state == "restarting" and r)
    assert record.restart_at > record.finished
    assert record.restart_at - record.finished >= 0.1 * 2 ** (record.restarts - 1)
    machine.cli("stop", "loop")
    assert machine.state("loop") == "exited"


def test_a_killed_monitor_is_a_fault_that_apply_heals(machine):
    stack = {"containers": {"web": {**SLEEP, "command": ["httpd", "-f"], "ports": ["80"]}}}
    machine.apply(stack)
    before = machine.record("web")
    os.kill(before.monitor, signal.SIGKILL)
    until(lambda: before.monitor not in world.processes_of(machine.paths))
    plan = machine.cli("plan", "--detailed-exitcode", machine.spec(stack), code=2).out
    assert "monitor" in plan
    machine.apply(stack)
    healed = machine.record("web")
    assert healed.pid != before.pid
    assert healed.ports == before.ports
    assert "nothing to do" in machine.apply(stack).out


def test_a_stack_is_taken_over_while_it_runs(machine):
    document = {"containers": {"web": {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}}}
    machine.apply(document)
    before = machine.record("web").pid
    other = machine.spec(document, "other.yaml")
    machine.cli("apply", "--take-over", other)
    assert machine.record("web").pid == before
    assert "nothing to do" in machine.cli("apply", other).out
    machine.apply(document, code=1)


def test_logs_keep_streams_apart_and_partial_lines_whole(machine):
    long = 20_000  # longer than conmon's buffer: it comes in pieces
    script = f"echo out; echo err >&2; head -c {long} /dev/zero | tr '\\0' x; echo; printf partial"
    machine.apply({"containers": {"talker": {**SLEEP, "command": ["sh", "-c", script]}}})
    until(lambda: machine.state("talker") == "exited")
    ran = machine.cli("logs", "talker")
    assert ran.out == "out\n" + "x" * long + "\npartial"
    assert ran.err == "err\n"
    assert machine.cli("logs", "--tail", "1", "talker").out == "partial"


def test_following_sees_every_line_over_rotations(machine):
    count = 60_000
    script = f"i=0; while [ $i -lt {count} ]; do echo line-$i; i=$((i+1)); [ $((i % 1000)) = 0 ] && sleep 0.05; done"
    stack = {
        "containers": {
            "flood": {
                **SLEEP,
                "command": ["sh", "-c", f"while [ ! -e /go ]; do sleep 0.05; done; {script}"],
                "logging": {"options": {"max-size": "200k", "max-file": "3"}},
            }
        }
    }
    machine.apply(stack)
    follower = subprocess.Popen(
        machine.argv("logs", "-f", "flood"), env=machine.environment, stdout=subprocess.PIPE, cwd=machine.folder
    )
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(follower.stdout.read().decode().split()))
    reader.start()
    machine.exec("flood", "touch", "/go")
    until(lambda: machine.state("flood") == "exited", 120)
    reader.join(60)
    assert follower.wait(10) == 0
    follower.stdout.close()
    assert seen == [f"line-{number}" for number in range(count)]
    kept = machine.cli("logs", "flood").out.split()
    assert kept == seen[-len(kept) :]
    assert len(kept) < count, "the oldest are gone"
    folder = machine.paths.container(machine.record("flood").id)
    logs = [name for name in os.listdir(folder) if re.fullmatch(r"log(\.\d)?", name)]
    assert {"log.1", "log.2"} <= set(logs) <= {"log", "log.1", "log.2"}
    assert sum(os.path.getsize(os.path.join(folder, name)) for name in logs) >= 200_000, "the last max-size is kept"


def test_exec_is_dockers(machine):
    machine.apply({"containers": {"box": {**SLEEP, "environment": {"A": "b"}, "working_dir": "/tmp"}}})
    assert machine.exec("box", "sh", "-c", "echo $A; pwd; id -u; exit 0") == "b\n/tmp\n0\n"
    machine.cli("exec", "box", "sh", "-c", "exit 7", code=7)
    machine.cli("exec", "box", "sh", "-c", "kill -9 $$", code=137)
    assert "executable file not found in $PATH" in machine.cli("exec", "box", "nothing", code=127).err
    assert "permission denied" in machine.cli("exec", "box", "/etc/passwd", code=126).err
    user = machine.cli(
        "exec", "-u", "1000:100", "-e", "A=c", "-w", "/srv", "box", "sh", "-c", "id -u; id -g; pwd; echo $A"
    )
    assert user.out.split() == ["1000", "100", "/srv", "c"]
    assert machine.cli("exec", "-i", "box", "cat", data="through\n").out == "through\n"
    machine.cli("exec", "-it", "box", "true", code=1, data="")

    main, other = pty.openpty()
    process = subprocess.Popen(
        machine.argv("exec", "-it", "box", "sh", "-c", "tty; stty size; read word; echo got $word"),
        env=machine.environment,
        cwd=machine.folder,
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
    )
    os.close(other)
    os.write(main, b"hello\n")
    text = b""
    try:
        while chunk := os.read(main, 4096):
            text += chunk
    except OSError:  # EIO: the other side is closed
        pass
    os.close(main)
    assert process.wait(20) == 0
    assert b"/dev/pts/" in text
    assert b"got hello" in text


LOCKED_IN = """
grep -E '^(Seccomp|CapEff|CapBnd|NoNewPrivs):' /proc/self/status
cat /proc/keys /proc/interrupts /proc/timer_list 2>/dev/null | wc -c
ls /sys/firmware | wc -l
echo 1 >/proc/sys/kernel/hostname 2>/dev/null && echo written
mknod /tmp/disk b 254 0 2>/dev/null && dd if=/tmp/disk of=/dev/null bs=1 count=1 2>/dev/null && echo read
unshare -m true 2>/dev/null && echo unshared
mount -t tmpfs none /mnt 2>/dev/null && echo mounted
ls /dev | tr '\\n' ' '
"""
DEVICES = {
    "console",
    "core",
    "fd",
    "full",
    "mqueue",
    "null",
    "ptmx",
    "pts",
    "random",
    "shm",
    "stderr",
    "stdin",
    "stdout",
}


@pytest.mark.parametrize("program", ["crun", "runc"])
def test_a_container_is_locked_in(machine, program, monkeypatch, capfd):
    """The first process and what exec starts: the same capabilities and seccomp filter, nothing of the host's."""
    if program == "runc":
        monkeypatch.setattr(runtime, "find_program", lambda name: "" if name == "crun" else find_program(name))
    machine.engine.lifecycle.create(ContainerConfig("box", "tiny", command=("sh", "-c", LOCKED_IN + "exec sleep 1000")))
    machine.console.start("box")
    until(lambda: "urandom" in machine.cli("logs", "box").out)
    with open(f"/proc/{machine.record('box').monitor}/cmdline", "rb") as file:
        assert f"-r\0{find_program('runc')}\0".encode() in file.read() or program == "crun"
    capfd.readouterr()
    assert machine.console.exec("box", ExecOptions(command=("sh", "-c", LOCKED_IN))) == 0
    for text in (machine.cli("logs", "box").out, capfd.readouterr().out):
        status = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
        assert status == {
            "Seccomp": "2",
            "CapEff": "00000000a80425fb",
            "CapBnd": "00000000a80425fb",
            "NoNewPrivs": "0",
        }
        rest = [line for line in text.splitlines() if ":\t" not in line]
        assert rest[:2] == ["0", "0"], "what is masked shows nothing"
        assert len(rest) == 3, rest
        assert set(rest[2].split()) <= DEVICES | {"tty", "urandom", "zero"}
