"""`reconciler ps`: the containers that run, or all, in Docker's table."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from reconciler.cli import table
from reconciler.cli.parser import add_json, number_from
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.masking import masked, masked_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell
    from reconciler.runtimes.console import ContainerSummary

_HEADER = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")
_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_UP = ("running", "paused", "restarting")
_HEALTH = ("starting", "healthy", "unhealthy", "none")
_KEYS = ("health", "id", "label", "name", "stack", "status")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also those that do not run")
    parser.add_argument("-q", "--quiet", action="store_true", help="only ids")
    parser.add_argument("-n", "--last", type=number_from(0), metavar="N", help="the N newest, running or not")
    parser.add_argument("-l", "--latest", action="store_const", const=1, dest="last", help="the newest, running or not")
    parser.add_argument("--no-trunc", action="store_true", help="cut nothing short")
    parser.add_argument(
        "-f",
        "--filter",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only those with this status, health, name (a regular expression), label, stack or id; can be repeated",
    )
    parser.add_argument("--stack", default="", metavar="STACK", help="only those of this stack")
    add_json(parser)


def run(options: Any, shell: Shell) -> int:
    wanted = _filters(options.filter + ([f"stack={options.stack}"] if options.stack else []))
    chosen = [c for c in shell.console.containers() if all(any(test(c) for test in tests) for tests in wanted.values())]
    if options.last is not None:
        chosen = chosen[: options.last]
    elif not options.all and "status" not in wanted:
        chosen = [c for c in chosen if c.state in _UP]
    now = time.time()
    if options.json:
        shell.json([_document(c, now) for c in chosen])
    elif options.quiet:
        for container in chosen:
            shell.line(table.short_id(container.id, whole=options.no_trunc))
    else:
        for line in table.table(_HEADER, (_row(c, now, whole=options.no_trunc) for c in chosen)):
            shell.line(line)
    return 0


def _row(container: ContainerSummary, now: float, *, whole: bool) -> tuple[str, ...]:
    return (
        table.short_id(container.id, whole=whole),
        container.image,
        table.command(container, whole=whole),
        table.ago(container.created_at, now),
        table.status(container, now),
        table.ports(container),
        container.name,
    )


def _document(container: ContainerSummary, now: float) -> dict[str, Any]:
    return {
        "id": container.id,
        "name": container.name,
        "stack": container.stack,
        "key": container.key,
        "image": container.image,
        "command": masked_words(list(container.command)),
        "state": container.state,
        "status": table.status(container, now),
        "exit_code": container.exit_code,
        "health": container.health,
        "oom_killed": container.oom,
        "error": container.error,
        "pid": container.pid,
        "address": container.address,
        "ports": [
            {"host_ip": b.host_ip, "host_port": b.host_port, "container_port": b.container_port, "protocol": b.protocol}
            for b in table.sorted_bindings(container.ports)
        ],
        "exposed": list(container.exposed),
        "labels": {name: masked(name, value) for name, value in container.labels.items()},
        "created_at": container.created_at,
        "started_at": container.started_at,
        "finished_at": container.finished_at,
    }


def _filters(texts: list[str]) -> dict[str, list[Callable[[ContainerSummary], bool]]]:
    """Tests by key: one of each key must hold. Each label is a key of its own: all of them must be there."""
    tests: dict[str, list[Callable[[ContainerSummary], bool]]] = {}
    for text in texts:
        key, has_value, value = text.partition("=")
        if not has_value:
            raise ReconcilerError(f'"{text}" is not a filter', hint="filters are written KEY=VALUE")
        if key not in _KEYS:
            raise ReconcilerError(f'there is no filter "{key}"', hint="filters are " + ", ".join(_KEYS))
        tests.setdefault(text if key == "label" else key, []).append(_test(key, value))
    return tests


def _test(key: str, value: str) -> Callable[[ContainerSummary], bool]:
    match key:
        case "status":
            if value not in _STATES:
                raise ReconcilerError(f'there is no status "{value}"', hint="a status is " + ", ".join(_STATES))
            return lambda c: c.state == value
        case "health":
            if value not in _HEALTH:
                raise ReconcilerError(f'there is no health "{value}"', hint="health is " + ", ".join(_HEALTH))
            return lambda c: (c.health or "none") == value
        case "name":
            try:
                pattern = re.compile(value)
            except re.error as error:
                raise ReconcilerError(f'"{value}" is not a regular expression: {error}') from error
            return lambda c: bool(pattern.search(c.name) or pattern.search("/" + c.name))
        case "label":
            label, has_content, content = value.partition("=")
            return lambda c: label in c.labels and (not has_content or c.labels[label] == content)
        case "stack":
            return lambda c: c.stack == value
        case _:
            return lambda c: c.id.startswith(value)
