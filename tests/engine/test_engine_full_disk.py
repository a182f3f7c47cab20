"""A container fills the disk and goes on trying: it can still be listed, stopped, killed and removed, and that makes room."""

from __future__ import annotations

import sqlite3

import pytest
from support.machine import image, until

from reconciler.engine import store

pytestmark = pytest.mark.kernel

RUNAWAY = ["sh", "-c", "while :; do cat /dev/zero >> /big; done 2> /dev/null"]
ONCE = ["sh", "-c", "cat /dev/zero > /big 2> /dev/null; exec sleep 1000"]
"""Does not take what we give up of our reserve: nothing is left to chance then."""


@pytest.fixture(params=[("40m", RUNAWAY), ("120m", RUNAWAY), ("40m", ONCE)], ids=["40m", "120m", "40m-once"])
def full(make_machine, request):
    size, command = request.param
    machine = make_machine(images=False, disk=size)
    machine.competes = command == RUNAWAY
    machine.cli("load", image("tiny"))
    machine.spec(
        {"containers": {"x": {"image": "tiny", "command": command, "restart": "always", "stop_grace_period": "0s"}}}
    )
    machine.cli("apply", "stack.yaml")
    until(lambda: machine.free() == 0)
    yield machine
    machine.cli("rm", "-f", "x", code=None)


class _TakesTheRoom:
    """The writer is quicker than the first commit of a verb; the next ones find what the end has made free."""

    def __init__(self, monkeypatch):
        self._commit = store._commit
        self.refused = 0
        monkeypatch.setattr(store, "_commit", self.commit)

    def commit(self, connection):
        if not self.refused:
            self.refused += 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        self._commit(connection)


@pytest.mark.parametrize(
    ("verb", "waits"), [("stop", False), ("stop", True), ("kill", False)], ids=["stop", "stop-between-restarts", "kill"]
)
def test_no_policy_restarts_what_was_ended_though_the_wish_could_not_be_written(machine, monkeypatch, verb, waits):
    command = ["sh", "-c", "exit 3"] if waits else ["sleep", "1000"]
    config = {"image": "tiny", "command": command, "restart": "always", "stop_grace_period": "0s"}
    machine.apply({"containers": {"x": config}}, code=1 if waits else 0)
    # The back-off has grown by then to seconds: nothing happens beside us.
    until(
        lambda: (
            machine.record("x").state == ("restarting" if waits else "running")
            and (not waits or machine.record("x").streak > 4)
        )
    )
    takes = _TakesTheRoom(monkeypatch)
    getattr(machine.console, verb)("x")
    assert takes.refused
    record = machine.record("x")
    assert (record.state, record.wanted, record.restart_at) == ("exited", "stopped", 0.0)
    assert machine.engine.settling.settle(record.id) == 0.0
    assert machine.record("x") == record


@pytest.mark.parametrize(
    "verbs",
    [[["stop", "x"], ["rm", "x"]], [["kill", "x"], ["rm", "-f", "x"]], [["rm", "-f", "x"]], [["down", "stack.yaml"]]],
    ids=lambda verbs: verbs[0][0],
)
def test_it_is_ended_and_removed_and_makes_room(full, verbs):
    assert "Up " in full.cli("ps").out
    *first, last = verbs
    for arguments in first:
        ran = full.cli(*arguments, code=None if full.competes else 0)
        # The writer may be quicker than us with every block: then that is said, and nothing else.
        assert ran.code == 0 or "the disk is full" in ran.err, ran
        assert ran.code or "Exited (137)" in full.cli("ps", "-a").out
    full.cli(*(["rm", "-f", "x"] if last[0] == "rm" and full.competes else last))
    assert "x" not in full.cli("ps", "-a", "-q").out
    assert full.free() > 4 << 20
    full.cli("apply", "stack.yaml")
