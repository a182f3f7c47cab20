"""What a spec lets a container do or keeps from it: capabilities, security options, devices, tmpfs, groups, platform.

Text in, value out; `BadValueError` says what is wrong with a text. For the spec room only. Source: Compose
specification, services; capabilities(7).
"""

from __future__ import annotations

import json
import posixpath
import re

from reconciler.kits import capabilities, seccomp
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import quote
from reconciler.model.desired import Device, Tmpfs
from reconciler.spec import mounts, values
from reconciler.spec.findings import BadValueError, did_you_mean

_RULE = re.compile(r"([abc]) ([0-9]{1,9}|\*):([0-9]{1,9}|\*) ([rwm]{1,3})", re.ASCII)
_TMPFS_FLAGS = (
    "rw",
    "ro",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "noatime",
    "relatime",
    "strictatime",
    "sync",
)
_TMPFS_VALUES = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks")
_TMPFS_VALUE = re.compile(r"[0-9]{1,18}[kKmMgG%]?", re.ASCII)
_PLATFORM = re.compile(r"[a-z0-9_]+/[a-z0-9_]+(/[a-z0-9_.]+)?", re.ASCII)
_OPTIONS = ("no-new-privileges", "seccomp", "apparmor", "systempaths")


def capability(text: str) -> str:
    """A capability with or without CAP_, in any case; "ALL" is all of them."""
    name = text.upper().removeprefix("CAP_")
    if name == "ALL":
        return name
    if name not in capabilities.NAMES:
        raise BadValueError(
            f"unknown capability {quote(text)}{did_you_mean(name, capabilities.NAMES)}", "as NET_ADMIN, or ALL"
        )
    return f"CAP_{name}"


def security_option(text: str) -> str:
    """One of Docker's: NAME, NAME=VALUE or NAME:VALUE, spelled NAME or NAME=VALUE; "" for what goes without saying."""
    name, sign, value = text.partition("=") if "=" in text else text.partition(":")
    if name == "no-new-privileges" and value in ("", "true"):
        return name
    if name == "no-new-privileges" and value == "false":
        return ""
    if name == "label":
        raise BadValueError("SELinux labels are not supported", "leave it out")
    if name not in _OPTIONS:
        hint = "no-new-privileges, seccomp=..., apparmor=..., systempaths=unconfined"
        raise BadValueError(f"unknown security option {quote(text)}{did_you_mean(name, _OPTIONS)}", hint)
    if not value or not sign or not value.isprintable():
        raise BadValueError(f"the security option {quote(text)} lacks a value", f"write {name}=unconfined")
    if name == "systempaths" and value != "unconfined":
        raise BadValueError(f"systempaths takes only unconfined, not {quote(value)}")
    if name == "seccomp" and value not in ("unconfined", "builtin"):
        value = posixpath.normpath(value)
    return "" if (name, value) == ("seccomp", "builtin") else f"{name}={value}"


def profile_path(option: str) -> str:
    """The path that a security option names a seccomp profile by, "" if it names none."""
    name, _, value = option.partition("=")
    return value if name == "seccomp" and value != "unconfined" else ""


def seccomp_profile(path: str, data: bytes) -> str:
    """The profile in a file's bytes, as JSON that is the same however the file is laid out."""
    try:
        profile = seccomp.parse(data)
    except ReconcilerError as error:
        raise BadValueError(f"the seccomp profile {quote(path)}: {error.message}", error.hint) from None
    return json.dumps(profile, sort_keys=True, separators=(",", ":"))


def device(text: str) -> Device:
    """The short form: path[:path inside][:permissions]."""
    parts = text.split(":")
    if len(parts) > 3:
        raise BadValueError(f"bad device {quote(text)}: too many colons", "write /dev/x[:/dev/y][:rwm]")
    if len(parts) == 2 and not parts[1].startswith("/"):
        return make_device(parts[0], "", parts[1])
    return make_device(*parts)


def make_device(source: str, target: str = "", permissions: str = "") -> Device:
    """A device of its parts; "" = left out."""
    for path in (source, target or source):
        if not path.startswith("/") or not path.isprintable() or mounts.target(path) != path.rstrip("/"):
            raise BadValueError(f"the device's path {quote(path)} is not absolute", "write /dev/x[:/dev/y][:rwm]")
    if len(set(permissions)) < len(permissions) or not set(permissions) <= set("rwm"):
        raise BadValueError(
            f"bad permissions {quote(permissions)} of device {quote(source)}", "made of r, w and m: rwm"
        )
    ordered = "".join(letter for letter in "rwm" if letter in permissions)
    return Device(source.rstrip("/"), (target or source).rstrip("/"), ordered or "rwm")


def device_rule(text: str) -> str:
    """A rule of the devices controller (kernel documentation, cgroup-v1/devices)."""
    match = _RULE.fullmatch(" ".join(text.split()))
    if not match:
        raise BadValueError(f"bad device rule {quote(text)}", "write it as 'c 10:* rwm'; a, b or c is the type")
    return match[0]


def tmpfs(text: str) -> Tmpfs:
    """The short form: /path[:options]."""
    where, _, options = text.partition(":")
    words = [word for word in options.split(",") if word]
    for word in words:
        name, sign, value = word.partition("=")
        if not (name in _TMPFS_VALUES and _TMPFS_VALUE.fullmatch(value) if sign else name in _TMPFS_FLAGS):
            hint = "size=64m, mode=1777, uid=, gid=, nr_inodes=, ro, noexec and the like"
            raise BadValueError(f"bad option {quote(word)} of the tmpfs at {quote(where)}", hint)
    return Tmpfs(mounts.target(where), tuple(words))


def make_tmpfs(where: str, size: str, mode: str, *, read_only: bool) -> Tmpfs:
    """A mount of type tmpfs, spelled out."""
    words = ["ro"] if read_only else []
    if size:
        words.append(f"size={values.size(size)}")
    if mode:
        if not re.fullmatch("0?[0-7]{3,4}", mode):
            raise BadValueError(f"the mode {quote(mode)} is not octal", "write it as 1777 or 755")
        words.append(f"mode={mode.removeprefix('0')}")
    return Tmpfs(mounts.target(where), tuple(words))


def group(text: str) -> str:
    """A group by name or number."""
    if not text or not text.isprintable() or ":" in text or " " in text:
        raise BadValueError(f"bad group {quote(text)}", "write its name or number")
    return text


def platform(text: str) -> str:
    """os/arch[/variant], in the words of image indexes (OCI image-spec, image-index)."""
    if not _PLATFORM.fullmatch(text):
        raise BadValueError(f"bad platform {quote(text)}", "write os/arch[/variant]: linux/amd64")
    return text
