"""`reconciler version`: what runs here, for a bug report."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.cli.parser import add_json
from reconciler.kits.roots import root_folder, run_folder

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    add_json(parser)


def run(options: Any, shell: Shell) -> int:
    system = os.uname()
    facts = {
        "reconciler": __version__,
        "python": sys.version.split()[0],
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "runtime": shell.runtime_name,
        "root": root_folder(),
        "run": run_folder(),
    }
    if options.json:
        shell.json(facts)
    else:
        for name, value in facts.items():
            shell.line(f"{name + ':':<12}{value}")
    return 0
