"""`system info`: what this installation is made of and where it is, for a bug report."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

from reconciler.engine.containers import apparmor, statistics
from reconciler.engine.containers.runtime import find_oci_runtime, find_program
from reconciler.engine.kernel import cgroups, programs, seccomp, sysctl
from reconciler.engine.records import SecurityConfig

if TYPE_CHECKING:
    from reconciler.engine.facade import Engine


def document(engine: Engine) -> dict[str, Any]:
    """Facts by name; a fact is a text, a number or such a document again. "" = not there."""
    system = os.uname()
    states = [engine.containers.status(record).state for record in engine.containers.every()]
    kind, runtime = find_oci_runtime()
    subnet = engine.network.subnet()
    return {
        "machine": {
            "name": system.nodename,
            "system": _system(),
            "kernel": f"{system.release} {system.machine}",
            "processors": os.cpu_count() or 0,
            "memory": statistics.machine_memory(),
        },
        "programs": {
            kind or "crun": _version(runtime),
            "conmon": _version(find_program("conmon")),
            "nft": _version(find_program("nft")),
            "libseccomp": seccomp.library_version(),
            "sqlite": sqlite3.sqlite_version,
        },
        "isolation": {
            "cgroups": cgroups.form(),
            "seccomp": "on" if sysctl.read("kernel/seccomp/actions_avail") else "",
            "apparmor": apparmor.profile_of(SecurityConfig()),
        },
        "places": {"root": engine.paths.root, "run": engine.paths.run, "storage": "overlay"},
        "network": {"bridge": engine.paths.bridge, "subnet": str(subnet or ""), "table": engine.paths.table},
        "containers": {state: states.count(state) for state in sorted(set(states))},
        "images": len({listed.image.id for listed in engine.images.list()}),
        "volumes": len(engine.volumes.every()),
    }


def _system() -> str:
    """The distribution's own name for itself (os-release(5))."""
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            named = [line.partition("=")[2].strip().strip("\"'") for line in file if line.startswith("PRETTY_NAME=")]
    except OSError:
        return ""
    return named[0] if named else ""


def _version(program: str) -> str:
    """The first number in what a program says of its version, "" where it is not installed."""
    if not program:
        return ""
    try:
        said = programs.run([program, "--version"], timeout=10.0).out.split()
    except OSError:
        return ""
    return next((word.lstrip("v") for word in said if word.lstrip("v")[:1].isdigit()), "?")
