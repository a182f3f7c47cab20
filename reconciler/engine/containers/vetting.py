"""OCI runtimes with a known way out of the container: told by version, by the distribution's build, or its changelog.

A version alone says too little: distributions mend old ones. Their build's name stands in `--version` (its commit
line), and what it mends in its package's changelog. For `runtime`, and for whoever tells a user about the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess  # noqa: TID251 - only its exceptions

from reconciler.engine.kernel import files, programs
from reconciler.kits.frozen import Frozen, as_document
from reconciler.kits.text import listed, printable

# Not compiled ahead: every start comes by here, and hardly one needs them.
_NUMBER = r"\d+"
_VERSION = r"version (\S+)"
_COMMIT = r"\ncommit: *(\S+)"
_FINAL = 10**6
"""In place of the number of a release candidate: what is no candidate is newer than all of them."""


class Weakness(Frozen):
    """A known flaw. `fixed` are the first versions without it, one a branch; `builds` are distributions' that mended it.

    `refused`: a hostile image is enough to get out. Others need more than that, and are only told.
    """

    name: str
    kind: str
    what: str
    fixed: tuple[str, ...]
    builds: tuple[str, ...] = ()
    refused: bool = True


KNOWN = (
    Weakness("CVE-2019-5736", "runc", "a container can overwrite it", ("1.0.0-rc7",)),
    Weakness(
        "CVE-2021-30465", "runc", "links swapped during a mount lead out", ("1.0.0-rc95",), ("1.0.0~rc93+ds1-5+deb11u",)
    ),
    Weakness(
        "CVE-2024-21626",
        "runc",
        "a descriptor of the host leaks into the container",
        ("1.1.12",),
        ("1.0.0~rc93+ds1-5+deb11u3", "1.0.0~rc93+ds1-5+deb11u4", "1.0.0~rc93+ds1-5+deb11u5", "1.1.5+ds1-1+deb12u"),
    ),
    Weakness(
        "CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881",
        "runc",
        "containers that are started together and share a mount can misdirect what is masked",
        ("1.2.8", "1.3.3", "1.4.0-rc.3"),
        refused=False,
    ),
    Weakness("CVE-2019-18837", "crun", "links in an image lead mounts out", ("0.10.5",)),
)


class Vetted(Frozen):
    """What is known of a program: its version as it says, and the names of its weaknesses."""

    version: str
    refused: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def weaknesses(kind: str, says: str, changelog: str = "") -> list[Weakness]:
    """What is known against a runtime that answers `--version` with `says`; `changelog` is its package's, if known.

    A version that can't be read is taken for a new one: somebody has built it themselves.
    """
    version = re.search(_VERSION, says)
    if not version:
        return []
    commit = re.search(_COMMIT, says)
    build = commit[1] if commit else ""
    # Only the changelog of this very build says what it mends.
    mended = changelog if build and f"({build})" in changelog.partition("\n")[0] else ""
    return [
        one
        for one in KNOWN
        if one.kind == kind
        and not _is_fixed(version[1], one.fixed)
        and not any(build.startswith(known) for known in one.builds)
        and not all(name in mended for name in re.findall(r"CVE-[\d-]+", one.name))
    ]


def _is_fixed(version: str, fixed: tuple[str, ...]) -> bool:
    """Whether a version is at least the first good one of its branch, or of a newer branch than all of them."""
    ours = _key(version)
    branches = sorted(_key(one) for one in fixed)
    for branch in branches:
        if ours[:2] == branch[:2]:
            return ours >= branch
    return ours >= branches[-1]


def _key(version: str) -> tuple[int, ...]:
    """For comparison: three numbers, and that of the release candidate. What a distribution adds after + is left out."""
    plain, _, candidate = version.partition("+")[0].replace("~", "-").partition("-rc")
    numbers = [int(number) for number in re.findall(_NUMBER, plain)[:3]]
    last = re.search(_NUMBER, candidate)
    return (*numbers, *[0] * (3 - len(numbers)), int(last[0]) if last else _FINAL)


def vet(program: str, kind: str, cache: str) -> Vetted:
    """What is known against the program, looked up again when its file changes. `cache` is a folder of ours."""
    facts = os.stat(program)
    key = [program, facts.st_ino, facts.st_size, facts.st_mtime_ns, len(KNOWN)]
    path = os.path.join(cache, f"runtime-{kind}.json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(path, encoding="utf-8") as file:
        known = json.load(file)
        if known["key"] == key:
            found = known["vetted"]
            return Vetted(found["version"], tuple(found["refused"]), tuple(found["told"]))
    vetted = _look(program, kind)
    files.make_folders(cache)
    files.replace_file(path, json.dumps({"key": key, "vetted": as_document(vetted)}).encode(), durable=False)
    return vetted


def _look(program: str, kind: str) -> Vetted:
    try:
        says = programs.run([program, "--version"], timeout=10.0).out
    except (OSError, subprocess.TimeoutExpired):
        says = ""
    found = weaknesses(kind, says, _changelog(kind))
    first = printable(says.partition("\n")[0])
    return Vetted(
        first,
        tuple(f"{one.name} ({one.what})" for one in found if one.refused),
        tuple(f"{one.name} ({one.what})" for one in found if not one.refused),
    )


def _changelog(package: str) -> str:
    import gzip  # noqa: PLC0415 - once for a build

    path = f"/usr/share/doc/{package}/changelog.Debian.gz"
    with contextlib.suppress(OSError, EOFError), gzip.open(path) as file:
        return file.read(1 << 20).decode("utf-8", "replace")
    return ""


def refusal(program: str, vetted: Vetted) -> tuple[str, str]:
    """Message and hint for a program that is not to be used."""
    return (
        f"{program} is not safe to run containers with: {listed(list(vetted.refused))}",
        "upgrade it, or install crun, which is preferred where both are: apt-get install crun",
    )
