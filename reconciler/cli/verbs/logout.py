"""`reconciler logout`: forget the user name and the password for a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.verbs.login import registry_of
from reconciler.kits.references import DEFAULT_REGISTRY
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "server", metavar="SERVER", nargs="?", default="", help="a registry; Docker Hub if none is named"
    )


def run(options: Any, shell: Shell) -> int:
    registry = registry_of(options.server)
    shown = "https://index.docker.io/v1/" if registry == DEFAULT_REGISTRY else printable(registry)
    if shell.console.logout(registry):
        shell.line(f"Removing login credentials for {shown}")
    else:
        shell.line(f"Not logged in to {shown}")
    return 0
