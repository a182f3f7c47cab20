"""`reconciler load`: bring in images that `docker save` or a build wrote."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.cli.shell import on_terminal
from reconciler.kits.errors import UsageError
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "paths", metavar="PATH", nargs="*", help='docker-archive or OCI layout, a file or a folder; "-": standard input'
    )
    parser.add_argument(
        "-i", "--input", action="append", default=[], metavar="PATH", help="the same, as docker load has it"
    )
    parser.add_argument(
        "--origin",
        metavar="TEXT",
        default="",
        help='where to note that they came from, e.g. "built here"; else the file',
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def run(options: Any, shell: Shell) -> int:
    paths = [*options.input, *options.paths] or ["-"]
    if "-" in paths and on_terminal(sys.stdin):
        raise UsageError("reconciler load: standard input is a terminal", hint="name a file, or pipe one in")

    def progress(text: str) -> None:
        if not options.quiet:
            shell.note(printable(text))

    def load(path: str) -> None:
        for name in shell.console.load(path, progress, options.origin):
            shell.line(f"Loaded image: {printable(name)}")

    return shell.each(paths, load, echo=False)
