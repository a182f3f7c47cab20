"""The executor for real runtimes: steps run in a pool of threads, their bookkeeping in the caller's one.

Plain threads and queues: concurrent.futures alone costs 12 ms to import. For `loop` and `cli`.
"""

from __future__ import annotations

import os
import threading
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from reconciler.executor.report import Reporter, Result
from reconciler.executor.schedule import TRANSFER, WAIT, WORK, Schedule
from reconciler.model.action import AwaitContainer
from reconciler.runtimes.base import Cancelled, Context

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.action import Action
    from reconciler.model.plan import Plan, Step
    from reconciler.runtimes.base import Outcome, Runtime

    Ending = tuple[Step, Outcome | BaseException, float]

_STOPS = 128
"""Stops mostly wait for a process to end: as many at once as there may be, or a stack's grace periods add up."""
_TRANSFERS = 3
"""Downloads at once, as Docker's."""

_LOOK_UP = 0.2
"""Seconds after which the waiting thread lets Python run the handlers of signals that it slept through."""


def default_width() -> int:
    """How many creates and starts run at once unless a caller says otherwise."""
    return min(8, 4 * (os.cpu_count() or 1))


def never() -> bool:
    """A `cancel` that nobody uses."""
    return False


def execute(
    plan: Plan,
    runtime: Runtime,
    reporter: Reporter | None = None,
    cancel: Callable[[], bool] = never,
    *,
    width: int | None = None,
    deadline: float | None = None,
) -> Result:
    """Carry a plan out and say how it went; raises nothing for a step that fails (see `Result.error`).

    `deadline` (monotonic seconds, None = no limit) is for the steps that wait for containers to be healthy or done.

    Once `cancel()` is true, running steps go on to their next safe point and no new one begins. Whoever wants that of
    Ctrl-C sets it from a signal handler: a KeyboardInterrupt would leave the steps that run to themselves. What a step raises that is no Exception (a SystemExit, a simulated crash) is raised here, once the
    others that run have ended.
    """
    return _Run(plan, runtime, reporter or Reporter(), cancel, width or default_width(), deadline).result()


class _Run:
    """One execution: the schedule, the pool, and what has come out so far."""

    def __init__(
        self,
        plan: Plan,
        runtime: Runtime,
        reporter: Reporter,
        cancel: Callable[[], bool],
        width: int,
        deadline: float | None,
    ) -> None:
        self._plan = plan
        self._runtime = runtime
        self._reporter = reporter
        self._cancel = cancel
        self._deadline = deadline
        self._given_up: list[Step] = []
        self._schedule = Schedule(plan, {WORK: width, WAIT: _STOPS, TRANSFER: _TRANSFERS})
        self._tasks: SimpleQueue[Step | None] = SimpleQueue()
        self._endings: SimpleQueue[Ending] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._result = Result(plan)
        self._fatal: BaseException | None = None

    def result(self) -> Result:
        try:
            while self._begin():
                self._end(*self._next_ending())
        finally:
            for _ in self._threads:
                self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        if self._fatal:
            raise self._fatal
        self._result.skipped = tuple(sorted((*self._schedule.skipped, *self._given_up), key=lambda step: step.number))
        for step in self._result.skipped:
            self._reporter.skipped(step)
        self._result.cancelled = self._cancel()
        if not self._result.interrupted:
            self._undo()
        return self._result

    def _next_ending(self) -> Ending:
        """Wait for a step to end. A signal that comes just before the wait does not interrupt it: hence the timeout."""
        while True:
            try:
                return self._endings.get(timeout=_LOOK_UP)
            except Empty:
                continue

    def _begin(self) -> bool:
        """Begin all that may begin; whether anything runs."""
        if self._fatal or self._cancel():
            self._schedule.cancel()
        while step := self._schedule.take():
            self._reporter.started(step)
            if len(self._threads) < self._schedule.running:
                thread = threading.Thread(target=self._work, name=f"executor-{len(self._threads) + 1}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._tasks.put(step)
        return self._schedule.running > 0

    def _end(self, step: Step, ending: Outcome | BaseException, seconds: float) -> None:
        if isinstance(ending, BaseException):
            self._schedule.fail(step.number)
            if not isinstance(ending, Exception):
                self._fatal = self._fatal or ending
            if isinstance(ending, Cancelled) and not self._cancel():
                self._given_up.append(step)  # told with those that are skipped
                return
            if isinstance(ending, Cancelled):
                self._result.cut_short.append(step)
            else:
                self._result.failed.append((step, ending))
            self._reporter.failed(step, ending, seconds)
        else:
            self._schedule.done(step.number)
            self._result.done.append(step)
            self._result.outcomes[step.number] = ending
            self._reporter.finished(step, ending, seconds)

    def _work(self) -> None:
        while step := self._tasks.get():
            begun = monotonic()
            ending: Outcome | BaseException
            try:
                ending = self._perform(step, step.action)
            except BaseException as error:  # it is the caller's thread that decides what to do about it
                ending = error
            self._endings.put((step, ending, monotonic() - begun))

    def _perform(self, step: Step, action: Action) -> Outcome:
        waits = isinstance(action, AwaitContainer)
        context = Context(
            action_id=f"{self._plan.stack}/{step.number}",
            deadline=self._deadline if waits else None,
            cancelled=(lambda: self._cancel() or self._schedule.pointless(step.number)) if waits else self._cancel,
            progress=lambda text: self._reporter.progress(step, text),
        )
        return self._runtime.perform(action, context)

    def _undo(self) -> None:
        for step, action in self._schedule.undoing():
            try:
                self._perform(step, action)
            except Exception as error:
                self._result.undo_failed.append((step, error))
                self._reporter.undone(step, error)
            else:
                self._result.undone.append(step)
                self._reporter.undone(step, None)
