"""`reconciler stats`: what containers use of the machine, in Docker's table, again and again or once."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

from reconciler.cli import table
from reconciler.cli.parser import add_json
from reconciler.cli.shell import on_terminal
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.units import binary_size, human_size

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell
    from reconciler.runtimes.console import Console, Usage

INTERVAL = 1.0
"""Seconds between two looks."""

_HEADER = ("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS")
_UNKNOWN = "--"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also those that do not run")
    parser.add_argument("--no-stream", action="store_true", help="show it once and end")
    parser.add_argument("--no-trunc", action="store_true", help="cut nothing short")
    add_json(parser)
    parser.add_argument(
        "names", metavar="CONTAINER", nargs="*", help="names, STACK/KEY or ids; all that run if left out"
    )


def run(options: Any, shell: Shell) -> int:
    """Until Ctrl-C, or once; a rate needs two looks. With --json a line for each look, or one document."""
    watch = _Watch(shell.console, options.names, everything=options.all)
    rows = watch.look()
    show = _Screen(shell, options) if not options.json else None
    if show and not options.no_stream and on_terminal(sys.stdout):
        show.frame(rows)
    while True:
        time.sleep(INTERVAL)
        rows = watch.look()
        if show:
            show.frame(rows)
        elif options.no_stream:
            shell.json([row.document() for row in rows])
        else:
            shell.line(json.dumps([row.document() for row in rows]))
        if options.no_stream:
            return 0
        sys.stdout.flush()


class _Row:
    """A container at one look, with what it took of the processors since the look before."""

    def __init__(self, name: str, usage: Usage | None, before: Usage | None) -> None:
        self.name = name
        self.usage = usage
        self.cpu: float | None = None
        if usage and not usage.running:
            self.cpu = 0.0
        elif usage and before and before.running and usage.at > before.at:
            # A container that was started again meanwhile counts from the beginning.
            self.cpu = max(0.0, usage.processor - before.processor) / (usage.at - before.at) * 100

    @property
    def memory(self) -> float:
        """Per cent of its limit."""
        usage = self.usage
        return usage.memory / usage.memory_limit * 100 if usage and usage.memory_limit else 0.0

    def cells(self, *, whole: bool) -> tuple[str, ...]:
        usage = self.usage
        if usage is None:
            return (_UNKNOWN, self.name, _UNKNOWN, f"{_UNKNOWN} / {_UNKNOWN}", *[_UNKNOWN] * 4)
        return (
            table.short_id(usage.id, whole=whole),
            usage.name,
            _UNKNOWN if self.cpu is None else f"{self.cpu:.2f}%",
            f"{_size(usage.memory)} / {_size(usage.memory_limit)}",
            f"{self.memory:.2f}%",
            f"{human_size(usage.received)} / {human_size(usage.sent)}",
            f"{_counted(usage.read)} / {_counted(usage.written)}",
            str(usage.processes),
        )

    def document(self) -> dict[str, Any]:
        usage = self.usage
        if usage is None:
            return {"name": self.name, "running": False}
        return {
            "id": usage.id,
            "name": usage.name,
            "stack": usage.stack,
            "key": usage.key,
            "running": usage.running,
            "cpu_percent": None if self.cpu is None else round(self.cpu, 2),
            "memory": usage.memory,
            "memory_limit": usage.memory_limit,
            "memory_percent": round(self.memory, 2),
            "network_received": usage.received,
            "network_sent": usage.sent,
            "block_read": usage.read,
            "block_written": usage.written,
            "processes": usage.processes,
        }


class _Watch:
    """Looks at containers again and again: those that were named, or all that are there."""

    def __init__(self, console: Console, names: list[str], *, everything: bool) -> None:
        self._console = console
        self._names = names
        self._everything = everything
        self._before: dict[str, Usage] = {}
        self._looked = False

    def look(self) -> list[_Row]:
        """A row for each. A named container must be there at the first look; one that goes away stays, unknown."""
        if self._names:
            found = [(name, self._named(name)) for name in self._names]
        else:
            found = [(usage.name, usage) for usage in self._console.usage(stopped=self._everything)]
        rows = [_Row(name, usage, self._before.get(usage.id) if usage else None) for name, usage in found]
        self._before = {usage.id: usage for _, usage in found if usage}
        self._looked = True
        return rows

    def _named(self, name: str) -> Usage | None:
        try:
            return self._console.usage((name,), stopped=True)[0]
        except ReconcilerError as error:
            if self._looked and error.code == "not-found":
                return None
            raise


class _Screen:
    """Tables one after the other; on a terminal each over the one before, cut to what fits."""

    def __init__(self, shell: Shell, options: Any) -> None:
        self._shell = shell
        self._whole = options.no_trunc
        self._redraws = on_terminal(sys.stdout) and not options.no_stream
        self._drawn = False

    def frame(self, rows: list[_Row]) -> None:
        lines = table.table(_HEADER, (row.cells(whole=self._whole) for row in rows))
        if not self._redraws:
            self._shell.text("".join(line + "\n" for line in lines))
            return
        width, height = _terminal()
        if len(lines) > height - 1:
            lines = [*lines[: height - 2], f"... and {len(lines) - height + 2} more"]
        clear = "" if self._drawn else "\x1b[2J"
        self._shell.text(clear + "\x1b[H" + "".join(f"{line[:width]}\x1b[K\n" for line in lines) + "\x1b[J")
        self._drawn = True
        sys.stdout.flush()


def _size(count: int) -> str:
    """As Docker's table has it, without a space."""
    return binary_size(count).replace(" ", "")


def _counted(size: int | None) -> str:
    return _UNKNOWN if size is None else human_size(size)


def _terminal() -> tuple[int, int]:
    """Columns and lines of the terminal."""
    try:
        found = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return 80, 24
    return found.columns or 80, found.lines or 24
