"""`reconciler cp`: files between the host and a container, running or not."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from reconciler.cli.shell import on_terminal
from reconciler.kits.errors import ReconcilerError, UsageError

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell

STREAM = "-"


def add_arguments(parser: Parser) -> None:
    parser.usage = "reconciler cp [OPTIONS] CONTAINER:PATH PATH|-\n       reconciler cp [OPTIONS] PATH|- CONTAINER:PATH"
    parser.add_argument("-a", "--archive", action="store_true", help="keep owners, set-user-id bits and devices too")
    parser.add_argument("-L", "--follow-link", action="store_true", help="where the source is a link, copy its target")
    parser.add_argument("-q", "--quiet", action="store_true", help="do not say how much was copied")
    parser.add_argument("source", metavar="SOURCE", help="a path, CONTAINER:PATH, or - for a tar on standard input")
    parser.add_argument("target", metavar="TARGET", help="a path, CONTAINER:PATH, or - for a tar on standard output")


def run(options: Any, shell: Shell) -> int:
    source, target = _split(options.source), _split(options.target)
    if source[0] and target[0]:
        raise UsageError("copying between containers is not supported", hint="copy to the host, and from there")
    if not (source[0] or target[0]):
        raise UsageError("must specify at least one container source", hint="write one of the two as CONTAINER:PATH")
    from reconciler.runtimes.console import CopyOptions  # noqa: PLC0415 - loaded with the runtime in any case

    how = CopyOptions(archive=options.archive, follow=options.follow_link)
    if target[0]:
        if source[1] == STREAM and on_terminal(sys.stdin):
            raise ReconcilerError(
                "standard input is a terminal, and should be a tar archive", hint="tar c X | reconciler cp - ..."
            )
        size = shell.console.copy_in(_absolute(source[1]), *target, how)
    else:
        if target[1] == STREAM and on_terminal(sys.stdout):
            raise ReconcilerError("a tar archive is not for a terminal", hint="reconciler cp ... - | tar x")
        size = shell.console.copy_out(*source, _absolute(target[1]), how)
    if not options.quiet and target[1] != STREAM:
        from reconciler.kits.units import human_size  # noqa: PLC0415 - not for --help

        shell.note(f"Successfully copied {human_size(size)} to {options.target}")
    return 0


def _split(text: str) -> tuple[str, str]:
    """(container, path); the container is "" for a path of the host, which a leading / or . marks where it has a colon."""
    if text.startswith(("/", ".")) or ":" not in text:
        if not text:
            raise UsageError("an empty path names nothing", hint="write a path, or CONTAINER:PATH")
        return "", text
    container, _, path = text.partition(":")
    if not container:
        raise UsageError(
            f'"{text}" names no container before the colon', hint="write CONTAINER:PATH, or ./:... for a file"
        )
    return container, path or "/"


def _absolute(path: str) -> str:
    """From this process's folder, with what follows the last slash as it was typed: it says what is meant."""
    return path if path == STREAM or path.startswith("/") else os.path.join(os.getcwd(), path)
