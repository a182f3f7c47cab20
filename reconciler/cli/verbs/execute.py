"""`reconciler exec`: a command in a running container, on this process's terminal or pipes."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from reconciler.cli.shell import on_terminal
from reconciler.kits.errors import ReconcilerError, UsageError

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.usage = "reconciler exec [OPTIONS] CONTAINER COMMAND [ARGUMENT...]"
    parser.add_argument("-i", "--interactive", action="store_true", help="pass standard input on")
    parser.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait for its end")
    parser.add_argument("-u", "--user", default="", metavar="USER[:GROUP]", help="run it as this user")
    parser.add_argument("-w", "--workdir", default="", metavar="FOLDER", help="run it in this folder")
    parser.add_argument(
        "-e",
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="set a variable; without a value, to what it is here",
    )
    parser.add_argument("--privileged", action="store_true", help="with all capabilities of the machine")
    parser.add_argument("name", metavar="CONTAINER", help="name, STACK/KEY or (the beginning of) an id")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="what to run, with its options")


def run(options: Any, shell: Shell) -> int:
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise UsageError("reconciler exec: there is no command to run", hint="name it after the container")
    environment = tuple(_environment(options.env))
    if options.interactive and options.tty and not options.detach and not on_terminal(sys.stdin):
        raise ReconcilerError("the input device is not a TTY", hint="leave out -t: standard input is no terminal")
    from reconciler.runtimes.console import ExecOptions  # noqa: PLC0415 - loaded with the runtime in any case

    sys.stdout.flush()
    return shell.console.exec(
        options.name,
        ExecOptions(
            command=tuple(command),
            interactive=options.interactive,
            tty=options.tty,
            detach=options.detach,
            user=options.user,
            working_dir=options.workdir,
            environment=environment,
            privileged=options.privileged,
        ),
    )


def _environment(words: list[str]) -> list[str]:
    """NAME=VALUE as it is; a bare NAME with its value here, left out where it has none."""
    found = []
    for word in words:
        name, has_value, _ = word.partition("=")
        if not name:
            raise UsageError(f'-e: "{word}" names no variable', hint="write it like NAME=VALUE")
        if has_value:
            found.append(word)
        elif name in os.environ:
            found.append(f"{name}={os.environ[name]}")
    return found
