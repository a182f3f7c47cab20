"""`reconciler port`: where a container's ports are published on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.parser import add_json
from reconciler.cli.table import host_port, sorted_bindings
from reconciler.kits.errors import ReconcilerError, UsageError

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="CONTAINER", help="name, STACK/KEY or (the beginning of) an id")
    parser.add_argument("port", metavar="PORT[/PROTOCOL]", nargs="?", help="only this container port")
    add_json(parser)


def run(options: Any, shell: Shell) -> int:
    wanted = _parse(options.port) if options.port else None
    container = shell.console.container(options.name)
    bindings = sorted_bindings(container.ports) if container.state in ("running", "paused") else []
    if wanted:
        bindings = [b for b in bindings if (b.container_port, b.protocol) == wanted]
        if not bindings:
            raise ReconcilerError(
                f"no public port {wanted[0]}/{wanted[1]} is published for {options.name}",
                code="not-found",
                hint=f"reconciler port {options.name} shows those that are"
                if container.state == "running"
                else f"{container.name} does not run: it is {container.state}",
            )
    if options.json:
        shell.json(_by_port(bindings))
        return 0
    for binding in bindings:
        place = host_port(binding)
        shell.line(place if wanted else f"{binding.container_port}/{binding.protocol} -> {place}")
    return 0


def _by_port(bindings: list[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for binding in bindings:
        found.setdefault(f"{binding.container_port}/{binding.protocol}", []).append(host_port(binding))
    return found


def _parse(text: str) -> tuple[int, str]:
    number, _, protocol = text.partition("/")
    if not (number.isdecimal() and 0 < int(number) < 65536) or protocol not in ("", "tcp", "udp", "sctp"):
        raise UsageError(f'"{text}" is not a port', hint='write it like "80" or "53/udp"')
    return int(number), protocol or "tcp"
