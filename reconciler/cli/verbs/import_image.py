"""`reconciler import`: make an image of a plain root file system."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("path", metavar="TAR", help='a tar file, compressed or not; "-": standard input')
    parser.add_argument("reference", metavar="NAME[:TAG]", help="what to call the image")


def run(options: Any, shell: Shell) -> int:
    shell.line(shell.console.import_image(options.path, options.reference))
    return 0
