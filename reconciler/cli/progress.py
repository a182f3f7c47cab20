"""What a person sees of a pass: the plan, then a line for each step that ended, and on a terminal what runs meanwhile.

A pass that takes a quarter of a second shows lines only; rich is loaded when one takes longer, and only on a terminal.
"""

from __future__ import annotations

import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING

from reconciler.cli.interrupts import Interrupts
from reconciler.cli.shell import DIM, GREEN, RED, YELLOW, colourful, paint
from reconciler.kits.text import printable
from reconciler.loop.converge import PassReporter
from reconciler.runtimes.base import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from reconciler.cli.shell import Shell
    from reconciler.model.observed import Observed
    from reconciler.model.plan import Plan, Step
    from reconciler.runtimes.base import Outcome

    Approve = Callable[[Plan, Observed], None]

PATIENCE = 0.25
"""Seconds before spinners appear: loading rich takes as long as a small stack."""

_DONE = {
    "pull": "pulled",
    "create": "created",
    "repair": "repaired",
    "prepare": "prepared",
    "start": "started",
    "update": "updated",
    "rename": "renamed",
    "stop": "stopped",
    "remove": "removed",
}
_DOING = {
    "pull": "pulling",
    "create": "creating",
    "repair": "repairing",
    "prepare": "preparing",
    "start": "starting",
    "wait": "waiting for",
    "update": "updating",
    "rename": "renaming",
    "stop": "stopping",
    "remove": "removing",
}
_SIGN_COLOURS = {"+ ": GREEN, "- ": RED, "~ ": YELLOW}


def coloured_plan(text: str) -> str:
    """A rendered plan with its action lines coloured by their sign, on a terminal."""
    if not colourful(sys.stdout):
        return text
    return "".join(_coloured(line) for line in text.splitlines(keepends=True))


def _coloured(line: str) -> str:
    body = line.rstrip("\n")
    if body.startswith("DELETES "):
        return paint(body, RED, sys.stdout) + "\n"
    style = _SIGN_COLOURS.get(line[:2]) or (DIM if line.startswith("      ") else "")
    return (paint(body, style, sys.stdout) + "\n") if style else line


class Lines(PassReporter):
    """The plan and a plain line a step on standard output; nothing but waits with `quiet`.

    `idle` says of the stack why there is nothing to do. `approve` sees the plan before anything else happens and may
    raise to stop it. Without `announce` the plan is not shown, as nobody wonders about it.
    """

    def __init__(
        self,
        shell: Shell,
        *,
        idle: str,
        quiet: bool = False,
        approve: Approve | None = None,
        announce: bool = True,
    ) -> None:
        self._shell = shell
        self._idle = idle
        self._announce = announce
        self._quiet = quiet
        self._approve = approve
        self.interrupts = Interrupts()

    def waiting(self, text: str) -> None:
        self._shell.note(printable(text))

    def planned(self, plan: Plan, observed: Observed) -> None:
        self.show_plan(plan)
        if self._approve:
            self._approve(plan, observed)
        if not plan.empty:
            self.interrupts.catch()

    def planned_again(self, plan: Plan) -> None:
        if self._quiet:
            return
        if plan.empty:
            self.show("with what was pulled nothing else is to do")
            return
        from reconciler.planner.text import render  # noqa: PLC0415 - loaded by now

        self.show("with what was pulled the rest has changed:\n" + coloured_plan(render(plan)))

    def show_plan(self, plan: Plan) -> None:
        """The plan, or that there is nothing to do."""
        if self._quiet:
            return
        if plan.empty:
            self.show(f"nothing to do: stack {printable(plan.stack)} {self._idle}")
            for note in plan.notes:
                self.show(f"note: {printable(note)}")
            return
        if not self._announce:
            return
        from reconciler.planner.text import render  # noqa: PLC0415 - not for an empty plan

        self.show(coloured_plan(render(plan)))

    def finished(self, step: Step, outcome: Outcome, seconds: float) -> None:
        if self._quiet:
            return
        if step.action.verb == "wait":
            state = paint(outcome.details.get("state", "ready"), GREEN, sys.stdout)
            self.show(f"{name_of(step)} is {state} ({seconds:.2f}s)")
            return
        word = _DONE[step.action.verb] if outcome.changed else "already " + _DONE[step.action.verb]
        self.show(f"{paint(word, GREEN, sys.stdout)} {name_of(step)} ({seconds:.2f}s)")

    def failed(self, step: Step, error: BaseException, seconds: float) -> None:
        """The step's name alone: the error is told in full at the end."""
        if self._quiet:
            return
        if isinstance(error, Cancelled):
            what = f"{paint('interrupted', YELLOW, sys.stdout)} while {_DOING[step.action.verb]}"
        else:
            verb = "wait for" if step.action.verb == "wait" else step.action.verb
            what = f"{paint('failed', RED, sys.stdout)} to {verb}"
        self.show(f"{what} {name_of(step)} ({seconds:.2f}s)")

    def undone(self, step: Step, error: BaseException | None) -> None:
        if not self._quiet and error is None:
            self.show(f"took back {name_of(step)}")

    def show(self, text: str) -> None:
        """A line on standard output, now."""
        self._shell.line(text)
        sys.stdout.flush()

    def close(self) -> None:
        """No more is coming."""
        self.interrupts.release()


class Live(Lines):
    """The same, with a spinner, the time so far and the last word of each step that runs, when it takes long."""

    def __init__(self, shell: Shell, **manner: Any) -> None:
        super().__init__(shell, **manner)
        # Order of locks: _out, then rich's own, then _lock, which the display's thread takes to draw.
        self._out = threading.Lock()
        self._lock = threading.Lock()
        self._running: dict[int, tuple[Step, float]] = {}
        self._words: dict[int, str] = {}
        self._display: Any = None
        self._closed = False
        self._timer: threading.Timer | None = None

    def started(self, step: Step) -> None:
        with self._lock:
            self._running[step.number] = (step, monotonic())
        if self._timer is None:
            self._timer = threading.Timer(PATIENCE, self._appear)
            self._timer.daemon = True
            self._timer.start()

    def progress(self, step: Step, text: str) -> None:
        with self._lock:
            self._words[step.number] = printable(text)

    def finished(self, step: Step, outcome: Outcome, seconds: float) -> None:
        self._forget(step)
        super().finished(step, outcome, seconds)

    def failed(self, step: Step, error: BaseException, seconds: float) -> None:
        self._forget(step)
        super().failed(step, error, seconds)

    def skipped(self, step: Step) -> None:
        self._forget(step)  # a wait of which nothing would come any more

    def show(self, text: str) -> None:
        with self._out:
            if self._display is None:
                super().show(text)
                return
            from rich.text import Text  # noqa: PLC0415 - loaded by now

            self._display.console.print(Text.from_ansi(text))

    def close(self) -> None:
        super().close()
        if self._timer:
            self._timer.cancel()
        with self._out:
            self._closed = True
            if self._display:
                self._display.stop()
                self._display = None

    def _forget(self, step: Step) -> None:
        with self._lock:
            self._running.pop(step.number, None)
            self._words.pop(step.number, None)

    def _appear(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only for a pass that takes long, on a terminal
        from rich.live import Live as Display  # noqa: PLC0415

        display = Display(
            get_renderable=self._picture,
            console=Console(highlight=False, markup=False, emoji=False),
            transient=True,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with self._out:
            if not self._closed:
                self._display = display
                display.start()

    def _picture(self) -> Any:
        from rich.spinner import Spinner  # noqa: PLC0415 - loaded by now
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        now = monotonic()
        with self._lock:
            running = list(self._running.values())
            words = dict(self._words)
        grid = Table.grid(padding=(0, 1))
        for step, since in running:
            spinner = Spinner("dots")
            spinner.start_time = 0.0
            frame = spinner.render(now)
            text = Text(f"{_DOING[step.action.verb]} {name_of(step)} {words.get(step.number, '')}")
            grid.add_row(frame, text, Text(f"{now - since:.0f}s", style="dim"))
        return grid


def name_of(step: Step) -> str:
    """What a step acts on: a container by its key alone, other things with their kind."""
    return printable(step.action.subject.removeprefix("container "))


def reporter_for(shell: Shell, *, idle: str, quiet: bool, approve: Approve | None, announce: bool) -> Lines:
    """Spinners on a terminal that can show them, plain lines elsewhere (and with NO_COLOR)."""
    kind = Live if colourful(sys.stdout) and not quiet else Lines
    return kind(shell, idle=idle, quiet=quiet, approve=approve, announce=announce)
