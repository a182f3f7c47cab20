"""Tables in Docker's shape, and the cells that several verbs share: ids, ages, ports.

For the verbs that list things. It knows summaries, never a runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.masking import masked_words
from reconciler.kits.text import double_quote, ellipsis, printable
from reconciler.kits.units import human_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reconciler.model.observed import PortBinding
    from reconciler.runtimes.console import ContainerSummary

_PADDING = 3
_NARROWEST = 10
_UP = ("running", "paused")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines with each column as wide as its widest cell and three spaces, at least ten; cells come out printable."""
    cells = [tuple(header), *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(_NARROWEST, _PADDING + max(map(len, column))) for column in zip(*cells, strict=True)]
    return [
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + row[-1] for row in cells
    ]


def short_id(identifier: str, *, whole: bool = False) -> str:
    """Twelve digits of an id, without its algorithm; all of it with `whole`."""
    return identifier if whole else identifier.rpartition(":")[2][:12]


def ago(then: float, now: float) -> str:
    """An age: "3 seconds ago", or "N/A" for never."""
    return f"{human_duration(now - then)} ago" if then else "N/A"


def status(container: ContainerSummary, now: float) -> str:
    """The STATUS cell: "Up 3 seconds", "Up 2 minutes (healthy)", "Exited (137) 4 days ago", "Created".

    "Exited (unknown)" is a container that ended where nobody saw it: its monitor was killed, or the machine went down.
    """
    code = container.exit_code or 0
    match container.state:
        case "running":
            health = {"": "", "starting": " (health: starting)"}.get(container.health, f" ({container.health})")
            return f"Up {human_duration(now - container.started_at)}{health}"
        case "paused":
            return f"Up {human_duration(now - container.started_at)} (Paused)"
        case "restarting":
            return f"Restarting ({code}) {ago(container.finished_at, now)}"
        case "exited" if container.exit_code is None:
            return "Exited (unknown)" + (f" {ago(container.finished_at, now)}" if container.finished_at else "")
        case "exited":
            return f"Exited ({code}) {ago(container.finished_at, now)}" + (" (out of memory)" if container.oom else "")
        case "removing":
            return "Removal In Progress"
        case other:
            return other.capitalize()


def command(container: ContainerSummary, *, whole: bool = False) -> str:
    """The COMMAND cell: path and arguments in quotes, cut to twenty characters, secrets masked."""
    text = " ".join(masked_words(list(container.command)))
    return double_quote(text if whole else ellipsis(text, 20))


def host_port(binding: PortBinding) -> str:
    """The host side of a binding: "0.0.0.0:80", "[::]:80"."""
    address = binding.host_ip or "0.0.0.0"  # noqa: S104 - how Docker spells every address
    return f"[{address}]:{binding.host_port}" if ":" in address else f"{address}:{binding.host_port}"


def sorted_bindings(bindings: Iterable[PortBinding]) -> list[PortBinding]:
    """By container port, protocol, address (IPv4 first) and host port."""
    return sorted(bindings, key=lambda b: (b.container_port, b.protocol, ":" in b.host_ip, b.host_ip, b.host_port))


def ports(container: ContainerSummary) -> str:
    """The PORTS cell: runs of ports that are the same on both sides (or only exposed) drawn together, then the rest."""
    if container.state not in _UP:
        return ""
    runs: dict[tuple[str, str], list[list[int]]] = {}
    others: list[str] = []
    for text in sorted(container.exposed, key=lambda text: (int(text.partition("/")[0]), text)):
        number, _, protocol = text.partition("/")
        _extend(runs.setdefault(("", protocol), []), int(number))
    for binding in sorted_bindings(container.ports):
        address = host_port(binding).rpartition(":")[0]
        if binding.host_port == binding.container_port:
            _extend(runs.setdefault((address, binding.protocol), []), binding.host_port)
        else:
            others.append(f"{host_port(binding)}->{binding.container_port}/{binding.protocol}")
    together = [_run(address, protocol, *run) for (address, protocol), found in runs.items() for run in found]
    return ", ".join(together + others)


def _extend(runs: list[list[int]], port: int) -> None:
    if runs and runs[-1][1] == port - 1:
        runs[-1][1] = port
    else:
        runs.append([port, port])


def _run(address: str, protocol: str, first: int, last: int) -> str:
    span = str(first) if first == last else f"{first}-{last}"
    return f"{address}:{span}->{span}/{protocol}" if address else f"{span}/{protocol}"
