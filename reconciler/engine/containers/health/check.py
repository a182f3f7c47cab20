"""What is checked in a container, how often and how patiently: its configuration and its image's merged, as Docker does. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.frozen import Frozen
from reconciler.kits.text import quote

if TYPE_CHECKING:
    from reconciler.engine.records import HealthConfig, ImageConfig

INTERVAL = 30.0
TIMEOUT = 30.0
RETRIES = 3
"""What counts where neither the configuration nor the image says anything."""

START_INTERVAL = 5.0
SOONEST = 0.5
"""Seconds between probes of a container that is starting, where nobody said: from the one up to the other."""

_SHELL = ("/bin/sh", "-c")
_LONGEST = 1e9


class Check(Frozen):
    """A health check in force; times in seconds.

    `arguments` is what a probe runs; `fault` says why there is nothing to run, of an image that makes no sense.
    `start_interval` None: as short as is sensible. `restarts` as in `HealthConfig`.
    """

    arguments: tuple[str, ...]
    interval: float
    timeout: float
    start_period: float
    start_interval: float | None
    retries: int
    restarts: int | None = None
    fault: str = ""

    def pause(self, ran: float, *, starting: bool) -> float:
        """Seconds from the end of a probe, or from the start, to the next, `ran` seconds after the start.

        Within the start period, and before a first interval is over, one that is starting is probed more often: it is
        seen to be ready all the sooner. Where nobody says how often, after a quarter of the time that it has run by now.
        """
        if not starting or ran >= self.grace:
            return self.interval
        often = min(START_INTERVAL, max(SOONEST, ran / 4)) if self.start_interval is None else self.start_interval
        return min(often, self.interval)

    @property
    def grace(self) -> float:
        """Seconds after the start in which a failure means nothing yet.

        Docker begins to probe after one interval; what we find out before it, it would not have asked.
        """
        return max(self.start_period, self.interval)


def check_of(own: HealthConfig | None, image: ImageConfig) -> Check | None:
    """The check in force, None where there is none or it is switched off."""
    theirs = image.health
    test = own.test if own and own.test else theirs.test if theirs else ()
    if not test or test[0] == "NONE":
        return None

    def value(name: str) -> float | None:
        """The configuration's, else the image's; 0 and less is nothing said."""
        for source in (own, theirs):
            found = getattr(source, name, None)
            if found is not None and found > 0:
                return min(float(found), _LONGEST)
        return None

    arguments, fault = _arguments(test, image.shell or _SHELL)
    return Check(
        arguments,
        interval=value("interval") or INTERVAL,
        timeout=value("timeout") or TIMEOUT,
        start_period=value("start_period") or 0.0,
        start_interval=value("start_interval"),
        retries=int(value("retries") or RETRIES),
        restarts=own.restarts if own else None,
        fault=fault,
    )


def _arguments(test: tuple[str, ...], shell: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """What to run; or why an image's check can't be run (a spec's was looked at when it was read)."""
    word, *rest = test
    if word == "CMD-SHELL" and rest:
        return (*shell, *rest), ""
    if word == "CMD" and rest and rest[0]:
        return tuple(rest), ""
    if word in ("CMD", "CMD-SHELL"):
        return (), f"the image's health check is empty after {word}"
    return (), f"the image's health check begins with {quote(word)}, which is none of NONE, CMD and CMD-SHELL"
