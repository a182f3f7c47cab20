"""What a person sees of pulls: a bar for each layer on a terminal that has them, lines as Docker's elsewhere, or nothing.

For the verb `pull`. It is told of layers by several threads.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from reconciler.cli.shell import colourful
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.references import DEFAULT_REGISTRY, DEFAULT_TAG, parse
from reconciler.kits.text import printable
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from reconciler.cli.shell import Shell
    from reconciler.runtimes.console import LayerProgress, PulledImage

_FLEETING = ("Downloading", "Extracting", "Waiting")
"""Phases that no line is worth."""
_MOVING = ("Downloading",)


class Display:
    """Nothing but whole names of what came, for `--quiet`; and what the others have in common."""

    def __init__(self, shell: Shell, *, silent: bool = False) -> None:
        self._shell = shell
        self._silent = silent
        self._out = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def begin(self, name: str) -> None:
        """A pull begins."""

    def heard(self, name: str, progress: LayerProgress) -> None:
        """A layer of it is further."""

    def ended(self, name: str, result: PulledImage | ReconcilerError) -> None:
        """A pull is over. Errors are not told here."""
        if not isinstance(result, ReconcilerError):
            for line in self._summary(name, result):
                self._show(line)

    def _summary(self, name: str, result: PulledImage) -> list[str]:  # noqa: ARG002 - others say more
        return [] if self._silent else [printable(result.reference)]

    def _show(self, line: str) -> None:
        with self._out:
            self._shell.line(line)
            sys.stdout.flush()


class Lines(Display):
    """Docker's lines: what is pulled from where, a line for each phase of a layer, digest and state."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        self._phases: dict[tuple[str, str], str] = {}

    def begin(self, name: str) -> None:
        parsed = parse(name)
        if not parsed.digest and parsed.tag == DEFAULT_TAG and not name.endswith(f":{DEFAULT_TAG}"):
            self._show(f"Using default tag: {DEFAULT_TAG}")
        place = parsed.repository if parsed.registry == DEFAULT_REGISTRY else parsed.name
        self._show(f"{printable(parsed.digest or parsed.tag)}: Pulling from {printable(place)}")

    def heard(self, name: str, progress: LayerProgress) -> None:
        key = (name, progress.layer)
        if progress.phase not in _FLEETING and self._phases.get(key) != progress.phase:
            self._phases[key] = progress.phase
            self._show(f"{progress.layer}: {printable(progress.phase)}")

    def _summary(self, name: str, result: PulledImage) -> list[str]:
        state = "Downloaded newer image for" if result.changed else "Image is up to date for"
        return [
            f"Digest: {printable(result.digest)}",
            f"Status: {state} {printable(parse(name).familiar)}",
            printable(result.reference),
        ]


class Bars(Lines):
    """The same with a bar for each layer, drawn anew in its place."""

    def __init__(self, shell: Shell) -> None:
        super().__init__(shell)
        from rich.console import Console  # noqa: PLC0415 - only on a terminal
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._tasks: dict[tuple[str, str], Any] = {}
        self._last: list[str] = []
        self._progress = Progress(
            TextColumn("{task.description}:", markup=False),
            TextColumn("{task.fields[phase]}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[sizes]}", markup=False),
            console=Console(highlight=False, markup=False, emoji=False),
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        for line in self._last:
            super()._show(line)

    def ended(self, name: str, result: PulledImage | ReconcilerError) -> None:
        """Told below the bars, when no more of them change."""
        if not isinstance(result, ReconcilerError):
            self._last += self._summary(name, result)

    def heard(self, name: str, progress: LayerProgress) -> None:
        key = (name, progress.layer)
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(progress.layer, phase="", sizes="", total=max(progress.total, 1))
        moving = progress.phase in _MOVING
        done = progress.done if moving or progress.phase == "Waiting" else progress.total
        if "retrying" in progress.phase:
            self._progress.update(self._tasks[key], phase=printable(progress.phase))
            return
        sizes = f"{human_size(progress.done)}/{human_size(progress.total)}" if moving else ""
        self._progress.update(self._tasks[key], completed=done, phase=f"{progress.phase:<17}", sizes=sizes)

    def _show(self, line: str) -> None:
        self._progress.console.print(line)


def display_for(shell: Shell, *, quiet: bool, silent: bool) -> Display:
    """Bars on a terminal that can show them, lines elsewhere (and with NO_COLOR), names only with `quiet`."""
    if quiet or silent:
        return Display(shell, silent=silent)
    return Bars(shell) if colourful(sys.stdout) else Lines(shell)
