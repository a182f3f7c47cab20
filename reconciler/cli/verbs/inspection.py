"""`reconciler inspect`: all about objects as JSON in `docker inspect`'s form, secrets masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.objects import add_show_secrets, show

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell

_KINDS = ("container", "image", "volume")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--type", choices=_KINDS, default="", help="look only for this kind of object")
    add_show_secrets(parser)
    parser.add_argument("names", metavar="NAME", nargs="+", help="a container, image or volume")


def run(options: Any, shell: Shell) -> int:
    return show(options.names, options.type, shell, secrets=options.show_secrets)
