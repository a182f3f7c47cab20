"""What verbs have around them: the two streams, colour, the runtime behind its ports, and the words for an error.

Imported at every start: it imports next to nothing itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from reconciler.kits.errors import EXIT_ERROR, ReconcilerError, UsageError, problems_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol, TextIO

    from reconciler.runtimes.base import Runtime
    from reconciler.runtimes.console import Console

    class Machine(Runtime, Console, Protocol):
        """Both ports in one, as tests have them."""


RUNTIMES = {"embedded": "reconciler.runtimes.embedded"}
"""By name, the package with `open_runtime()` and `open_console()`; imported when a verb needs one of them."""

RED, GREEN, YELLOW, CYAN, DIM, BOLD = "31", "32", "33", "36", "2", "1"


class Shell:
    """The surroundings of one call of a verb."""

    def __init__(
        self, verb: str, *, runtime_name: str = "", debug: bool = False, machine: Machine | None = None
    ) -> None:
        self.verb = verb
        self.runtime_name = runtime_name or os.environ.get("RECONCILER_RUNTIME") or "embedded"
        self.debug = debug
        self._runtime: Runtime | None = machine
        self._console: Console | None = machine

    @property
    def runtime(self) -> Runtime:
        """The executor's port, opened on first use. Raises UsageError for an unknown one, ReconcilerError without root."""
        if self._runtime is None:
            self._runtime = self._package().open_runtime()
        return self._runtime

    @property
    def console(self) -> Console:
        """The verbs' port; as `runtime`."""
        if self._console is None:
            self._console = self._package().open_console()
        return self._console

    def _package(self) -> Any:
        if self.runtime_name not in RUNTIMES:
            raise UsageError(f'no runtime is called "{self.runtime_name}"', hint="there are " + ", ".join(RUNTIMES))
        if self.runtime_name == "embedded" and os.geteuid() != 0:
            raise ReconcilerError(
                f"reconciler {self.verb} needs root: containers are made of mounts, namespaces and firewall rules",
                code="not-root",
                hint=f"run it as root, or with sudo reconciler {self.verb} ...",
            )
        from importlib import import_module  # noqa: PLC0415 - only verbs that need a runtime

        return import_module(RUNTIMES[self.runtime_name])

    def line(self, text: str = "") -> None:
        """A line on standard output."""
        self.text(text + "\n")

    def text(self, text: str) -> None:
        """Text on standard output. Raises BrokenPipeError, or ReconcilerError where it can't be written otherwise."""
        try:
            sys.stdout.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            from reconciler.cli.streams import unwritten  # noqa: PLC0415 - hardly ever

            raise unwritten(error) from error

    def note(self, text: str) -> None:
        """A line on standard error, behind all that standard output has got; nothing where that is lost."""
        with contextlib.suppress(OSError):  # it fails again when the program ends, and is told then
            sys.stdout.flush()
        try:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        except OSError:
            from reconciler.cli.streams import silence  # noqa: PLC0415 - hardly ever

            silence(sys.stderr)

    def json(self, value: Any) -> None:
        """A JSON document on standard output, in ASCII: what others named can't drive a terminal."""
        import json  # noqa: PLC0415 - only with --json

        self.line(json.dumps(value, indent=2))

    def report(self, error: ReconcilerError) -> None:
        """Say what went wrong, with control characters of whatever it quotes escaped."""
        from reconciler.kits.text import printable  # noqa: PLC0415 - only on an error's way out

        for problem in problems_of(error):
            self.note(paint("error:", RED, sys.stderr) + " " + printable(str(problem), keep="\n"))

    def each(
        self,
        names: Iterable[str],
        act: Callable[[str], None],
        *,
        echo: bool | Callable[[str], None] = True,
        before_errors: Callable[[], None] | None = None,
        again: str = "",
        at_once: bool = False,
    ) -> int:
        """Try `act` on every name: those that worked are printed as typed, the errors come at the end; the exit code.

        Where it failed with the code `again` it is tried again after the others, as long as that helps one of them.
        `echo` shows one that worked otherwise, or not at all. `at_once`: many at a time, what comes of it still in the order of the names.
        """
        errors: list[ReconcilerError] = []
        names = list(names)
        while names:
            late: list[tuple[str, ReconcilerError]] = []
            for name, attempt in zip(names, _attempts(names, act, at_once=at_once), strict=True):
                try:
                    attempt()
                except ReconcilerError as error:
                    late.append((name, error))
                    continue
                if echo:
                    (self.line if echo is True else echo)(name)
            helped = len(late) < len(names)
            names = [name for name, error in late if helped and error.code == again]
            errors += [error for name, error in late if name not in names]
        if before_errors:
            before_errors()
        for failed in errors:
            self.report(failed)
        return EXIT_ERROR if errors else 0


def _attempts(names: list[str], act: Callable[[str], None], *, at_once: bool) -> Iterable[Callable[[], None]]:
    if at_once and len(names) > 1:
        from reconciler.cli.crowd import attempts  # noqa: PLC0415 - threads are for several

        return attempts(names, act)
    return [partial(act, name) for name in names]


def on_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; one that was closed before we started (None) is not."""
    return stream is not None and stream.isatty()


def colourful(stream: TextIO) -> bool:
    """Whether to use colour: a terminal that has it, and nobody said no (no-color.org)."""
    return on_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, stream: TextIO) -> str:
    """`text` in an SGR style where `stream` shows it."""
    return f"\x1b[{style}m{text}\x1b[0m" if colourful(stream) else text
