"""`reconciler login`: have a registry let us in from now on, by a user name and a password that it accepts."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from reconciler.cli.shell import on_terminal
from reconciler.kits.errors import ReconcilerError, UsageError
from reconciler.kits.references import DEFAULT_REGISTRY, parse
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "server", metavar="SERVER", nargs="?", default="", help="a registry; Docker Hub if none is named"
    )
    parser.add_argument("-u", "--username", default="", help="asked for on a terminal if it is not given")
    parser.add_argument("--password-stdin", action="store_true", help="take the password from standard input")
    parser.add_argument("-p", "--password", default="", help="insecure: others see it in the list of processes")


def run(options: Any, shell: Shell) -> int:
    registry = registry_of(options.server)
    username, password = _who(options, shell)
    place = shell.console.login(registry, username, password)
    if os.path.isabs(place):
        shell.note(f"WARNING! Your password is stored unencrypted in {printable(place)}; a credential helper hides it")
    shell.line("Login Succeeded")
    return 0


def registry_of(server: str) -> str:
    """The registry's name as images have it, of a host or an address with scheme and path."""
    host = (server.partition("://")[2] or server).partition("/")[0]
    if not host or host == "registry-1.docker.io":
        return DEFAULT_REGISTRY
    try:
        parsed = parse(f"{host}/image")
    except ReconcilerError:
        parsed = None
    if parsed is None or parsed.repository not in ("image", "library/image"):
        raise UsageError(f'"{printable(server)}" is not a registry', hint="like registry.example.com:5000")
    return parsed.registry


def _who(options: Any, shell: Shell) -> tuple[str, str]:
    if options.password and options.password_stdin:
        raise UsageError("--password and --password-stdin are mutually exclusive")
    if options.password_stdin:
        if not options.username:
            raise UsageError("Must provide --username with --password-stdin")
        return options.username, _checked(sys.stdin.readline().rstrip("\r\n"))
    if options.password:
        shell.note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    elif not on_terminal(sys.stdin):
        raise UsageError(
            "Cannot perform an interactive login from a non TTY device", hint="pipe the password to --password-stdin"
        )
    username = options.username or _ask("Username: ")
    return username, _checked(options.password or _ask("Password: ", hidden=True))


def _checked(password: str) -> str:
    if not password:
        raise UsageError("the password is empty")
    return password


def _ask(prompt: str, *, hidden: bool = False) -> str:
    """A line from the terminal, its echo off for what is to be hidden."""
    with _no_echo() if hidden else contextlib.nullcontext():
        sys.stderr.write(prompt)
        sys.stderr.flush()
        answer = sys.stdin.readline()
    if hidden:
        sys.stderr.write("\n")
    if not answer.strip():
        raise UsageError("nothing was typed")
    return answer.rstrip("\r\n")


@contextlib.contextmanager
def _no_echo() -> Iterator[None]:
    """The terminal's echo is off from before the prompt on: what is typed at once is neither shown nor lost."""
    import termios  # noqa: PLC0415 - on a terminal only

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    changed = [*before]
    changed[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
