"""Which containers a verb is for: those that are named, or a stack's. For the verbs that act on containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import ReconcilerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_choice(parser: Parser) -> None:
    """Names, `--stack`, or both."""
    parser.add_argument("--stack", default="", metavar="STACK", help="all of a stack; names then are keys of it")
    parser.add_argument(
        "names", metavar="CONTAINER", nargs="*", help="name, STACK/KEY or (the beginning of) an id; with --stack a key"
    )


def add_time(parser: Parser) -> None:
    """`--time`."""
    from reconciler.cli.parser import number_from  # noqa: PLC0415 - loaded by now

    parser.add_argument(
        "-t",
        "--time",
        "--timeout",
        type=number_from(0),
        metavar="SECONDS",
        help="how long to wait before SIGKILL (the container's own grace period)",
    )


def chosen(options: Any, shell: Shell, states: Sequence[str] = ()) -> list[str]:
    """The names that were given; with `--stack` the names of those of its containers, if in one of these states."""
    if not options.stack:
        if not options.names:
            raise UsageError(
                f"reconciler {shell.verb} requires at least 1 argument", hint="name containers, or a stack with --stack"
            )
        return list(options.names)
    there = {c.key: c for c in shell.console.containers() if c.stack == options.stack}
    if not there:
        raise ReconcilerError(
            f'there is no stack "{options.stack}"',
            code="not-found",
            hint="name one as `reconciler ps -a --json` shows it",
        )
    if unknown := [key for key in options.names if key not in there]:
        raise ReconcilerError(
            f"No such container: {options.stack}/{unknown[0]}",
            code="not-found",
            hint=f"stack {options.stack} has {', '.join(sorted(there))}",
        )
    keys = options.names or sorted(there)
    return [there[key].name for key in keys if not states or there[key].state in states]


def stack_by_hand(options: Any, shell: Shell, change: str, idle: str, timeout: float | None = None) -> int:
    """Stop, start or restart what `--stack` names, in the order of its links; the exit code."""
    from reconciler.cli.passes import carry_out  # noqa: PLC0415 - only for stacks
    from reconciler.loop.converge import by_hand  # noqa: PLC0415
    from reconciler.planner.options import Options  # noqa: PLC0415

    for name, value in (("quiet", False), ("json", False), ("no_wait", False), ("parallel", None)):
        setattr(options, name, value)
    return carry_out(
        options,
        shell,
        lambda manner, reporter: by_hand(
            options.stack, change, options.names, shell.runtime, manner, reporter, timeout=timeout
        ),
        planning=Options(),
        idle=idle,
        announce=False,
    )
