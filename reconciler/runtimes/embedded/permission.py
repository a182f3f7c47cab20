"""What this machine can't give of capabilities, devices and security options: the judges of `refusals`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import apparmor, capabilities, devices
from reconciler.engine.records import UNCONFINED, DeviceConfig
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import listed, quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.desired import Device


def _cap_add(added: tuple[str, ...]) -> tuple[str, str] | None:
    if not (missing := capabilities.missing(added)):
        return None
    return (
        f"this machine has no {listed(missing)} to give",
        "its kernel is too old for it, or reconciler itself runs without it; take it out of cap_add",
    )


def _security_opt(options: tuple[str, ...]) -> tuple[str, str] | None:
    named = [value for name, _, value in (option.partition("=") for option in options) if name == "apparmor"]
    if not named or named[0] == UNCONFINED or named[0] in apparmor.loaded():
        return None
    if not apparmor.enabled():
        return f"this machine has no AppArmor, which the profile {quote(named[0])} needs", "leave it out"
    return apparmor.missing(named[0])


def _devices(wanted: tuple[Device, ...]) -> tuple[str, str] | None:
    for device in wanted:
        try:
            devices.nodes([DeviceConfig(device.source, device.target, device.permissions)])
        except ReconcilerError as error:
            return error.message, error.hint
    return None


JUDGES: dict[str, Callable[[Any], tuple[str, str] | None]] = {
    "cap_add": _cap_add,
    "security_opt": _security_opt,
    "devices": _devices,
}
