"""What the embedded engine can't do for a wanted container on this machine, so that a plan refuses it.

Each field that not every machine can honour has a judge: it gets the field's value and says what is wrong, if
anything is. A judge is asked only where the field is set, so a stack without such fields costs nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from reconciler.model.desired import Container
from reconciler.model.observed import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    _Judge = Callable[[Any], tuple[str, str] | None]
    """The field's value -> (message, hint), or None where it can be done."""


def _judged_by(module: str, name: str) -> _Judge:
    """What a module of this package says of a field, loaded where the field is set only."""

    def judge(value: Any) -> tuple[str, str] | None:
        judges = importlib.import_module(f"reconciler.runtimes.embedded.{module}").JUDGES
        found: tuple[str, str] | None = judges[name](value)
        return found

    return judge


def _init(_wanted: bool) -> tuple[str, str] | None:
    from reconciler.engine.containers import runtime  # noqa: PLC0415 - few containers have one

    return None if runtime.find_init() else (runtime.NO_INIT, runtime.INIT_HINT)


_JUDGES: dict[str, _Judge] = {
    "init": _init,
    **{
        name: _judged_by("capacity", name)
        for name in (
            "mem_limit", "mem_reservation", "memswap_limit", "mem_swappiness", "oom_kill_disable", "oom_score_adj",
            "cpus", "cpu_shares", "cpu_period", "cpu_quota", "cpuset", "pids_limit", "ulimits", "sysctls",
        )
    },
    **{name: _judged_by("permission", name) for name in ("cap_add", "security_opt", "devices")},
}  # fmt: skip


_USUAL = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}.get(os.uname().machine)


def _platform(container: Container, platform_of: Callable[[str], str | None]) -> tuple[str, str] | None:
    actual = platform_of(container.image)
    if not container.platform and actual in (_USUAL, "", None):
        return None
    from reconciler.engine.images import platforms  # noqa: PLC0415 - hardly ever

    return platforms.check(container.platform, actual, container.image)


_UNSET = {name: value for name, value in Container.defaults().items() if name in _JUDGES}


def refusals(wanted: Iterable[Container], platform_of: Callable[[str], str | None]) -> Iterator[Refusal]:
    """What can't be done, container by container, in the order of the fields.

    `platform_of` tells the platform of a local image, "" where it does not say, None where there is no such image.
    """
    for container in wanted:
        if found := _platform(container, platform_of):
            yield Refusal(container.key, "platform" if container.platform else "image", *found)
        for name, unset in _UNSET.items():
            value = getattr(container, name)
            if value != unset and (found := _JUDGES[name](value)):
                yield Refusal(container.key, name, *found)
