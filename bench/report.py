"""The figures as Markdown, put between the marks in docs/benchmarks.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from figures import Aim, Spread, reached, times_faster

if TYPE_CHECKING:
    from collections.abc import Mapping

BEGIN, END = "<!-- figures: made by `make bench` -->", "<!-- end of figures -->"

US = "reconciler"

AIMS = {
    "pair/up": Aim(3),
    "pair/unchanged": Aim(2, most=0.080),
    "pair/change": Aim(3),
    "pair/down": Aim(3),
    "chain/up": Aim(5),
    "crowd-large/up": Aim(7),
    "crowd-large/ps": Aim(0, most=0.100),
    "heal/heal": Aim(1),
    "pull/pull": Aim(2),
}

_WORDS = {
    "up": "first up",
    "unchanged": "no-op",
    "change": "one change",
    "down": "down",
    "ps": "ps",
    "exec": "exec true",
    "heal": "heal after kill -9",
    "pull": "pull and unpack",
    "idle": "a minute of health checks",
}


def markdown(results: dict[str, Any]) -> str:
    """All tables and what they were measured with. `results` is what run.py writes as JSON."""
    return "\n\n".join(
        [
            _circumstances(results),
            "Seconds: median (least to most). *Faster*: how many times faster than the best of the others.",
            _table(results, "seconds", aims=True),
            "Processor seconds of one operation, daemons and monitors included.",
            _table(results, "cpu", aims=False),
            "Resident memory (PSS) of all that is not in a container: daemons, shims, monitors, proxies.",
            _memory(results),
        ]
    )


def put_between_marks(text: str, figures: str) -> str:
    """The document with its figures replaced; raises ValueError when the marks are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{BEGIN} and {END} must be in the document")
    return f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}"


def _circumstances(results: dict[str, Any]) -> str:
    machine = results["machine"]
    rounds = ", ".join(f"{name} {count}" for name, count in results["rounds"].items())
    return (
        f"Measured {results['date']}: Linux {machine['kernel']}, {machine['cpus']} CPUs ({machine['cpu']}), "
        f"{machine['memory']} GiB, cgroup {machine['cgroup']}. "
        f"{'; '.join(results['versions'].values())}. Rounds: {rounds}, after a warm-up."
    )


def _table(results: dict[str, Any], kind: str, *, aims: bool) -> str:
    names = list(results["titles"])
    columns = [results["titles"][name] for name in names] + ["faster" if aims else "less"] + (["aim"] if aims else [])
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for row, measured in results["measured"].items():
        spreads = {name: spread for name in names if (spread := Spread.of(measured.get(name, {}).get(kind, [])))}
        if not spreads:
            continue
        stack, _, operation = row.partition("/")
        cells = [f"{results['stacks'][stack]}: {_WORDS[operation]}"]
        cells += [_cell(spreads.get(name), reach=aims) for name in names]
        cells += _verdict(spreads, AIMS.get(row) if aims else None)
        lines.append("| " + " | ".join(cells[: len(columns) + 1]) + " |")
    return "\n".join(lines)


def _verdict(spreads: Mapping[str, Spread], aim: Aim | None) -> list[str]:
    """The cells "faster" and "aim"."""
    ours = spreads.get(US)
    if ours is None:
        return ["", ""]
    peers = {name: spread for name, spread in spreads.items() if name != US}
    times = times_faster(ours, peers)
    faster = "" if times is None else f"{times:.1f}x"
    if aim is None:
        return [faster, ""]
    wanted = ", ".join(
        [*([f"{aim.times:.0f}x"] if aim.times else []), *([f"< {aim.most * 1000:.0f} ms"] if aim.most else [])]
    )
    return [faster, f"{wanted}: {'reached' if reached(ours, peers, aim) else '**missed**'}"]


def _cell(spread: Spread | None, *, reach: bool) -> str:
    if spread is None:
        return "-"
    if not reach or spread.least == spread.most:
        return _seconds(spread.median)
    return f"{_seconds(spread.median)} ({_seconds(spread.least)} to {_seconds(spread.most)})"


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _memory(results: dict[str, Any]) -> str:
    names = list(results["titles"])
    lines = ["| | " + " | ".join(results["titles"].values()) + " |", "|---|" + "---|" * len(names)]
    for stack, measured in results["memory"].items():
        count = results["sizes"][stack]
        for word, divisor, unit in (("altogether", 1 << 20, "MiB"), ("a container", (1 << 10) * count, "KiB")):
            totals = {name: sum(measured[name].values()) for name in names if name in measured}
            cells = [f"{totals[name] / divisor:,.0f} {unit}" if name in totals else "-" for name in names]
            lines.append(f"| {results['stacks'][stack]}: {word} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
