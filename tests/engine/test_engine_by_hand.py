"""What people do to containers by hand: pause, signals, restart, wait; and what becomes of them then."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from support.machine import until

from reconciler.engine.kernel import cgroups, effects, processes
from reconciler.kits.errors import ReconcilerError

pytestmark = pytest.mark.kernel

SLEEP = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
LISTENS = {
    "image": "tiny",
    "command": ["sh", "-c", "trap 'exit 3' TERM; trap 'echo again' HUP; while :; do sleep 0.05; done"],
    "stop_grace_period": "20s",
}
COUNTS = {
    **SLEEP,
    "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do echo x >>/count; sleep 0.01; done"],
    "stop_grace_period": "20s",
}


def listens(machine, name):
    """Whether its shell has come to install its handlers."""
    return processes.receives(machine.record(name).pid, signal.SIGTERM)


def count(machine, name):
    try:
        return os.stat(os.path.join(machine.paths.container(machine.record(name).id), "upper", "count")).st_size
    except FileNotFoundError:
        return 0


def test_a_paused_container_stands_still_and_refuses_what_needs_it_to_run(machine):
    stack = {"containers": {"web": {**COUNTS, "restart": "always"}}}
    machine.apply(stack)
    before = until(lambda: count(machine, "web") > 3 and machine.record("web"))
    assert machine.cli("pause", "web").out == "web\n"
    still = count(machine, "web")
    assert "(Paused)" in machine.cli("ps").out
    state = machine.console.inspect("web")["State"]
    assert (state["Status"], state["Paused"], state["Running"]) == ("paused", True, True)
    assert "is already paused" in machine.cli("pause", "web", code=1).err
    assert "Container web is paused, unpause the container before exec" in machine.cli("exec", "web", "ls", code=1).err
    assert "Unpause and then stop the container before" in machine.cli("rm", "web", code=1).err
    assert "cannot start a paused container, try unpause instead" in machine.cli("start", "web", code=1).err
    applied = machine.apply(stack).out
    assert "nothing to do" in applied
    assert "web is paused and stays so" in applied
    assert count(machine, "web") == still
    assert machine.cli("unpause", "web").out == "web\n"
    until(lambda: count(machine, "web") > still)
    assert "is not paused" in machine.cli("unpause", "web", code=1).err
    assert machine.record("web").pid == before.pid

    machine.cli("pause", "web")
    machine.cli("stop", "web")
    assert (machine.state("web"), machine.record("web").exit_code) == ("exited", 0)
    assert "is not running" in machine.cli("pause", "web", code=1).err
    machine.cli("start", "web")
    machine.cli("pause", "web")
    machine.cli("kill", "web")
    until(lambda: machine.state("web") == "exited")
    machine.cli("restart", "web")
    machine.cli("pause", "web")
    machine.cli("rm", "-f", "web")


def test_signals_and_what_a_restart_policy_makes_of_the_end(machine):
    machine.apply({"containers": {"web": {**LISTENS, "restart": "always"}}})
    before = until(lambda: listens(machine, "web") and machine.record("web"))
    machine.cli("kill", "-s", "HUP", "web")
    until(lambda: "again" in machine.cli("logs", "web").out)
    os.kill(before.pid, signal.SIGKILL)  # not by hand: its policy acts
    again = until(lambda: (r := machine.record("web")).pid != before.pid and listens(machine, "web") and r)
    machine.cli("kill", "-s", "TERM", "web")  # its stop signal: it stays down
    until(lambda: machine.state("web") == "exited" and machine.record("web").state == "exited")
    assert (machine.record("web").exit_code, machine.record("web").restarts) == (3, again.restarts)
    assert "Cannot kill container: web" in machine.cli("kill", "web", code=1).err
    assert "Invalid signal: BOGUS" in machine.cli("kill", "-s", "BOGUS", "web", code=1).err
    plan = machine.cli("plan", machine.spec({"containers": {"web": {**LISTENS, "restart": "always"}}})).out
    assert "it was stopped" in plan
    machine.cli("start", "web")
    assert machine.record("web").restarts == 0
    until(lambda: listens(machine, "web"))
    machine.cli("kill", "web")
    until(lambda: machine.record("web").state == "exited")
    assert machine.record("web").exit_code == 137


def test_a_signal_that_is_ignored_takes_nothing_away(machine):
    """A container that ignores its stop signal runs on, and its policy holds again once somebody has started it."""
    machine.apply({"containers": {"web": {**SLEEP, "restart": "always"}}})
    before = machine.record("web")
    machine.cli("kill", "-s", "TERM", "web")
    machine.cli("start", "web")
    assert machine.record("web").pid == before.pid
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: machine.record("web").pid != before.pid and machine.state("web") == "running")


@pytest.mark.parametrize("verb", ["stop", "kill"])
def test_a_crash_loop_is_ended_by_hand_and_begins_anew(machine, verb):
    loop = {**SLEEP, "command": ["sh", "-c", "exit 4"], "restart": "always"}
    machine.apply({"containers": {"loop": loop}}, code=1)
    until(lambda: (r := machine.record("loop")).restarts >= 3 and r.state == "restarting")
    machine.cli(verb, "loop")
    ended = machine.record("loop")
    assert (ended.state, machine.state("loop")) == ("exited", "exited")
    assert ended.exit_code in (4, 137), "of its last end, or it was running just then"
    assert ended.restarts >= 3
    machine.cli("start", "loop")
    assert machine.record("loop").restarts < ended.restarts
    until(lambda: machine.record("loop").restarts >= 1)


def test_a_policy_that_gave_up_is_tried_again_by_apply_only(machine):
    failing = {**SLEEP, "command": ["sh", "-c", "exit 4"], "restart": "on-failure:2"}
    machine.apply({"containers": {"failing": failing}}, code=1)
    gave_up = until(lambda: (r := machine.record("failing")).state == "exited" and r)
    assert (gave_up.restarts, gave_up.exit_code) == (2, 4), gave_up
    assert machine.console.inspect("failing")["RestartCount"] == 2
    assert machine.engine.settling.settle(gave_up.id) == 0.0
    assert machine.record("failing") == gave_up
    spec = machine.spec({"containers": {"failing": failing}})
    assert "it exited with code 4; its policy gave up after 2 restarts" in machine.cli("plan", spec).out
    machine.cli("apply", spec, code=1)
    until(lambda: (r := machine.record("failing")).restarts == 2 and r.state == "exited")
    assert machine.record("failing").generation == gave_up.generation + 3


def test_a_policy_that_gave_up_is_shown_as_docker_does_and_begins_anew_by_hand(machine):
    failing = {**SLEEP, "command": ["sh", "-c", "exit 4"], "restart": "on-failure:2"}
    machine.apply({"containers": {"failing": failing}}, code=1)
    gave_up = until(lambda: (r := machine.record("failing")).state == "exited" and r)

    def shown():
        (found,) = json.loads(machine.cli("inspect", "failing").out)
        state = found["State"]
        return state["Status"], state["Running"], state["Restarting"], state["ExitCode"], found["RestartCount"]

    (found,) = json.loads(machine.cli("inspect", "failing").out)
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert shown() == ("exited", False, False, 4, 2)
    assert " Exited (4) " in machine.cli("ps", "-a").out
    assert "failing" not in machine.cli("ps").out
    assert machine.cli("wait", "failing").out == "4\n"
    # There is nothing to stop, so nothing becomes of it but that it was asked for.
    assert machine.cli("stop", "failing").out == "failing\n"
    assert shown() == ("exited", False, False, 4, 2)
    assert machine.record("failing").generation == gave_up.generation
    assert "is not running" in machine.cli("kill", "failing", code=1).err
    machine.cli("start", "failing")
    again = until(lambda: (r := machine.record("failing")).state == "exited" and r)
    assert (again.restarts, again.generation) == (2, gave_up.generation + 3), "the count begins anew"
    machine.cli("rm", "failing")


def test_restart_keeps_address_and_ports_and_counts_as_a_start(machine):
    machine.apply(
        {
            "containers": {
                "db": SLEEP,
                "web": {**SLEEP, "command": ["httpd", "-f"], "ports": ["80"], "links": ["db"], "restart": "always"},
            }
        }
    )
    before = machine.record("web")
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: machine.record("web").restarts == 1 and machine.state("web") == "running")
    assert machine.cli("restart", "web", "db").out == "web\ndb\n"
    after = machine.record("web")
    assert (after.address, after.ports, after.restarts, after.wanted) == (before.address, before.ports, 0, "running")
    machine.cli("stop", "web", "db")
    refused = machine.cli("restart", "web", code=1).err
    assert "Cannot restart container web: Cannot link to a non running container: /db AS /web/db" in refused
    assert machine.cli("restart", "web", "db").out == "db\nweb\n"


SORTS = [f"trap 'echo {name} >>/said/asked; exit 5' {name}" for name in ("QUIT", "TERM", "37", "HUP")]


@pytest.mark.parametrize(
    ("spec", "image", "expected"),
    [("QUIT", "SIGHUP", "QUIT"), ("RTMAX-27", "SIGHUP", "37"), (None, "SIGQUIT", "QUIT"), (None, "BOGUS", "TERM")],
    ids=["spec", "real-time", "image", "bogus"],
)
def test_whoever_ends_a_container_asks_by_its_own_signal(machine, spec, image, expected):
    """Its spec's, else its image's, else TERM; what an image calls a signal and is none keeps nobody from stopping it."""
    with machine.engine.store.write() as connection:
        connection.execute("UPDATE images SET config = json_set(config, '$.stop_signal', ?)", [image])
    machine.restart()
    said = os.path.join(machine.folder, "said")
    check = {"test": "test ! -e /said/sick", "interval": "100ms", "retries": 1, "on_unhealthy": "restart"}
    document = {
        "containers": {
            "web": {
                "image": "tiny",
                "command": ["sh", "-c", "; ".join((*SORTS, "while :; do sleep 0.05; done"))],
                "volumes": [f"{said}:/said"],
                "healthcheck": check,
                "stop_grace_period": "60s",
                **({"stop_signal": spec} if spec else {}),
            }
        }
    }

    def asked():
        return Path(said, "asked").read_text(encoding="ascii").split()

    def begun():
        until(
            lambda: machine.state("web") == "running" and processes.receives(machine.record("web").pid, signal.SIGHUP)
        )

    machine.apply(document)
    begun()
    machine.cli("stop", "web")
    assert (asked(), machine.record("web").exit_code) == ([expected], 5)
    machine.cli("start", "web")
    begun()
    machine.cli("restart", "web")
    assert asked() == [expected] * 2
    begun()
    before = machine.record("web").generation
    Path(said, "sick").touch()
    until(lambda: machine.record("web").generation > before, 120)
    os.unlink(os.path.join(said, "sick"))
    until(lambda: machine.record("web").health_restarts == 0, 120)  # it is well again
    begun()
    by_health = asked()
    assert by_health == [expected] * max(3, len(by_health)), "once or more, as long as it was sick"
    machine.cli("down", "stack")
    assert asked() == [*by_health, expected]


class Signals:
    """A watcher of effects: which signals were sent when, and whether the process was there just before each."""

    def __init__(self):
        self.sent = []

    def before(self, name, arguments):
        if name == "processes.send_signal":
            self.sent.append((arguments[1], time.monotonic(), not processes.wait_for_end(arguments[0], 0.0)))

    def after(self, name, arguments):
        pass


def test_a_deaf_container_has_its_grace_period_before_it_is_killed(machine):
    """By its spec, and by hand where that says more: asked, alive to the end of it, then killed."""
    deaf = ["sh", "-c", "trap 'echo asked' TERM; while :; do sleep 0.05; done"]
    machine.apply({"containers": {"web": {"image": "tiny", "command": deaf, "stop_grace_period": "1s"}}})
    until(lambda: listens(machine, "web"))
    watcher = Signals()
    before = effects.watch(watcher)
    try:
        machine.console.stop("web")
    finally:
        effects.watch(before)
    (first, asked, _), (last, killed, alive) = watcher.sent
    assert (first, last, alive) == (signal.SIGTERM, signal.SIGKILL, True)
    assert killed - asked >= 1.0, "no sooner; how much later is the machine's business"
    assert (machine.state("web"), machine.record("web").exit_code) == ("exited", 137)
    assert machine.cli("logs", "web").out == "asked\n"

    machine.apply({"containers": {"web": {"image": "tiny", "command": deaf, "stop_grace_period": "10h"}}})
    until(lambda: listens(machine, "web"))
    machine.cli("stop", "-t", "1", "web")
    assert machine.record("web").exit_code == 137
    assert machine.cli("logs", "web").out == "asked\n" * 2


def test_a_stack_is_stopped_and_started_in_the_order_of_its_links(machine):
    late = {**SLEEP, "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"], "stop_grace_period": "20s"}
    machine.apply({"containers": {"db": late, "web": {**late, "links": ["db"]}, "cache": late}})
    until(lambda: all(listens(machine, name) for name in ("db", "web", "cache")))
    stopped = machine.cli("stop", "--stack", "stack").out
    assert stopped.index("stopped web") < stopped.index("stopped db")
    assert {machine.state(name) for name in ("db", "web", "cache")} == {"exited"}
    assert "does not run" in machine.cli("stop", "--stack", "stack").out
    machine.cli("start", "--stack", "stack", "db")
    assert {name: machine.state(name) for name in ("db", "web")} == {"db": "running", "web": "exited"}
    started = machine.cli("restart", "--stack", "stack").out
    assert started.index("started db") < started.index("started web")
    assert {machine.state(name) for name in ("db", "web", "cache")} == {"running"}


def test_wait_tells_the_code_of_the_end_it_saw(machine):
    machine.apply({"containers": {"web": LISTENS, "job": {**SLEEP, "command": ["sh", "-c", "exit 7"]}}}, code=1)
    until(lambda: listens(machine, "web"))
    assert machine.cli("wait", "job").out == "7\n"
    found = {}

    def wait(condition):
        found[condition] = machine.console.wait("web", condition)

    waits = [threading.Thread(target=wait, args=(c,)) for c in ("not-running", "next-exit", "removed")]
    for one in waits:
        one.start()
    machine.cli("stop", "web")
    waits[0].join(30)
    waits[1].join(30)
    assert found == {"not-running": 3, "next-exit": 3}
    machine.cli("rm", "web")
    waits[2].join(30)
    assert found["removed"] == 3
    assert "No such container: web" in machine.cli("wait", "web", code=1).err


def test_a_container_without_its_monitor_is_healed_by_its_policy_and_by_a_start(machine):
    machine.apply({"containers": {"policy": {**LISTENS, "restart": "always"}, "none": LISTENS}})
    before = {name: until(lambda n=name: listens(machine, n) and machine.record(n)) for name in ("policy", "none")}
    for record in before.values():
        os.kill(record.monitor, signal.SIGKILL)
    until(lambda: all(machine.engine.containers.status(r).faults for r in before.values()))
    settle = machine.engine.settling.settle
    assert settle(before["none"].id) == 0.0
    assert machine.record("none").pid == before["none"].pid
    until(lambda: not settle(before["policy"].id) and machine.record("policy").pid != before["policy"].pid)
    assert machine.record("policy").restarts == 1
    machine.cli("start", "none")
    assert machine.record("none").pid != before["none"].pid
    for name in before:
        assert machine.engine.containers.status(machine.record(name)).faults == ()


def test_freezing_waits_until_everything_stands_still(machine):
    machine.apply({"containers": {"web": COUNTS}})
    group = f"{machine.paths.cgroup}/{machine.record('web').id}"
    assert not cgroups.is_frozen(group)
    assert cgroups.freeze(group)
    assert cgroups.is_frozen(group)
    cgroups.thaw(group)
    assert not cgroups.is_frozen(group)
    with pytest.raises(FileNotFoundError):
        cgroups.freeze(f"{machine.paths.cgroup}/nosuch")
    machine.cli("stop", "web")
    with pytest.raises(ReconcilerError, match="is not running"):
        machine.console.pause("web")
