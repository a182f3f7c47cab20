"""The pure schedule: what may begin when, whatever completes, fails or is cancelled in between."""

from hypothesis import given, settings
from hypothesis import strategies as st
from plans import graphs, plan_of, pull, start, stop

from reconciler.executor.schedule import TRANSFER, WAIT, WORK, Schedule, lane_of
from reconciler.model.action import RemoveContainer
from reconciler.model.plan import BEHIND, OPENS, REMOVE

WIDE = {WORK: 100, WAIT: 100, TRANSFER: 100}
limits = st.fixed_dictionaries({WORK: st.integers(1, 3), WAIT: st.integers(1, 3), TRANSFER: st.integers(1, 2)})


def taken(schedule):
    """All that may begin now."""
    steps = []
    while step := schedule.take():
        steps.append(step.number)
    return steps


@settings(deadline=None)
@given(graphs(), limits, st.data())
def test_a_step_begins_after_what_it_waits_for_and_within_its_lane(plan, limit, data):
    schedule = Schedule(plan, limit)
    running, done = [], set()
    while True:
        while step := schedule.take():
            assert done >= set(step.after)
            assert step.gate != BEHIND or done >= {other.number for other in plan.steps if other.gate == OPENS}
            running.append(step)
            lanes = [lane_of(other.action) for other in running]
            assert all(lanes.count(lane) <= limit[lane] for lane in limit)
        assert schedule.running == len(running)
        if not running:
            break
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        schedule.done(ended.number)
        done.add(ended.number)
    assert done == {step.number for step in plan.steps}
    assert schedule.skipped == ()
    assert schedule.undoing() == ()


@settings(deadline=None)
@given(graphs(), limits, st.data())
def test_after_a_failure_nothing_begins_that_nothing_stopped_needs_and_undo_takes_no_ground_from_under_anybody(
    plan, limit, data
):
    schedule = Schedule(plan, limit)
    fails = data.draw(st.sampled_from(plan.steps)).number
    running, done, begun, failed = [], set(), set(), False
    while True:
        while step := schedule.take():
            assert not failed or stops_to_return(plan, begun)
            running.append(step)
            begun.add(step.number)
        if not running:
            break
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        if ended.number == fails:
            schedule.fail(fails)
            failed = True
        else:
            schedule.done(ended.number)
            done.add(ended.number)
    assert {step.number for step in schedule.skipped} == {step.number for step in plan.steps} - begun
    gone = set()
    for step, action in schedule.undoing():
        assert action == step.undo
        assert {s.number for s in plan.steps if step.number in s.after} <= gone | ({*range(100)} - begun)
        gone.add(step.number)


def stops_to_return(plan, begun):
    return any(step.number in begun and lane_of(step.action) == WAIT for step in plan.steps)


def test_the_lowest_number_begins_first_across_lanes():
    schedule = Schedule(plan_of(stop(1), start(2), pull(3), start(4, [1])), {WORK: 1, WAIT: 1, TRANSFER: 1})
    assert taken(schedule) == [1, 2, 3]
    schedule.done(1)
    assert taken(schedule) == []  # its lane is full
    schedule.done(2)
    assert taken(schedule) == [4]


def test_after_a_failure_what_was_stopped_comes_back_with_all_it_needs_and_nothing_else():
    stopped = stop(1, key="web")
    needs = start(2, [], key="db")
    back = start(3, [1, 2], key="web")
    other = start(4, [5], key="other")
    fails = start(5, key="fails")
    schedule = Schedule(
        plan_of(stopped, needs, back, other, fails, start(6, [2], key="more")), {WORK: 1, WAIT: 1, TRANSFER: 1}
    )
    assert taken(schedule) == [1, 2]
    schedule.done(2)
    assert schedule.take().number == 5
    schedule.fail(5)
    assert schedule.take() is None
    schedule.done(1)
    assert taken(schedule) == [3]
    schedule.done(3)
    assert [step.number for step in schedule.skipped] == [4, 6]


def test_the_way_back_is_not_shut_by_a_gate_that_can_open_no_more():
    """web was stopped and comes back with a new db, although another new container can't be made."""
    stopped = stop(1, key="web")
    fails = start(2, key="fails", gate=OPENS)
    made = start(3, key="db-made", gate=OPENS)
    runs = start(4, [3], key="db-runs", gate=BEHIND)
    other = start(5, [3], key="other", gate=BEHIND)
    back = start(6, [1, 4], key="web")
    schedule = Schedule(plan_of(stopped, fails, made, runs, other, back), {WORK: 2, WAIT: 1, TRANSFER: 1})
    assert taken(schedule) == [1, 2, 3]
    schedule.done(1)
    schedule.done(3)
    assert taken(schedule) == []
    schedule.fail(2)
    assert taken(schedule) == [4]
    schedule.done(4)
    assert taken(schedule) == [6]
    schedule.done(6)
    assert [step.number for step in schedule.skipped] == [5]


def test_a_stop_that_the_way_back_needs_brings_its_container_back_too():
    """web is down and waits for db, which is to be stopped first; db's own way back is longer than web's wait."""
    steps = [
        stop(1, key="web"),
        stop(2, [1], key="db"),
        start(3, [2, 5], key="web"),
        start(4, key="fails"),
        start(5, [2], key="unrelated-but-needed"),
        start(6, [2], key="db"),
    ]
    schedule = Schedule(plan_of(*steps), WIDE)
    assert taken(schedule) == [1, 4]
    schedule.fail(4)
    schedule.done(1)
    assert taken(schedule) == [2]
    schedule.done(2)
    assert taken(schedule) == [5, 6]


def test_what_is_stopped_for_good_brings_nothing_back():
    schedule = Schedule(plan_of(stop(1, key="old", change=REMOVE), start(2, [1], key="old"), start(3)), WIDE)
    assert taken(schedule) == [1, 3]
    schedule.fail(3)
    schedule.done(1)
    assert taken(schedule) == []


def test_a_cancel_begins_nothing_even_for_what_was_stopped():
    schedule = Schedule(plan_of(stop(1, key="web"), start(2, [1], key="web")), WIDE)
    assert taken(schedule) == [1]
    schedule.cancel()
    schedule.done(1)
    assert taken(schedule) == []
    assert schedule.undoing() == ()


def test_undo_takes_back_a_failed_create_and_what_only_it_waited_for_but_keeps_a_failed_start():
    undo = {key: RemoveContainer("s", key) for key in ("a", "b", "c")}
    steps = [
        start(1, key="a", undo=undo["a"]),
        start(2, [1], key="b", undo=undo["b"]),
        start(3, key="c", undo=undo["c"]),
        start(4, [3], key="c-runs"),
    ]
    schedule = Schedule(plan_of(*steps), WIDE)
    taken(schedule)
    schedule.done(1)
    schedule.done(3)
    assert taken(schedule) == [2, 4]
    schedule.fail(4)
    schedule.fail(2)
    assert [action for _, action in schedule.undoing()] == [undo["b"], undo["a"]]
