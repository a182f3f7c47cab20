"""`reconciler save`: write images to an archive that `load`, docker, podman and skopeo read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.cli.parser import add_names
from reconciler.cli.shell import on_terminal
from reconciler.kits.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="write to a file, not to standard output")
    parser.add_argument(
        "--format",
        choices=("docker", "oci"),
        default="docker",
        help="a docker-archive (default), or an OCI layout in a tar",
    )
    add_names(parser, "IMAGE", "NAME[:TAG], NAME@DIGEST, or (the beginning of) an id; a NAME alone is all its tags")


def run(options: Any, shell: Shell) -> int:
    if options.output == "-" and on_terminal(sys.stdout):
        raise UsageError("cowardly refusing to save to a terminal", hint="use the -o flag or redirect")
    sys.stdout.flush()
    shell.console.save(options.names, options.output, options.format)
    return 0
