"""One pass for a stack: resolve, look, plan, carry out, see that what was started stays up.

Not for deciding when to make a pass. For the command line and the loop; knows neither terminals nor engines.
"""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import TYPE_CHECKING

from reconciler.executor.report import Reporter, Result
from reconciler.kits.errors import Problems, ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.loop.resolve import resolve
from reconciler.model.observed import Scope
from reconciler.planner.options import Options
from reconciler.planner.planning import plan, plan_by_hand, plan_down
from reconciler.planner.scope import scope_of
from reconciler.sources.files import STANDARD_INPUT
from reconciler.state import places
from reconciler.state.locks import stack_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.model.desired import Stack
    from reconciler.model.observed import Observed
    from reconciler.model.plan import Plan
    from reconciler.runtimes.base import Runtime

SETTLE_SECONDS = 5.0
"""The most that a pass waits to see its containers at work; a server needs milliseconds, and a runtime may wait less."""


def _never() -> bool:
    return False


class PassReporter(Reporter):
    """Hears what happens in a pass; besides the steps, these. Every method is a no-op to be overridden."""

    def waiting(self, text: str) -> None:
        """Another run holds the stack: one line for a person."""

    def planned(self, plan: Plan, observed: Observed) -> None:
        """The plan is made and will be carried out when this returns; what it raises ends the pass."""

    def planned_again(self, plan: Plan) -> None:
        """What was pulled has changed what is left to do: this is it now. As `planned`."""


class Pass:
    """What one pass came to: the plan, how its steps ended, and (key, error) of containers that ended at once."""

    def __init__(self, plan: Plan, result: Result, ended: tuple[tuple[str, ReconcilerError], ...] = ()) -> None:
        self.plan = plan
        self.result = result
        self.ended = ended

    def error(self) -> ReconcilerError | None:
        """All that went wrong, as one error; None if the stack is as it should be."""
        problems = [error for error in (self.result.error(), *(error for _, error in self.ended)) if error]
        return Problems(problems) if len(problems) > 1 else problems[0] if problems else None


class Manner(Frozen):
    """How to go about a pass.

    `command` is what others read while they wait for us; without `wait` a held stack is a LockedError; `width` is how
    many steps run at once (None: the executor's default); `cancel()` turning true ends the pass at a safe point. After
    `patience` seconds (None: no limit) containers that are waited for and not healthy, or not done, make it fail.
    """

    command: str
    options: Options = Options()
    wait: bool = True
    width: int | None = None
    cancel: Callable[[], bool] = _never
    patience: float | None = None


def preview(path: str, runtime: Runtime, options: Options) -> Plan:
    """The plan that `converge` would carry out now. Changes nothing, takes no lock."""
    places.check_state()
    stack = resolve(path, remember=False)
    return plan(stack, runtime.observe(scope_of(stack, options)), options, runtime.capabilities)


def converge(path: str, runtime: Runtime, manner: Manner, reporter: PassReporter) -> Pass:
    """Make the stack of the spec at `path` be what it says.

    Raises ReconcilerError where nothing was begun: a bad spec, a plan that can't be, a stack that is locked. What
    goes wrong while the plan is carried out is in the pass that is returned.
    """
    places.ensure_roots()
    stack = resolve(path)
    while True:
        with contextlib.ExitStack() as locks:
            waited = [
                locks.enter_context(stack_lock(name, manner.command, wait=manner.wait, on_wait=reporter.waiting))
                for name in _names_of(stack)
            ]
            fresh = resolve(path) if any(waited) and path != STANDARD_INPUT else stack
            if _names_of(fresh) == _names_of(stack):
                observed = runtime.observe(scope_of(fresh, manner.options))
                made = plan(fresh, observed, manner.options, runtime.capabilities)
                return _carry_out(made, observed, runtime, manner, reporter, fresh)
        stack = fresh  # while we waited the spec got another name: that one's lock is needed


def _names_of(stack: Stack) -> list[str]:
    """All that the stack is or was called, in the order in which locks are taken."""
    return sorted({stack.name, *stack.former_names()})


def take_down(target: str, runtime: Runtime, manner: Manner, reporter: PassReporter, *, is_spec: bool) -> Pass:
    """Take all containers of a stack away; `target` is its spec's path, or its name.

    Raises as `converge`, and with code "not-found" for a name that nothing bears.
    """
    places.ensure_roots()
    stack = resolve(target) if is_spec else None
    name = stack.name if stack else target
    if not stack:
        observed = runtime.observe(Scope(stack=name))
        if not observed.of_stack(name) and not any(volume.stack == name for volume in observed.volumes):
            raise ReconcilerError(
                f'there is no stack "{name}"', code="not-found", hint="name one as ps shows it, or a spec file"
            )
    with stack_lock(name, manner.command, wait=manner.wait, on_wait=reporter.waiting):
        observed = runtime.observe(Scope(stack=name))
        made = plan_down(
            name,
            observed,
            manner.options,
            source=stack.source if stack else "",
            origin=stack.origin if stack else "",
            spec=stack,
        )
        return _carry_out(made, observed, runtime, manner, reporter)


def by_hand(
    stack: str,
    change: str,
    keys: Sequence[str],
    runtime: Runtime,
    manner: Manner,
    reporter: PassReporter,
    *,
    timeout: float | None = None,
) -> Pass:
    """Stop, start or restart (`change`, a class of `model.plan`) a stack's containers, or those of `keys`, as they are.

    Raises as `take_down`.
    """
    places.ensure_roots()
    with stack_lock(stack, manner.command, wait=manner.wait, on_wait=reporter.waiting):
        observed = runtime.observe(Scope(stack=stack))
        if not observed.of_stack(stack):
            raise ReconcilerError(
                f'there is no stack "{stack}"', code="not-found", hint="name one as `reconciler ps -a --json` shows it"
            )
        prepare = runtime.capabilities.prepare
        made = plan_by_hand(stack, observed, change, keys, timeout=timeout, prepare=prepare)
        return _carry_out(made, observed, runtime, manner, reporter)


def _carry_out(
    made: Plan,
    observed: Observed,
    runtime: Runtime,
    manner: Manner,
    reporter: PassReporter,
    stack: Stack | None = None,
) -> Pass:
    reporter.planned(made, observed)
    if made.empty:
        return Pass(made, Result(made))
    from reconciler.executor.threads import execute  # noqa: PLC0415 - threads are not needed where nothing is to do

    def perform(steps: Plan) -> Result:
        deadline = None if manner.patience is None else monotonic() + manner.patience
        return execute(steps, runtime, reporter, manner.cancel, width=manner.width, deadline=deadline)

    if stack and made.steps[0].action.verb == "pull":  # pulls come first
        from reconciler.loop.pulling import pull_first  # noqa: PLC0415 - only with pulls

        made, result = pull_first(made, stack, runtime, manner.options, perform, reporter)
    else:
        result = perform(made)
    # What was taken back after a failure may have been all that there was.
    if result.failed or result.interrupted or any(step.action.verb == "remove" for step in result.done):
        runtime.tidy()
    if result.failed and stack:
        from reconciler.loop.blame import locate  # noqa: PLC0415 - after a failure only

        locate(result.failed, stack)
    _add_logs(made, result, runtime)
    return Pass(made, result, tuple(_ended(made, result, runtime)))


def _add_logs(made: Plan, result: Result, runtime: Runtime) -> None:
    """Let the errors of containers that were waited for in vain end with the last lines of their logs."""
    from reconciler.model.action import AwaitContainer  # noqa: PLC0415 - loaded by now

    for step, error in result.failed:
        if isinstance(step.action, AwaitContainer) and isinstance(error, ReconcilerError) and error.code == "condition":
            log = _log_of(runtime, made.stack, step.action.key)
            error.message += log.replace("; ", "\n  ", 1) if "\n" in error.message else log


def _log_of(runtime: Runtime, stack: str, key: str) -> str:
    lines = runtime.culprit(stack, key).splitlines()
    return "; its log ends with" + "".join(f"\n    | {line}" for line in lines) if lines else "; it wrote nothing"


def _how(code: int | None, text: str) -> str:
    """As the runtime's `settled` tells of an end."""
    if code is None:
        return text
    return f"ended at once with exit code {code}{f': {text}' if text else ''}"


def _ended(made: Plan, result: Result, runtime: Runtime) -> Iterator[tuple[str, ReconcilerError]]:
    """The containers that this pass started and that have failed since, each with the end of its log."""
    from reconciler.model.action import AwaitContainer, StartContainer  # noqa: PLC0415 - loaded by now

    told = {step.action.key for step, _ in result.failed if isinstance(step.action, AwaitContainer)}
    started = [step.action.key for step in result.done if isinstance(step.action, StartContainer)]
    started = [key for key in started if key not in told]
    if not started or result.interrupted:
        return
    ended = runtime.settled(made.stack, started, monotonic() + SETTLE_SECONDS)
    for key, (code, text) in sorted(ended.items()):
        if code or text:
            yield (
                key,
                ReconcilerError(
                    f"container {key} {_how(code, text)}{_log_of(runtime, made.stack, key)}",
                    code="ended-at-once",
                ),
            )
