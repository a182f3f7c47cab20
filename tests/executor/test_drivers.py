"""The two drivers: threads for real runtimes, one thread and a virtual clock for simulated ones."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import graphs, plan_of, start, stop, wait

from reconciler.executor import threads, virtual
from reconciler.executor.report import Reporter
from reconciler.kits.errors import Problems, ReconcilerError
from reconciler.kits.source import Position
from reconciler.model.action import RemoveContainer, StartContainer
from reconciler.model.plan import REPLACE
from reconciler.runtimes.base import Cancelled, Outcome

LONG = 20.0  # seconds that a broken driver hangs a test for; a right one never waits that long


class Machine:
    """A runtime of which only `perform` is asked: a function for each key, all else succeeds."""

    def __init__(self, **does):
        self.does = does
        self.performed = []
        self.contexts = []
        self._lock = threading.Lock()

    def perform(self, action, context):
        with self._lock:
            self.performed.append(action)
            self.contexts.append(context)
        answer = self.does.get(getattr(action, "key", ""))
        return (answer(context) if answer else None) or Outcome()


class Diary(Reporter):
    def __init__(self):
        self.lines = []

    def started(self, step):
        self.lines.append(f"started {step.number}")

    def progress(self, step, text):
        self.lines.append(f"progress {step.number} {text}")

    def finished(self, step, outcome, seconds):
        assert seconds >= 0
        self.lines.append(f"finished {step.number} {outcome.changed}")

    def failed(self, step, error, seconds):
        assert seconds >= 0
        self.lines.append(f"failed {step.number} {error}")

    def skipped(self, step):
        self.lines.append(f"skipped {step.number}")

    def undone(self, step, error):
        self.lines.append(f"undone {step.number} {error}")


def fails(_context):
    raise ReconcilerError("no luck", code="bad", hint="try again", position=Position("f", 1, 2))


@pytest.fixture(params=[threads, virtual], ids=["threads", "virtual"])
def execute(request):
    return request.param.execute


@settings(deadline=None, max_examples=40)
@given(graphs(), st.integers(1, 4), st.integers(0, 99))
def test_both_drivers_perform_each_step_once_and_in_order(plan, width, seed):
    for run in (
        lambda m: threads.execute(plan, m, width=width),
        lambda m: virtual.execute(plan, m, seed=seed, width=width),
    ):
        machine = Machine()
        result = run(machine)
        assert result.ok
        assert result.error() is None
        place = {action: number for number, action in enumerate(machine.performed)}
        assert len(place) == len(machine.performed) == len(plan.steps)
        steps = {step.number: step for step in plan.steps}
        assert all(place[steps[o].action] < place[step.action] for step in plan.steps for o in step.after)


def test_the_reporter_hears_all_and_the_result_says_what_failed(execute):
    undo = RemoveContainer("s", "a")
    plan = plan_of(start(1, key="a", undo=undo), start(2, [1], key="bad"), start(3, [2], key="never"))
    diary = Diary()
    machine = Machine(a=lambda context: context.progress("half way"), bad=fails)
    result = execute(plan, machine, diary)
    heard = [line for line in diary.lines if "progress" not in line]
    assert heard == ["started 1", "finished 1 True", "started 2", f"failed 2 {result.failed[0][1]}", "skipped 3"]
    error = result.error()
    assert error.message == "can't start container bad: no luck"
    assert (error.code, error.hint, error.position) == ("bad", "try again", Position("f", 1, 2))
    assert [step.number for step in result.done] == [1]
    assert result.outcomes == {1: Outcome()}
    assert not result.ok


def test_progress_reaches_the_reporter_with_its_step():
    diary = Diary()
    threads.execute(plan_of(start(1, key="a")), Machine(a=lambda context: context.progress("half way")), diary)
    assert diary.lines == ["started 1", "progress 1 half way", "finished 1 True"]


def test_undo_runs_last_first_and_its_own_failure_is_told_beside_the_first(execute):
    undo = [RemoveContainer("s", key) for key in ("a", "b")]
    steps = [
        start(1, key="a", undo=undo[0]),
        start(2, [1], key="b", undo=undo[1]),
        start(3, [1], key="bad", undo=undo[1]),
    ]
    diary = Diary()
    machine = Machine(bad=fails)
    result = execute(plan_of(*steps), machine, diary, width=1)
    assert [line for line in diary.lines if line.startswith("undone")][-1] == "undone 1 None"
    assert machine.performed[-1] == undo[0]

    machine = Machine(bad=fails)
    machine.does["a"] = lambda _context: fails(_context) if isinstance(machine.performed[-1], RemoveContainer) else None
    result = execute(plan_of(*steps), machine, diary, width=1)
    assert [step.number for step, _ in result.undo_failed] == [1]
    assert isinstance(result.error(), Problems)
    assert "can't remove container a: no luck" in str(result.error())


def test_a_foreign_exception_is_an_error_of_its_step_and_no_hang(execute):
    def breaks(_context):
        raise KeyError("oops")

    error = execute(plan_of(start(1, key="a"), start(2, [1])), Machine(a=breaks)).error()
    assert error.code == "internal"
    assert error.message == "can't start container a: this is a fault of reconciler itself: KeyError: 'oops'"


def test_a_cancel_lets_running_steps_end_and_begins_none(execute):
    asked = threading.Event()
    plan = plan_of(start(1, key="a"), start(2, [1], key="b", undo=RemoveContainer("s", "b")), start(3, [2]))
    result = execute(plan, Machine(a=lambda _context: asked.set()), cancel=asked.is_set)
    assert [step.number for step in result.done] == [1]
    assert [step.number for step in result.skipped] == [2, 3]
    assert result.interrupted
    assert result.error().message == "interrupted with 2 of 3 steps left"
    assert result.error().exit_code == 130


def test_a_step_that_gives_up_when_asked_to_is_no_failure_and_not_undone(execute):
    asked = threading.Event()

    def gives_up(context):
        asked.set()
        assert context.cancelled()
        raise Cancelled

    undo = RemoveContainer("s", "a")
    machine = Machine(a=gives_up)
    result = execute(plan_of(start(1, key="a", undo=undo)), machine, cancel=asked.is_set)
    assert [step.number for step in result.cut_short] == [1]
    assert result.interrupted
    assert not result.ok
    assert not result.failed
    assert undo not in machine.performed


def test_nothing_else_than_an_exception_is_swallowed(execute):
    def ends(_context):
        raise SystemExit(3)

    machine = Machine(a=ends)
    with pytest.raises(SystemExit):
        execute(plan_of(start(1, key="a"), start(2, [1], key="b")), machine)
    assert machine.performed == [StartContainer("s", "a")]


def test_independent_steps_run_at_the_same_time():
    meeting = threading.Barrier(3)
    names = ("a", "b", "c")
    plan = plan_of(*(start(number, key=key) for number, key in enumerate(names, 1)))
    machine = Machine(**dict.fromkeys(names, lambda _context: meeting.wait(LONG) and None))
    assert threads.execute(plan, machine, width=3).ok


def test_width_is_the_most_that_work_at_once_and_stops_have_a_lane_of_their_own():
    working, most, meeting = [], [], threading.Barrier(2)

    def works(_context):
        working.append(1)
        most.append(len(working))
        working.pop()

    def stops(_context):
        meeting.wait(LONG)

    plan = plan_of(*(start(number, key="w") for number in range(1, 20)), stop(20, key="a"), stop(21, key="b"))
    assert threads.execute(plan, Machine(w=works, a=stops, b=stops), width=1).ok
    assert set(most) == {1}


def test_no_thread_is_left_when_a_run_ends():
    before = threading.active_count()
    threads.execute(plan_of(*(start(number) for number in range(1, 30))), Machine(bad=fails))
    assert threading.active_count() == before


def test_a_seed_is_an_order_and_the_clock_moves():
    plan = plan_of(*(start(number) for number in range(1, 9)))

    def order(seed):
        machine, clock = Machine(), virtual.VirtualClock(100.0)
        virtual.execute(plan, machine, seed=seed, clock=clock)
        return tuple(action.key for action in machine.performed), clock()

    assert order(1) == order(1)
    assert len({order(seed)[0] for seed in range(5)}) == 5
    assert order(1)[1] > 100.0


def test_contexts_name_their_step():
    machine = Machine()
    threads.execute(plan_of(start(1), start(2, [1])), machine)
    assert [context.action_id for context in machine.contexts] == ["s/1", "s/2"]


def waiting(*, until):
    """A runtime that waits, as `AwaitContainer` asks it to, until it is cancelled or `until` is set."""

    def wait(context):
        while not until.wait(0.005):
            if context.cancelled():
                raise Cancelled

    return wait


def test_after_a_failure_nobody_waits_on_but_for_what_is_to_come_back():
    over = threading.Event()
    plan = plan_of(
        stop(1, key="old"),
        wait(2, (), "slow"),
        wait(3, (1,), "needed"),
        start(4, (3,), "old", change=REPLACE),
        start(5, (2,), "new"),
        start(6, (), "bad"),
    )

    def fail(_context):
        while not {"slow", "needed"} <= {getattr(action, "key", "") for action in machine.performed}:
            over.wait(0.005)
        threading.Timer(0.05, over.set).start()
        fails(None)

    machine = Machine(slow=waiting(until=threading.Event()), needed=waiting(until=over), bad=fail)
    diary = Diary()
    result = threads.execute(plan, machine, diary, deadline=7.0)
    assert [step.number for step, _ in result.failed] == [6]
    assert sorted(step.number for step in result.done) == [1, 3, 4]
    assert [step.number for step in result.skipped] == [2, 5]
    assert diary.lines[-2:] == ["skipped 2", "skipped 5"]
    assert not result.interrupted
    deadlines = {context.action_id: context.deadline for context in machine.contexts}
    assert deadlines == {"s/1": None, "s/2": 7.0, "s/3": 7.0, "s/4": None, "s/6": None}


def test_a_wait_that_is_cancelled_is_cut_short():
    asked = threading.Event()

    def wait_on(context):
        asked.set()
        waiting(until=threading.Event())(context)

    result = threads.execute(plan_of(wait(1, (), "slow")), Machine(slow=wait_on), cancel=asked.is_set)
    assert [step.number for step in result.cut_short] == [1]
    assert result.error().code == "interrupted"
