"""How a probe is confined: read off the configuration with which the OCI runtime made the container.

So a probe may do what the container may, whoever decided that and however; nothing is decided here.
"""

from __future__ import annotations

import base64
import json
import os
import resource
from typing import TYPE_CHECKING, Any

from reconciler.engine.containers.capabilities import KNOWN
from reconciler.engine.kernel import inside, seccomp
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.engine.paths import Paths

_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
_filters: dict[str, bytes] = {}
"""Most containers have the same filter."""


def confinement_of(paths: Paths, container_id: str, groups: tuple[str, ...]) -> inside.Confinement:
    """`groups` as for `inside.Confinement`. Raises ReconcilerError where it can't be kept to; OSError without a bundle."""
    with open(os.path.join(paths.bundle(container_id), "config.json"), "rb") as file:
        document = json.load(file)
    process, linux = document["process"], document["linux"]
    user, capabilities = process["user"], process.get("capabilities") or {}
    masks = {name: mask_of(capabilities.get(name) or ()) for name in _SETS}
    return inside.Confinement(
        namespaces=_namespaces(linux["namespaces"]),
        groups=groups,
        uid=user["uid"],
        gid=user["gid"],
        additional_gids=tuple(user.get("additionalGids") or ()),
        umask=user.get("umask", 0o022),
        working_dir=process["cwd"],
        environment={name: value for name, _, value in (pair.partition("=") for pair in process["env"])},
        no_new_privileges=bool(process.get("noNewPrivileges")),
        seccomp=_filter(document),
        seccomp_flags=_flags((linux.get("seccomp") or {}).get("flags") or ()),
        rlimits=tuple((getattr(resource, one["type"]), one["soft"], one["hard"]) for one in process["rlimits"]),
        apparmor=process.get("apparmorProfile") or "",
        oom_score=process.get("oomScoreAdj") or 0,
        **masks,
    )


def _namespaces(listed: list[dict[str, str]]) -> int:
    """All that the container has of its own, or was given: those of its first process either way."""
    flags = 0
    for one in listed:
        if one["type"] not in inside.NAMESPACES:
            raise ReconcilerError(f"a probe can't enter a {one['type']} namespace", code="probe")
        flags |= inside.NAMESPACES[one["type"]]
    return flags


def mask_of(names: Iterable[str]) -> int:
    """A set of capabilities as the kernel has it; one that is not known here is left out, which is the safe side."""
    held = frozenset(names)
    return sum(1 << number for number, name in enumerate(KNOWN) if name in held)


def _filter(document: dict[str, Any]) -> bytes:
    """The system call filter in force; b"" only where the container has none."""
    oci = document["linux"].get("seccomp")
    if not oci:
        return b""
    encoded = (document.get("annotations") or {}).get("run.oci.seccomp_bpf_data", "")
    if encoded:
        return _filters.setdefault(encoded, base64.b64decode(encoded))
    if not seccomp.library_version():
        raise ReconcilerError(
            "a probe can't be confined as its container is: libseccomp is missing, which compiles the filter",
            code="probe",
            hint="install it: apt-get install libseccomp2, and start the container again",
        )
    try:  # the OCI runtime has compiled it itself: one with flags, or while libseccomp was missing
        return seccomp.compile_filter(oci)
    except OSError as error:
        raise ReconcilerError(
            f"a probe can't be confined as its container is: {error.strerror}", code="probe"
        ) from error


def _flags(names: Iterable[str]) -> int:
    flags = 0
    for name in names:
        if name not in inside.SECCOMP_FLAGS:
            raise ReconcilerError(f"a probe can't have a seccomp filter with the flag {quote(name)}", code="probe")
        flags |= inside.SECCOMP_FLAGS[name]
    return flags
