"""`reconciler rmi`: take names of images away, and with its last name the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.parser import add_names
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    add_names(parser, "IMAGE", "NAME[:TAG], or (the beginning of) an id")


def run(options: Any, shell: Shell) -> int:
    def remove(name: str) -> None:
        for line in shell.console.remove_image(name):
            shell.line(printable(line))

    return shell.each(options.names, remove, echo=False)
