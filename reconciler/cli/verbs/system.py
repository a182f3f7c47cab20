"""`reconciler system`: the machine itself. `info` says what is here, `check` what it lacks and how to get it; `prune` makes room."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler import __version__
from reconciler.cli.parser import add_json, add_verbs
from reconciler.cli.shell import GREEN, RED, YELLOW, paint
from reconciler.cli.verbs import prune_system
from reconciler.kits.errors import EXIT_ERROR, UsageError
from reconciler.kits.text import plural, printable
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell

_COLOURS = {"ok": GREEN, "warning": YELLOW, "missing": RED}
_BYTES = ("memory",)


def add_arguments(parser: Parser) -> None:
    verb = add_verbs(parser)
    add_json(verb("info", "Show versions, places and how much there is"))
    check = verb(
        "check", "Say what this machine lacks for containers and how to get it; exit code 1 if it lacks something"
    )
    check.add_argument("-q", "--quiet", action="store_true", help="only what is not fine")
    add_json(check)
    prune_system.add_arguments(verb("prune", "Remove stopped containers and unused images; volumes where it is said"))


def run(options: Any, shell: Shell) -> int:
    match options.action:
        case "info":
            return _info(options, shell)
        case "check":
            return _check(options, shell)
        case "prune":
            return prune_system.run(options, shell)
    raise UsageError(f"reconciler system {options.action} does not exist")


def _info(options: Any, shell: Shell) -> int:
    facts = {"reconciler": __version__, "python": sys.version.split()[0], "runtime": shell.runtime_name}
    facts |= shell.console.system_info()
    if options.json:
        shell.json(facts)
    else:
        for line in _lines(facts):
            shell.line(line)
    return 0


def _lines(facts: dict[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield f"{indent}{printable(name)}:" + ("" if value else " none")
            yield from _lines(value, indent + "  ")
        else:
            shown = human_size(value) if name in _BYTES else printable(str(value)) if value != "" else "not there"
            yield f"{indent + printable(name) + ':':<14}{shown}"


def _check(options: Any, shell: Shell) -> int:
    findings = shell.console.system_check()
    lacking = [one for one in findings if one.state == "missing"]
    if options.json:
        keys = ("subject", "state", "message", "remedy")
        shell.json([{key: getattr(one, key) for key in keys} for one in findings])
        return EXIT_ERROR if lacking else 0
    width = max((len(one.subject) for one in findings), default=0) + 2
    for one in findings:
        if options.quiet and one.state == "ok":
            continue
        state = paint(f"{one.state:<8}", _COLOURS.get(one.state, RED), sys.stdout)
        shell.line(f"{state} {printable(one.subject):<{width}}{printable(one.message)}")
        if one.remedy:
            shell.line(f"{'':<{width + 9}}{printable(one.remedy)}")
    if lacking:
        shell.note(f"this machine lacks {plural(len(lacking), 'thing')} that containers need")
    return EXIT_ERROR if lacking else 0
