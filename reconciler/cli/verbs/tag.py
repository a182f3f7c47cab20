"""`reconciler tag`: give an image another name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("source", metavar="IMAGE", help="NAME[:TAG], NAME@DIGEST, or (the beginning of) an id")
    parser.add_argument("reference", metavar="NAME[:TAG]", help="what to call it, too; another image loses that name")


def run(options: Any, shell: Shell) -> int:
    shell.console.tag(options.source, options.reference)
    return 0
