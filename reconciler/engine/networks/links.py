"""The variables that a link puts into a container's environment, as Docker made them. Pure.

The linked container's own settings are passed on, its passwords too: that is what a link is, and what Docker did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def variables(
    own_name: str, alias: str, address: str, ports: Iterable[tuple[int, str]], environment: Sequence[str]
) -> dict[str, str]:
    """For a link from `own_name` to a container known inside as `alias`.

    `ports` are the target's exposed and published ports, container side, as (number, protocol); `environment` is the
    target's `NAME=value` list, the image's included. What the container sets itself wins over these: the caller merges.
    """
    prefix = alias.upper().replace("-", "_")
    ordered = sorted(set(ports), key=lambda port: (port[1] != "tcp", port[1], port[0]))
    found = {}
    if ordered:
        number, protocol = ordered[0]
        found[f"{prefix}_PORT"] = f"{protocol}://{address}:{number}"
    for first, last, protocol in _runs(ordered):
        if last > first:
            found.update(_range(prefix, address, first, last, protocol))
    for number, protocol in ordered:
        name = f"{prefix}_PORT_{number}_{protocol.upper()}"
        found[name] = f"{protocol}://{address}:{number}"
        found[f"{name}_ADDR"] = address
        found[f"{name}_PORT"] = str(number)
        found[f"{name}_PROTO"] = protocol
    found[f"{prefix}_NAME"] = f"/{own_name}/{alias}"
    for entry in environment:
        name, separator, value = entry.partition("=")
        if separator and name != "PATH":
            found[f"{prefix}_ENV_{name}"] = value
    return found


def _range(prefix: str, address: str, first: int, last: int, protocol: str) -> dict[str, str]:
    name = f"{prefix}_PORT_{first}_{protocol.upper()}"
    return {
        f"{name}_START": f"{protocol}://{address}:{first}",
        f"{name}_ADDR": address,
        f"{name}_PROTO": protocol,
        f"{name}_PORT_START": str(first),
        f"{name}_END": f"{protocol}://{address}:{last}",
        f"{name}_PORT_END": str(last),
    }


def _runs(ordered: Sequence[tuple[int, str]]) -> list[tuple[int, int, str]]:
    """Runs of consecutive ports of one protocol: first, last, protocol."""
    runs: list[tuple[int, int, str]] = []
    for number, protocol in ordered:
        if runs and runs[-1][1] == number - 1 and runs[-1][2] == protocol:
            runs[-1] = (runs[-1][0], number, protocol)
        else:
            runs.append((number, number, protocol))
    return runs
