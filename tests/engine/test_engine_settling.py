"""Ends and restarts that are cut off, changed in between, or meet somebody else's trouble."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from support import world
from support.machine import end_keeper, image, paced, until

from reconciler.engine.containers import bundle, keeper
from reconciler.engine.kernel import processes
from reconciler.kits.backoff import restart_delay
from reconciler.kits.errors import ReconcilerError

pytestmark = pytest.mark.kernel

SLEEP = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}


def end(machine, name):
    record = machine.record(name)
    os.kill(record.pid, signal.SIGKILL)
    return record


def is_back(machine, name, before):
    record = machine.record(name)
    return record.pid != before.pid and machine.state(name) == "running" and record


def test_a_restart_survives_whoever_was_about_to_make_it(machine, monkeypatch):
    """Killed right after the end was written down, or failing where no error of ours was foreseen."""
    machine.apply({"containers": {"web": {**SLEEP, "restart": "always"}}})
    record = machine.record("web")
    os.unlink(os.path.join(machine.paths.bundle(record.id), bundle.SETTLE_MARK))  # the hook does nothing
    end(machine, "web")
    until(lambda: machine.state("web") == "exited")
    monkeypatch.setattr(bundle, "take_down", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        machine.engine.settling.settle(record.id)
    monkeypatch.undo()
    assert machine.record("web").state == "restarting"

    lifecycle = machine.engine.lifecycle
    monkeypatch.setattr(
        lifecycle._preparing, "prepare", lambda *_: (_ for _ in ()).throw(BlockingIOError(11, "EAGAIN"))
    )
    due = until(lambda: machine.engine.settling.settle(record.id) and (r := machine.record("web")).error and r)
    assert (due.state, due.wanted) == ("restarting", "running")
    assert "EAGAIN" in due.error
    assert due.restart_at > time.time() - 60
    monkeypatch.undo()
    until(lambda: machine.engine.settling.settle(record.id) == 0.0)
    assert is_back(machine, "web", record)


def test_a_policy_is_carried_out_where_nothing_below_run_may_be_executed(make_machine):
    """As below Debian's /run, where it lies by default."""
    machine = make_machine(images=False)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,nosuid,nodev,mode=700", "tmpfs", machine.run], check=True)
    try:
        machine.console.load(image("tiny"))
        machine.apply({"containers": {"web": {**SLEEP, "restart": "always"}}})
        before = end(machine, "web")
        until(lambda: is_back(machine, "web", before))
    finally:
        machine.clean()
        machine.restart()
        end_keeper(machine.paths)
        subprocess.run(["umount", "--lazy", machine.run], check=True)


def test_one_containers_trouble_does_not_hold_up_the_others(machine, monkeypatch):
    machine.apply({"containers": {"bad": {**SLEEP, "restart": "always"}, "good": {**SLEEP, "restart": "always"}}})
    before = {name: machine.record(name) for name in ("bad", "good")}
    for record in before.values():
        os.unlink(os.path.join(machine.paths.bundle(record.id), bundle.SETTLE_MARK))
        end(machine, record.name)
    until(lambda: {machine.state("bad"), machine.state("good")} == {"exited"})
    settle = machine.engine.settling.settle

    def trouble(container_id, **options):
        if container_id == before["bad"].id:
            raise OSError(28, "no space")
        return settle(container_id, **options)

    monkeypatch.setattr(machine.engine.settling, "settle", trouble)
    monkeypatch.setattr(keeper, "RETRY", 0.5)
    at_work = threading.Thread(target=keeper.keep, args=(machine.engine,))
    at_work.start()
    try:
        until(lambda: is_back(machine, "good", before["good"]))
        with open(os.path.join(machine.paths.run, "after.log"), encoding="utf-8") as notes:
            assert "no space" in notes.read()
        monkeypatch.setattr(machine.engine.settling, "settle", settle)
        until(lambda: is_back(machine, "bad", before["bad"]))
    finally:
        machine.clean()
        at_work.join(30)


def keepers_at_work(machine):
    """Who holds the keeper's lock. One that finds another at work, or is about to start, does not, or not for long.

    A child of the keeper's looks like it until it executes its program.
    """
    found = set()
    mark = f" keep {machine.root} {machine.run}"
    keepers = {pid for pid, line in world.processes_of(machine.paths).items() if mark in line}
    for pid in keepers:
        if world.parent_of(pid) not in keepers:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    if os.readlink(f"/proc/{pid}/fd/{fd}") == machine.paths.keeper_lock:
                        held = Path(f"/proc/{pid}/fdinfo/{fd}").read_text(encoding="ascii")
                        found.update([pid] if re.search(r"^lock:.*FLOCK +ADVISORY +WRITE", held, re.MULTILINE) else [])
    return found


def test_crash_loops_share_one_keeper(machine):
    """However many end at once, and again and again: one Python process looks after all of them, the same to the end."""
    loop = {**SLEEP, "command": ["false"], "restart": "always"}
    names = [f"loop{number}" for number in range(6)]
    machine.apply({"containers": dict.fromkeys(names, loop)}, code=1)
    seen = set()

    def all_restarted(times):
        seen.update(keepers_at_work(machine))
        return min(record.restarts for record in machine.engine.containers.every()) >= times

    by_apply = max(record.restarts for record in machine.engine.containers.every())
    until(lambda: all_restarted(by_apply + 1))
    seen.clear()  # before, one may have come, or be about to go: apply was quicker with all that it came for
    until(lambda: all_restarted(by_apply + 3))
    assert len(seen) == 1


class Clock:
    """In place of `time` in the keeper."""

    def __init__(self):
        self.now = 1e9

    def time(self):
        return self.now

    monotonic = time


class Turns:
    """In place of the keeper's workers: each container that is started ends at once, and is due again after its back-off."""

    def __init__(self, kept, clock):
        self.busy = set()
        self.counts = Counter()
        self._kept, self._clock = kept, clock
        self._ended = [f"loop{number}" for number in range(60)]

    def give(self, name, _work):
        self.counts[name] += 1
        self._ended.append(name)

    def let_them_end(self):
        for name in self._ended:
            self._kept._due[name] = self._clock.now + restart_delay(0.0, self.counts[name])
            self._kept._delayed.add(name)
        self._ended.clear()


def test_crash_loops_take_turns_at_a_pace_that_they_share(machine, monkeypatch):
    """On a clock of its own: whoever has waited longest is next, so no one is restarted twice before another is."""
    monkeypatch.setattr(keeper, "time", clock := Clock())
    kept = keeper.Keeper(machine.engine)
    kept._workers = turns = Turns(kept, clock)
    begin, looks = clock.now, 0
    turns.let_them_end()
    names = sorted(kept._due)
    while clock.now < begin + 120:
        kept._begin()
        turns.let_them_end()
        counts = [turns.counts[name] for name in names]
        assert max(counts) - min(counts) <= 1
        assert sum(counts) <= keeper.BURST + keeper.RESTARTS_A_SECOND * (clock.now - begin) + 1
        clock.now += max(kept._pause(), 0.001)
        looks += 1
    assert min(counts) == 8, "twenty at once and four a second, of sixty"
    assert looks < 2 * sum(counts), "it sleeps until something is due"
    kept._exits.close()


def test_a_changed_restart_policy_counts_at_once(machine):
    document = {"containers": {"web": SLEEP}}
    machine.apply(document)
    document["containers"]["web"] = {**SLEEP, "restart": "always"}
    assert "updated web" in machine.apply(document).out
    before = end(machine, "web")
    until(lambda: is_back(machine, "web", before))


def test_ports_that_change_while_a_container_waits_are_shut(machine):
    """An apply that was cut off between prepare and start, and a spec that is edited then."""
    machine.apply({"containers": {"web": {**SLEEP, "command": ["httpd", "-f"], "ports": ["38080:80"]}}})
    machine.cli("stop", "web")
    record = machine.record("web")
    machine.engine.lifecycle.prepare("web")
    assert machine.record("web").generation == record.generation + 1
    machine.apply({"containers": {"web": {**SLEEP, "command": ["httpd", "-f"], "ports": ["38081:80"]}}})
    rules = subprocess.run(
        ["nft", "list", "table", "ip", machine.paths.table], capture_output=True, text=True, check=True
    )
    assert "38081" in rules.stdout
    assert "38080" not in rules.stdout


def test_who_kills_or_removes_need_not_wait_for_a_stop(machine):
    stubborn = {
        **SLEEP,
        "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
        "stop_grace_period": "10m",
    }
    machine.apply({"containers": {"one": stubborn, "two": stubborn}})
    for name, act in (("one", "kill"), ("two", "remove")):
        record = machine.record(name)
        stopping = threading.Thread(target=machine.engine.lifecycle.stop, args=(name,))
        stopping.start()
        until(lambda record=record: machine.engine.containers.get(record.id).wanted == "stopped")
        if act == "kill":
            machine.console.kill(name)
        else:
            machine.engine.lifecycle.remove(name, force=True)
        stopping.join(60)
        assert not stopping.is_alive()
    assert machine.state("one") == "exited"
    with pytest.raises(ReconcilerError, match="No such container"):
        machine.record("two")


def test_start_finishes_a_stop_that_is_under_way(machine):
    slow = {**SLEEP, "command": ["sh", "-c", f"trap 'sleep {paced(1)}; exit 3' TERM; while :; do sleep 0.1; done"]}
    machine.apply({"containers": {"web": {**slow, "stop_grace_period": "1m"}}})
    before = machine.record("web")
    assert machine.engine.lifecycle.stop("web", cancelled=lambda: True)
    assert machine.state("web") == "running"
    machine.engine.lifecycle.start("web")
    assert is_back(machine, "web", before)
    assert machine.record("web").wanted == "running"


def test_a_process_that_is_gone_does_not_hold_its_start_up(machine):
    machine.apply({"containers": {"web": SLEEP}})
    machine.cli("stop", "web")
    machine.engine.lifecycle.prepare("web")
    record = machine.record("web")
    os.kill(record.pid, signal.SIGKILL)
    until(lambda: not processes.start_time(record.pid))
    machine.engine.lifecycle.start("web")
    assert is_back(machine, "web", record)


def waits_for(path):
    """Whether somebody waits for the lock on this file."""
    number = f":{os.stat(path).st_ino} "
    with open("/proc/locks", encoding="ascii") as table:
        return any("->" in line and number in line for line in table)


def test_who_waits_for_a_container_that_goes_leaves_nothing_of_it(machine):
    machine.apply({"containers": {"web": SLEEP}})
    machine.cli("stop", "web")
    record, lifecycle = machine.record("web"), machine.engine.lifecycle
    path = os.path.join(machine.paths.locks, record.id)
    with lifecycle.lock(record.id):
        waiting = threading.Thread(target=machine.engine.settling.settle, args=(record.id,))
        waiting.start()
        until(lambda: waits_for(path))
        lifecycle._remove(record)
    waiting.join(30)
    assert not os.path.exists(path)
