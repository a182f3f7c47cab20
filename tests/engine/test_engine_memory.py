"""A container that runs out of memory says so: in inspect, ps, logs, plans and apply's error; also when only a child was killed."""

from __future__ import annotations

import pytest
from support.machine import until

pytestmark = pytest.mark.kernel

LIMIT = {"image": "tiny", "mem_limit": "8m", "stop_grace_period": "0s"}
HOG = "tail /dev/zero"
REASON = "out of memory: limit 8 MiB"


def test_the_first_process_is_killed(machine):
    stack = {"containers": {"hog": {**LIMIT, "command": HOG.split()}}}
    failed = machine.apply(stack, code=None)
    until(lambda: machine.state("hog") == "exited")
    if failed.code:  # it was quick enough to end at once
        assert f"ended at once with exit code 137: {REASON}" in failed.err
    state = machine.console.inspect("hog")["State"]
    assert (state["OOMKilled"], state["ExitCode"]) == (True, 137)
    assert "(out of memory)" in machine.cli("ps", "-a").out
    assert machine.console.container("hog").error == REASON
    assert f"it exited with code 137: {REASON}" in machine.cli("plan", machine.spec(stack)).out
    record = machine.record("hog")
    with machine.engine.lifecycle.lock(record.id):
        machine.engine.lifecycle.conclude(record)  # its group and its monitor's files are gone
    assert machine.console.inspect("hog")["State"]["OOMKilled"] is True
    assert machine.console.container("hog").error == REASON


def test_only_a_child_is_killed(machine):
    stack = {"containers": {"web": {**LIMIT, "command": ["sh", "-c", f"{HOG}; echo $?; exec sleep 1000"]}}}
    machine.apply(stack)
    until(lambda: machine.console.inspect("web")["State"]["OOMKilled"])
    assert machine.state("web") == "running"
    until(lambda: "137" in machine.cli("logs", "web").out)
    applied = machine.apply(stack).out
    assert "nothing to do" in applied
    assert f"web runs on, but a process of it was killed: {REASON}" in applied
    machine.cli("restart", "web")
    until(lambda: machine.cli("logs", "web").out.count("137") == 2)
    machine.cli("stop", "web")
    machine.cli("start", "web")
    assert machine.record("web").exit_code is None


def test_a_policy_restarts_it_and_the_reason_stays(machine):
    machine.apply({"containers": {"hog": {**LIMIT, "command": HOG.split(), "restart": "on-failure:1"}}}, code=None)
    until(lambda: (r := machine.record("hog")).restarts == 1 and r.state == "exited")
    assert machine.record("hog").oom
    assert machine.console.container("hog").error == REASON


def test_a_probe_is_killed_at_the_limit_of_its_container_which_runs_on(machine):
    check = {"test": ["CMD", *HOG.split()], "interval": "10m", "timeout": "5m"}
    machine.apply({"containers": {"web": {**LIMIT, "command": ["sleep", "1000"], "healthcheck": check}}})
    probe = until(lambda: machine.console.inspect("web")["State"]["Health"]["Log"])[0]
    assert (probe["ExitCode"], probe["Output"]) == (137, "")
    assert machine.state("web") == "running"
    assert machine.console.container("web").error == REASON
