"""What probes come to: starting, healthy or unhealthy, as Docker decides it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from reconciler.engine.containers.health.check import Check

STARTING = "starting"
HEALTHY = "healthy"
UNHEALTHY = "unhealthy"

KEPT = 5
"""Probes that are kept for who wants to know why."""

FAILED = -1
"""The exit code of a probe that was not run, or not to its end."""


class Result(Frozen):
    """One probe; times are seconds since the epoch, `code` is its exit code (a signal as 128+n)."""

    start: float
    end: float
    code: int
    output: str


class Verdict(Frozen):
    """`streak` counts failures since the last success, `log` are the last probes, oldest first."""

    status: str = STARTING
    streak: int = 0
    log: tuple[Result, ...] = ()


def judge(before: Verdict, result: Result, check: Check, started: float) -> Verdict:
    """The verdict after one more probe of a container that was started at `started`.

    A success is enough to be healthy, also in the start period, and ends it; failures count once it is over.
    """
    log = (*before.log, result)[-KEPT:]
    if result.code == 0:
        return Verdict(HEALTHY, 0, log)
    if before.status == STARTING and result.start - started < check.grace:
        return Verdict(STARTING, before.streak, log)
    streak = before.streak + 1
    return Verdict(UNHEALTHY if streak >= check.retries else before.status, streak, log)
