"""The simulated machine is as strict as a real one, remembers what a real one remembers, and breaks where it is told to."""

import threading

import pytest

from reconciler.executor import virtual
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import replace
from reconciler.model.action import (
    AwaitContainer,
    CreateContainer,
    CreateVolume,
    Kept,
    PrepareContainer,
    PullImage,
    RemoveContainer,
    RemoveVolume,
    RepairNetwork,
    StartContainer,
    StopContainer,
    UpdateContainer,
)
from reconciler.model.desired import HEALTHY, Container, Healthcheck, Link, Mount, Port, Stack, Volume, VolumesFrom
from reconciler.model.observed import BusyPort, ObservedImage, PortBinding, Scope
from reconciler.runtimes.base import Context, Outcome
from reconciler.runtimes.simulated.faults import (
    CLOCK_BACK,
    CLOCK_FORWARD,
    CRASH_AFTER,
    CRASH_BEFORE,
    DOUBLED,
    DROPPED,
    EFFECT_FAULTS,
    ERRORS,
    PARTIAL,
    REORDERED,
    SLOW,
    STALE,
    Crash,
)
from reconciler.runtimes.simulated.oracle import broken_links, out_of_order
from reconciler.runtimes.simulated.runtime import Simulated

DATA = Volume("data", "s_data")


def container(key, **more):
    return Container(key, **{"name": key, "image": "app", **more})


@pytest.fixture
def machine():
    return Simulated(["app", ObservedImage("db", "sha256:db", ("3306/tcp",), ("/var/lib/db",))])


def do(machine, *actions):
    outcomes = [machine.perform(action, Context()) for action in actions]
    return outcomes[-1]


def create(made, **more):
    return CreateContainer("s", "/s.yaml", made, {"data": DATA}, **more)


def up(machine, *containers, **more):
    for made in containers:
        do(machine, create(made, **more), StartContainer("s", made.key))


def refused(machine, *actions):
    with pytest.raises(ReconcilerError) as caught:
        do(machine, *actions)
    return caught.value.message


def state_of(machine, key):
    found = machine.world.find("s", key)
    return found and found.state


def test_it_refuses_what_a_real_machine_refuses(machine):
    web = container("web", links=(Link("db", "mysql"),))
    assert "there is no such container" in refused(machine, create(web))
    do(machine, create(container("db")), create(web))
    assert "can't link to /db AS /web/mysql: it does not run" in refused(machine, StartContainer("s", "web"))
    assert machine.observe(Scope("s")).of_stack("s")["web"].error
    do(machine, StartContainer("s", "db"), StartContainer("s", "web"))
    assert state_of(machine, "web") == "running"
    assert "is running" in refused(machine, RemoveContainer("s", "web"))
    assert "the name web is taken" in refused(machine, create(container("other", name="web")))
    assert "is there already" in refused(machine, create(container("web", name="free")))
    assert "image nosuch is not here" in refused(machine, create(container("x", image="nosuch")))
    assert "volume s_data is not there" in refused(
        machine, create(container("x", volumes=(Mount("volume", "data", "/d"),)))
    )
    assert "takes volumes from nosuch" in refused(
        machine, create(container("x", volumes_from=(VolumesFrom("nosuch"),)))
    )
    assert "there is no container s/x" in refused(machine, StartContainer("s", "x"))
    assert "no registry has image" in refused(machine, PullImage("nosuch"))
    machine.tear("s", "db")
    assert "half-made" in refused(machine, StartContainer("s", "db"))


def test_doing_again_what_is_done_changes_nothing(machine):
    do(machine, CreateVolume("s", DATA))
    up(machine, container("a"))
    assert do(machine, CreateVolume("s", DATA)) == Outcome(changed=False)
    assert do(machine, StartContainer("s", "a")) == Outcome(changed=False)
    assert do(machine, StopContainer("s", "a")).changed
    assert do(machine, StopContainer("s", "a")) == Outcome(changed=False)
    assert do(machine, RemoveContainer("s", "a")).changed
    assert do(machine, RemoveContainer("s", "a")) == Outcome(changed=False)
    assert do(machine, RemoveVolume("s", "s_data")).changed
    assert do(machine, RemoveVolume("s", "s_data")) == Outcome(changed=False)


def test_a_volume_in_use_stays_and_a_removed_container_takes_none_along(machine):
    do(machine, CreateVolume("s", DATA))
    up(machine, container("a", image="db", volumes=(Mount("volume", "data", "/d"), Mount("anonymous", "", "/x"))))
    assert refused(machine, RemoveVolume("s", "s_data")) == "volume s_data is used by a"
    anonymous = dict(machine.world.find("s", "a").anonymous)
    assert set(anonymous) == {"/x", "/var/lib/db"}
    do(machine, StopContainer("s", "a"), RemoveContainer("s", "a"))
    assert set(machine.world.volumes) == {"s_data", *anonymous.values()}


def test_a_successor_gets_its_anonymous_volumes_address_and_ports_again(machine):
    made = container("a", image="db", ports=(Port(80), Port(81, host_port=8080)))
    up(machine, made, container("b"))
    before = machine.world.find("s", "a")
    assert before.ports == (PortBinding(81, "tcp", "", 8080), PortBinding(80, "tcp", "", 32768))
    do(machine, StopContainer("s", "a"), RemoveContainer("s", "a"), create(container("c", ports=(Port(80),))))
    do(machine, create(made, kept=Kept(before.address, before.ports)))
    after = machine.world.find("s", "a")
    assert (after.address, after.ports, after.anonymous) == (before.address, before.ports, before.anonymous)
    assert after.id != before.id


def test_volumes_from_brings_all_mounts_and_own_ones_win(machine):
    do(machine, CreateVolume("s", DATA))
    source = container("a", volumes=(Mount("anonymous", "", "/x"), Mount("bind", "/srv", "/y")))
    user = container("b", volumes_from=(VolumesFrom("a"),), volumes=(Mount("volume", "data", "/y"),))
    up(machine, source, user)
    there = machine.world.find("s", "a").anonymous["/x"]
    assert machine.world.find("s", "b").mounts == {"/x": there, "/y": "s_data"}


def test_host_ports_have_one_holder_each_by_address_and_protocol(machine):
    machine.world.listeners["127.0.0.1", 9000, "tcp"] = "nginx, pid 812"
    machine.by_hand("other", (PortBinding(80, "tcp", "0.0.0.0", 9001),))
    taken = container("a", ports=(Port(80, host_port=9000),))
    assert refused(machine, create(taken)) == "host port 9000/tcp is taken by nginx, pid 812"
    assert "container other" in refused(machine, create(container("a", ports=(Port(80, host_port=9001),))))
    free = (
        Port(80, host_port=9000, protocol="udp"),
        Port(80, host_port=9001, host_ip="::1"),
        Port(1, host_port=9000, host_port_end=9005),
    )
    do(machine, create(container("a", ports=free)))
    assert sorted(b.host_port for b in machine.world.find("s", "a").ports) == [9000, 9001, 9002]
    assert "container a" in refused(
        machine, create(container("b", ports=(Port(80, host_port=7), Port(81, host_port=9002))))
    )
    assert "is taken by container b" in refused(
        machine, create(container("b", ports=(Port(1, host_port=7), Port(2, host_port=7))))
    )
    busy = machine.observe(Scope("s", host_ports=(("", 9000, "tcp"), ("", 9002, "tcp")))).busy_ports
    assert busy == (
        BusyPort("127.0.0.1", 9000, "tcp", "nginx, pid 812"),
        BusyPort("", 9002, "tcp", "container a", "a"),
    )


def test_only_what_it_says_it_can_it_updates_in_place(machine):
    made = container("a", labels={"x": "1"}, ports=(Port(80),))
    up(machine, made)
    update = UpdateContainer("s", "/other.yaml", replace(made, labels={"x": "2"}))
    assert do(machine, update).changed
    assert not do(machine, update).changed
    seen = machine.observe(Scope("s")).of_stack("s")["a"]
    assert (seen.settings["labels"], seen.origin, seen.state) == ({"x": "2"}, "/other.yaml", "running")
    assert "environment of a can't change" in refused(
        machine, UpdateContainer("s", "/s.yaml", replace(made, environment={"A": "1"}))
    )
    moved = UpdateContainer("s", "/other.yaml", replace(made, labels={"x": "2"}, ports=(Port(80, host_port=8080),)))
    assert "ports of a can't change while it runs" in refused(machine, moved)
    do(machine, StopContainer("s", "a"), moved)
    assert machine.world.find("s", "a").ports == (PortBinding(80, "tcp", "", 8080),)


def test_drift_is_seen_as_on_a_real_machine(machine):
    machine.jobs["job"] = 3
    up(machine, *(container(key) for key in ("killed", "ended", "stopped", "gone", "paused", "broken", "torn", "job")))
    machine.kill("s", "killed")
    machine.exit("s", "ended", 0, "bye")
    machine.stop_by_hand("s", "stopped")
    machine.remove_by_hand("s", "gone")
    machine.pause("s", "paused")
    machine.break_down("s", "broken")
    machine.tear("s", "torn")
    seen = machine.observe(Scope("s")).of_stack("s")
    assert {key: (c.state, c.exit_code, c.stopped_by_hand, c.error, c.faults) for key, c in seen.items()} == {
        "killed": ("exited", 137, False, "", ()),
        "ended": ("exited", 0, False, "bye", ()),
        "stopped": ("exited", 0, True, "", ()),
        "paused": ("paused", None, False, "", ()),
        "broken": ("running", None, False, "", ("its monitor is gone",)),
        "torn": ("dead", None, False, "", ()),
        "job": ("exited", 3, False, "", ()),
    }
    assert machine.settled("s", ["job", "broken", "nosuch"], 0.0) == {"job": (3, "")}
    machine.world.find("s", "job").log += ["one", "two"]
    assert machine.culprit("s", "job") == "one\ntwo"
    assert machine.culprit("s", "nosuch") == ""
    do(machine, StartContainer("s", "stopped"))
    assert not machine.world.find("s", "stopped").stopped_by_hand


def test_a_crash_falls_before_or_after_exactly_one_effect():
    wanted = container("a", volumes=(Mount("anonymous", "", "/x"),))
    actions = [create(wanted), StartContainer("s", "a"), StopContainer("s", "a"), RemoveContainer("s", "a")]
    whole = Simulated(["app"])
    do(whole, *actions)
    total = whole.faults.effects
    assert total == 3 + 1 + 2 + 2
    states = []
    for effect in range(1, total + 1):
        for early in (True, False):
            machine = Simulated(["app"])
            machine.faults.crash_before, machine.faults.crash_after = (effect, 0) if early else (0, effect)
            with pytest.raises(Crash):
                do(machine, *actions)
            assert machine.faults.effects == effect
            states.append(state_of(machine, "a"))
    assert states[::2] == [None, "dead", "dead", "created", "running", "running", "exited", "dead"]
    assert states[1::2] == ["dead", "dead", "created", "running", "running", "exited", "dead", None]


def test_a_failure_comes_where_it_was_asked_for(machine):
    machine.faults.fail_actions[2] = "second"
    machine.faults.fail_on["start container b"] = "no start"
    machine.faults.fail_effects[4] = "in the middle"
    do(machine, create(container("a")))
    assert refused(machine, StartContainer("s", "a")) == "second"
    assert refused(machine, create(container("b"))) == "in the middle"
    assert state_of(machine, "b") == "dead"
    assert refused(machine, StartContainer("s", "b")) == "no start"
    assert [type(action) for action in machine.trace] == [
        CreateContainer,
        StartContainer,
        CreateContainer,
        StartContainer,
    ]


def test_events_are_hints_since_a_time_until_told_to_stop(machine):
    up(machine, container("a"))
    since = max(event.at for event in machine.events(0.0, lambda: False))
    machine.kill("s", "a")
    assert [(event.kind, event.container) for event in machine.events(since, lambda: False)] == [("exit", "a")]
    assert list(machine.events(0.0, lambda: True)) == []


def test_a_pull_brings_what_the_registry_has_now():
    machine = Simulated(registry=["app"])
    assert machine.capabilities.pull
    assert do(machine, PullImage("app")).changed
    assert not do(machine, PullImage("app")).changed
    machine.world.registry["app"] = ObservedImage("app", "sha256:new")
    assert do(machine, PullImage("app")).changed
    assert machine.observe(Scope("s", images=("app", "nosuch"))).images == {"app": ObservedImage("app", "sha256:new")}


def test_a_look_covers_its_scope_and_no_more(machine):
    machine.by_hand("mine")
    machine.by_hand("not-asked-for")
    do(machine, CreateVolume("other", Volume("v", "asked")), CreateVolume("other", Volume("w", "not-asked")))
    do(machine, CreateVolume("s", DATA))
    up(machine, container("b", volumes=(Mount("volume", "data", "/d"),)), container("a"))
    seen = machine.observe(Scope("s", names=("mine",), volumes=("asked",)))
    assert [c.name for c in seen.containers] == ["a", "b", "mine"]
    assert [(v.name, v.stack, v.users) for v in seen.volumes] == [("asked", "other", ()), ("s_data", "s", ("b",))]


def test_the_oracles_see_an_old_link_and_a_wrong_order(machine):
    db, web = container("db"), container("web", links=(Link("db", "mysql"),))
    stack = Stack("s", "s.yaml", "/s.yaml", {"db": db, "web": web})
    up(machine, db, web)
    assert broken_links(machine.world) == []
    do(machine, StopContainer("s", "db"), RemoveContainer("s", "db"), create(db), StartContainer("s", "db"))
    assert broken_links(machine.world) == ["web has an old db as mysql"]
    assert out_of_order(stack, [StopContainer("s", "db"), StopContainer("s", "web")]) == ["web stopped after db"]
    assert out_of_order(stack, [StartContainer("s", "web"), StartContainer("s", "db")]) == ["web started before db"]
    assert out_of_order(stack, [StartContainer("s", "db"), StartContainer("s", "web")]) == []


def test_threads_may_use_it_at_once(machine):
    keys = [f"c{number}" for number in range(40)]
    workers = [threading.Thread(target=up, args=(machine, container(key, ports=(Port(80),)))) for key in keys]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seen = machine.observe(Scope("s")).of_stack("s")
    assert set(seen) == set(keys)
    assert len({c.address for c in seen.values()}) == len({c.ports for c in seen.values()}) == len(keys)


def test_a_lost_network_is_a_fault_while_something_runs_and_is_repaired_once(machine):
    machine.lose_network("the bridge is gone")
    assert machine.observe(Scope("s")).network_faults == ()
    up(machine, container("web"))
    assert machine.observe(Scope("s")).network_faults == ("the bridge is gone",)
    assert do(machine, RepairNetwork()).changed
    assert machine.observe(Scope("s")).network_faults == ()
    assert not do(machine, RepairNetwork()).changed


def test_preparing_is_half_a_start_and_its_own_only_once(machine):
    do(machine, create(container("web")))
    assert do(machine, PrepareContainer("s", "web")).changed
    assert not do(machine, PrepareContainer("s", "web")).changed
    assert state_of(machine, "web") == "created"
    do(machine, StartContainer("s", "web"))
    assert not do(machine, PrepareContainer("s", "web")).changed
    assert state_of(machine, "web") == "running"


@pytest.mark.parametrize("kind", EFFECT_FAULTS)
def test_each_fault_of_an_effect_comes_instead_of_it_after_it_or_takes_time(kind):
    clock = virtual.VirtualClock(100.0)
    machine = Simulated(["app"], clock=clock)
    machine.faults.advance = clock.advance
    do(machine, create(container("a")))
    machine.faults.strikes[machine.faults.effects + 1] = kind
    raised = None
    try:
        do(machine, StartContainer("s", "a"))
    except (ReconcilerError, Crash) as error:
        raised = error
    happened = kind not in (CRASH_BEFORE, *ERRORS)
    assert state_of(machine, "a") == ("running" if happened else "created")
    assert machine.faults.struck == {kind: 1}
    assert isinstance(raised, Crash) == (kind in (CRASH_BEFORE, CRASH_AFTER))
    assert (raised is None) == (kind in (SLOW, CLOCK_FORWARD, CLOCK_BACK))
    assert (clock.now == 100.0) == (raised is not None)
    machine.faults.clear()
    do(machine, StopContainer("s", "a"))


def test_a_look_may_be_stale_or_not_whole(machine):
    up(machine, container("a"), container("b"))
    before = machine.observe(Scope("s"))
    machine.faults.look = STALE
    assert machine.observe(Scope("s")) == before
    do(machine, StopContainer("s", "a"))
    assert machine.observe(Scope("s")) == before
    assert machine.observe(Scope("other")).containers == ()
    machine.faults.look = PARTIAL
    assert len(machine.observe(Scope("s")).containers) == 1
    machine.faults.clear()
    assert machine.observe(Scope("s")).of_stack("s")["a"].state == "exited"
    assert machine.faults.struck == {STALE: 1, PARTIAL: 1}


def test_events_get_lost_come_twice_or_in_another_order(machine):
    up(machine, container("a"))

    def seen():
        return [event.kind for event in machine.events(0.0, lambda: False)]

    assert seen() == ["create", "start"]
    machine.faults.hints = DROPPED
    assert len(seen()) == 1
    machine.faults.hints = DOUBLED
    assert seen() == ["create", "create", "start", "start"]
    machine.faults.hints = REORDERED
    assert seen() == ["start", "create"]


def test_what_is_slow_makes_a_wait_run_out_of_time():
    clock = virtual.VirtualClock(100.0)
    machine = Simulated(["app"], clock=clock)
    do(machine, create(container("a", healthcheck=Healthcheck(("CMD", "x")))), StartContainer("s", "a"))
    wait = AwaitContainer("s", "a", HEALTHY)
    with pytest.raises(ReconcilerError, match="it is starting") as caught:
        machine.perform(wait, Context(deadline=99.0))
    assert caught.value.exit_code == 4
    assert machine.perform(wait, Context(deadline=100.0)).details == {"state": "healthy"}
