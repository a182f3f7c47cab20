"""AppArmor: the profile that containers get where the kernel has AppArmor, and whether a named one is there.

The default profile keeps a container from what Docker's keeps it from (mounting, kernel settings, firmware, signals to
and tracing of others), as a second wall behind capabilities, seccomp and read-only paths. It is loaded at the first start
after a boot, under a name that says which text it is, and never unloaded: containers of other roots may have it.

Where AppArmor is off, or its parser not installed, nothing is done; `system check` tells.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from reconciler.engine.containers.runtime import find_program
from reconciler.engine.kernel import programs
from reconciler.engine.records import UNCONFINED
from reconciler.kits.digests import sha256
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engine.records import SecurityConfig

_ENABLED = "/sys/module/apparmor/parameters/enabled"
_LOADED = "/sys/kernel/security/apparmor/profiles"
_ABI = "/etc/apparmor.d/abi/3.0"
"""What the rules mean; newer ones need a rule for each kind of socket (apparmor.d(5), Policy Feature ABI)."""

_PROFILE = """\
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  # What is not denied below is left to capabilities, the seccomp filter and the mounts.
  capability,
  file,
  network,
  umount,
  deny mount,

  # Signals come from the host, from the OCI runtime where it has a profile, and from others like this one.
  signal (receive) peer=unconfined,
  signal (receive) peer=crun,
  signal (receive) peer=runc,
  signal (send, receive) peer={name},
  ptrace (read, readby, trace, tracedby) peer={name},

{denied}
}}
"""


@functools.cache
def enabled() -> bool:
    """Whether the kernel enforces AppArmor, and lets its profiles be seen from here."""
    try:
        with open(_ENABLED, encoding="ascii") as file:
            return file.read().startswith("Y") and os.path.exists(_LOADED)
    except OSError:
        return False


def parser() -> str:
    """The program that loads profiles, "" where it is not installed."""
    return find_program("apparmor_parser")


def loaded() -> dict[str, str]:
    """The profiles that the kernel has, with their mode (enforce, complain, unconfined, kill)."""
    try:
        with open(_LOADED, encoding="utf-8", errors="replace") as file:
            lines = [line.rstrip("\n").rpartition(" (") for line in file]
    except OSError:
        return {}
    return {name: mode.rstrip(")") for name, _, mode in lines}


def profile_of(security: SecurityConfig) -> str:
    """The profile that a container has by its configuration, loaded or not; "" where AppArmor is not in use."""
    if not enabled():
        return ""
    if security.apparmor:
        return security.apparmor
    if security.privileged:
        return UNCONFINED  # as Docker has it
    return default_profile()[0] if parser() else ""


def profile_of_process(pid: int) -> str:
    """The profile that a running process has, "" where AppArmor is not in use or the process is gone."""
    if not enabled():
        return ""
    try:
        with open(f"/proc/{pid}/attr/apparmor/current", encoding="utf-8") as file:
            return file.read().strip().partition(" (")[0]
    except OSError:
        return ""


def profile_of_exec(pid: int, *, privileged: bool) -> str:
    """That of a further process beside a container's first one: the same, whatever the default has become since."""
    return UNCONFINED if privileged and enabled() else profile_of_process(pid)


def ready_profile(security: SecurityConfig) -> str:
    """`profile_of`, and see that the kernel has it. Raises ReconcilerError when it has not and can't get it."""
    name = profile_of(security)
    if name in ("", UNCONFINED) or name in loaded():
        return name
    if security.apparmor:
        message, hint = missing(name)
        raise ReconcilerError(message, code="apparmor", hint=hint)
    done = programs.run([parser(), "--replace", "--skip-cache"], data=default_profile()[1].encode())
    if done.code:
        said = (done.err or done.out).strip().splitlines()
        raise ReconcilerError(
            f"AppArmor's parser refuses the default profile {name}: {said[-1] if said else 'it said nothing'}",
            code="apparmor",
            hint="have it repaired, or run without: `security_opt: [apparmor=unconfined]`",
        )
    return name


def missing(name: str) -> tuple[str, str]:
    """What to say of a profile that is not loaded, and what to do."""
    return (
        f"the AppArmor profile {quote(name)} is not loaded",
        "load it: apparmor_parser -r /etc/apparmor.d/FILE; `aa-status` lists those that are",
    )


@functools.cache
def default_profile() -> tuple[str, str]:
    """Name and text of the default profile; the name changes with the text."""
    head = "abi <abi/3.0>,\n" if os.path.exists(_ABI) else ""
    text = head + _PROFILE.replace("{denied}", "\n".join(f"  deny {rule}," for rule in _denied()))
    name = f"reconciler-{sha256(text.encode()).hexdigest()[:8]}"
    return name, text.format(name=name)


def _denied() -> Iterator[str]:
    """Kernel interfaces: of /proc only what belongs to processes may be written, of /sys only control groups."""
    yield "/proc/* w"
    yield "/proc/[^1-9s]*/** w"
    for pattern in _all_but("/proc/s", "ys/kernel/shm"):
        yield f"{pattern} w"
    for pattern in _all_but("/sys/", "fs/cgroup"):
        yield f"{pattern} wklx"
    for path in (
        *("/proc/kcore", "/proc/sysrq-trigger"),
        *("/sys/firmware/**", "/sys/kernel/security/**", "/sys/devices/virtual/powercap/**"),
    ):
        yield f"{path} rwklx"


def _all_but(folder: str, name: str) -> Iterator[str]:
    """Patterns for every path that begins with `folder`, but not with `folder` and `name`."""
    for at, letter in enumerate(name):
        yield f"{folder}{name[:at]}[^{letter}]**"
