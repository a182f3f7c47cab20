"""The executor for simulated runtimes: one thread, a seeded order of completions, a virtual clock.

A run is a function of plan, runtime and seed: what happens in parallel is taken apart into one order, another one for
each seed. For tests of specs and of this project; a real runtime would run its steps one after the other.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, ParamSpec

from reconciler.executor.report import Reporter, Result
from reconciler.executor.schedule import TRANSFER, WAIT, WORK, Schedule
from reconciler.executor.threads import never
from reconciler.model.action import AwaitContainer
from reconciler.runtimes.base import Cancelled, Context

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from reconciler.model.action import Action
    from reconciler.model.plan import Plan, Step
    from reconciler.runtimes.base import Outcome, Runtime


_Arguments = ParamSpec("_Arguments")


class VirtualClock:
    """A clock that stands still until it is moved; seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def stepwise(
    plan: Plan,
    runtime: Runtime,
    reporter: Reporter | None = None,
    cancel: Callable[[], bool] = never,
    *,
    seed: int = 0,
    width: int = 8,
    clock: VirtualClock | None = None,
    deadline: float | None = None,
) -> Generator[Step, None, Result]:
    """As `execute`, and lets go after each step that has ended: so that several runs take turns on one machine."""
    run = _Run(plan, runtime, reporter or Reporter(), cancel, clock or VirtualClock(), deadline)
    return run.steps(seed, width)


def _at_once(run: Callable[_Arguments, Generator[Step, None, Result]]) -> Callable[_Arguments, Result]:
    def execute(*arguments: _Arguments.args, **more: _Arguments.kwargs) -> Result:
        """As `threads.execute`. A step's effect happens when it completes; which of those begun is next, the seed says."""
        steps = run(*arguments, **more)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result

    return execute


execute = _at_once(stepwise)


class _Run:
    """One execution: what is needed to complete a step, and what has come out so far."""

    def __init__(
        self,
        plan: Plan,
        runtime: Runtime,
        reporter: Reporter,
        cancel: Callable[[], bool],
        clock: VirtualClock,
        deadline: float | None,
    ) -> None:
        self._plan = plan
        self._runtime = runtime
        self._reporter = reporter
        self._cancel = cancel
        self._clock = clock
        self._deadline = deadline
        self._result = Result(plan)

    def steps(self, seed: int, width: int) -> Generator[Step, None, Result]:
        chance = Random(seed)  # noqa: S311 - a schedule, no secret
        schedule = Schedule(self._plan, {WORK: width, WAIT: width, TRANSFER: width})
        running: list[tuple[Step, float]] = []
        while True:
            if self._cancel():
                schedule.cancel()
            while step := schedule.take():
                self._reporter.started(step)
                running.append((step, self._clock()))
            if not running:
                break
            step, begun = running.pop(chance.randrange(len(running)))
            self._clock.advance(chance.uniform(0.001, 1.0))
            self._complete(schedule, step, self._clock() - begun)
            yield step
        result = self._result
        result.skipped = schedule.skipped
        for step in result.skipped:
            self._reporter.skipped(step)
        result.cancelled = self._cancel()
        if not result.interrupted:
            self._undo(schedule)
        return result

    def _perform(self, step: Step, action: Action) -> Outcome:
        deadline = self._deadline if isinstance(action, AwaitContainer) else None
        context = Context(f"{self._plan.stack}/{step.number}", deadline, self._cancel)
        return self._runtime.perform(action, context)

    def _complete(self, schedule: Schedule, step: Step, seconds: float) -> None:
        try:
            outcome = self._perform(step, step.action)
        except Exception as error:
            schedule.fail(step.number)
            if isinstance(error, Cancelled):
                self._result.cut_short.append(step)
            else:
                self._result.failed.append((step, error))
            self._reporter.failed(step, error, seconds)
        else:
            schedule.done(step.number)
            self._result.done.append(step)
            self._result.outcomes[step.number] = outcome
            self._reporter.finished(step, outcome, seconds)

    def _undo(self, schedule: Schedule) -> None:
        for step, action in schedule.undoing():
            try:
                self._perform(step, action)
            except Exception as error:
                self._result.undo_failed.append((step, error))
                self._reporter.undone(step, error)
            else:
                self._result.undone.append(step)
                self._reporter.undone(step, None)
