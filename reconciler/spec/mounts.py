"""Mounts: Compose's short form for volumes and host files. For the spec room only.

Source: Compose specification, services.volumes.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from reconciler.kits.text import quote
from reconciler.model.desired import Mount, VolumesFrom
from reconciler.spec import values
from reconciler.spec.findings import BadValueError

if TYPE_CHECKING:
    from collections.abc import Callable

_IGNORED = {"z", "Z", "cached", "consistent", "delegated"}
"""Options of other systems: SELinux labels, and caches of Docker Desktop."""
_PROPAGATION = {"shared", "slave", "private", "rshared", "rslave", "rprivate"}


def parse(text: str, base: str, home: Callable[[], str | None]) -> Mount:
    """The mount of a short form: "name:/path", "/host:/path", "./file:/path:ro", "/anonymous".

    `base` is the folder that relative host paths start from, "" where there is none; `home` gives what `~` means.
    """
    parts = text.split(":")
    if len(parts) > 3:
        raise BadValueError(f"bad mount {quote(text)}: too many colons", "write source:/target[:options]")
    if len(parts) == 1:
        if not text.startswith("/"):
            hint = f"write {text}:/path to mount it somewhere" if text else "write source:/target"
            raise BadValueError(f"bad mount {quote(text)}: an absolute path inside the container is missing", hint)
        return Mount("anonymous", "", target(text))
    if parts[1] in ("ro", "rw") and parts[0].startswith("/"):
        hint = f"write source:{parts[0]}:{parts[1]}; an anonymous volume takes no options"
        raise BadValueError(f"bad mount {quote(text)}: {parts[1]} stands where the target belongs", hint)
    words = parts[2].split(",") if len(parts) == 3 else []
    _check_options(text, words)
    return make(parts[0], parts[1], base, home, read_only="ro" in words, nocopy="nocopy" in words)


def _check_options(text: str, words: list[str]) -> None:
    for word in words:
        if word in _PROPAGATION:
            raise BadValueError(f"bad mount {quote(text)}: mount propagation ({word}) is not supported yet")
        if word not in _IGNORED | {"ro", "rw", "nocopy"}:
            hint = "ro, rw, nocopy; several are separated by commas"
            raise BadValueError(f"bad mount {quote(text)}: unknown option {quote(word)}", hint)
    if "ro" in words and "rw" in words:
        raise BadValueError(f"bad mount {quote(text)}: ro and rw exclude each other")


def make(
    source: str,
    where: str,
    base: str,
    home: Callable[[], str | None],
    *,
    read_only: bool = False,
    nocopy: bool = False,
    kind: str = "",
) -> Mount:
    """A mount of its parts; `kind` "volume" or "bind" where the long form says it, else what `source` looks like."""
    at = target(where)
    if not source:
        raise BadValueError("the mount has no source", "write source:/target")
    if not kind:
        kind = "bind" if source[0] in "/.~" else "volume"
    if kind == "bind":
        if nocopy:
            raise BadValueError(f"nocopy is for volumes, and {quote(source)} is a path of the host")
        return Mount("bind", host_path(source, base, home), at, read_only)
    if "/" in source:
        hint = (
            "for a path of the host, the type is bind"
            if source[0] == "/"
            else f"for a folder of the host write ./{source}"
        )
        raise BadValueError(f"{quote(source)} is neither a volume's key nor a path of the host", hint)
    return Mount("volume", values.name(source, "a volume"), at, read_only, nocopy)


def host_path(text: str, base: str, home: Callable[[], str | None]) -> str:
    """A path of the host, absolute and without `.` and `..`."""
    path = text
    if text == "~" or text.startswith("~/"):
        folder = home()
        if not folder or not folder.startswith("/"):
            raise BadValueError(f"{quote(text)} needs HOME, which is not set", "write the whole path")
        path = folder + text[1:]
    elif text.startswith("~"):
        raise BadValueError(f"{quote(text)}: only ~ alone is known", "write the whole path")
    elif not text.startswith("/"):
        if not base:
            raise BadValueError(f"{quote(text)} is relative, and this spec is in no folder of the host")
        path = posixpath.join(base, text)
    return _clean(path)


def target(text: str) -> str:
    """A mount's place inside the container: absolute, normalised, not the root."""
    if not text:
        raise BadValueError("the mount has no target", "write source:/target")
    if not text.startswith("/"):
        hint = f"a path inside the container begins with /: /{text}"
        raise BadValueError(f"the mount target {quote(text)} is not absolute", hint)
    path = _clean(text)
    if path == "/":
        raise BadValueError("a mount cannot replace the container's root '/'")
    return path


def _clean(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")


def volumes_from(text: str) -> VolumesFrom:
    """A container whose mounts to take: "name", "name:ro" or "name:rw"."""
    name, colon, option = text.partition(":")
    if name == "container" and colon and option not in ("ro", "rw"):
        message = f"{quote(text)} names a container outside of the stack, which is not supported yet"
        raise BadValueError(message)
    if colon and option not in ("ro", "rw"):
        raise BadValueError(f"unknown option {quote(option)} in {quote(text)}", "write name:ro or name:rw")
    return VolumesFrom(name, option == "ro")
