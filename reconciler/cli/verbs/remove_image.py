"""`reconciler rmi`: take names of images away, and with its last name the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.parser import add_names
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="take the last name of an image that containers have, and several names by id; missing ones are no error",
    )
    add_names(parser, "IMAGE", "NAME[:TAG], NAME@DIGEST, or (the beginning of) an id")


def run(options: Any, shell: Shell) -> int:
    missing: list[ReconcilerError] = []

    def remove(name: str) -> None:
        try:
            done = shell.console.remove_image(name, force=options.force)
        except ReconcilerError as error:
            if not (options.force and error.code == "not-found"):
                raise
            missing.append(error)
            return
        for what, gone in done.lines:
            shell.line(f"{what.capitalize()}: {printable(gone)}")

    code = shell.each(options.names, remove, echo=False)
    for error in missing:
        shell.report(error)
    return code
