"""The seccomp filter of a container: a profile, Docker's where none is given, resolved for its capabilities and compiled ahead.

The profile is in moby's conditional form (includes and excludes by capability, architecture and kernel). It becomes an
OCI `linux.seccomp` object (runtime-spec config-linux.md, Seccomp), which every runtime takes, and BPF, which crun takes
as it is (annotation `run.oci.seccomp_bpf_data`) and so saves 15 ms a start. Both are cached under all they depend on.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import threading
from typing import TYPE_CHECKING, Any

from reconciler.engine.kernel import files, seccomp
from reconciler.kits.digests import sha256
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection

_guard = threading.Lock()

_PROFILE = os.path.join(os.path.dirname(__file__), "profiles", "seccomp.json")
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
_UNCONDITIONAL_KEYS = ("names", "action", "args", "errnoRet")
_CACHED = "seccomp-"
_MOST_CACHED = 64
_FORM = 2
"""Of what is kept: raised when the same profile comes to something else."""


class Filter(Frozen):
    """`oci` goes into `linux.seccomp`, None for no filter; `bpf` is base64 of the compiled program, "" for none.

    Without `bpf` the OCI runtime compiles the filter itself.
    """

    oci: dict[str, Any] | None
    bpf: str


def filter_for(capabilities: tuple[str, ...], cache: str, custom: str = "") -> Filter:
    """The filter for a container with these capabilities, of Docker's profile or of a `custom` one (its JSON).

    `cache` is a folder of ours, made when absent. Raises ReconcilerError for a profile that libseccomp can't compile.
    """
    with _guard:  # of containers that are made at once, one looks for it
        return _filter_for(capabilities, cache, custom)


@functools.lru_cache(maxsize=16)
def _filter_for(capabilities: tuple[str, ...], cache: str, custom: str) -> Filter:
    machine, release = os.uname().machine, os.uname().release
    profile = custom.encode()
    if not custom:
        with open(_PROFILE, "rb") as file:
            profile = file.read()
    version = seccomp.library_version()
    key = json.dumps([_FORM, sorted(capabilities), machine, release, version, sha256(profile).hexdigest()])
    path = os.path.join(cache, f"{_CACHED}{sha256(key.encode()).hexdigest()[:24]}.json")
    try:
        with open(path, encoding="utf-8") as cached:
            found = json.load(cached)
        return Filter(found["oci"], found["bpf"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    oci = resolve(json.loads(profile), capabilities, machine, _kernel(release))
    bpf = _compiled(oci) if version else ""
    files.make_folders(cache)
    _forget_oldest(cache)
    files.replace_file(path, json.dumps({"oci": oci, "bpf": bpf}).encode(), durable=False)
    return Filter(oci, bpf)


def _compiled(oci: dict[str, Any]) -> str:
    """In base64; "" for what a ready program can't carry: its flags are for who loads it."""
    if oci.get("flags"):
        return ""
    try:
        return base64.b64encode(seccomp.compile_filter(oci)).decode()
    except OSError as error:
        raise ReconcilerError(
            f"the seccomp profile can't be compiled: {error.strerror}",
            code="seccomp",
            hint="correct the profile that `security_opt` names",
        ) from error


def _forget_oldest(cache: str) -> None:
    """Keep the folder small, however often a profile is edited."""
    names = [name for name in os.listdir(cache) if name.startswith(_CACHED)]
    if len(names) >= _MOST_CACHED:
        paths = sorted((os.path.join(cache, name) for name in names), key=os.path.getmtime)
        for path in paths[: len(names) - _MOST_CACHED + 1]:
            files.remove_file(path)


def resolve(
    profile: dict[str, Any], capabilities: Collection[str], machine: str, kernel: tuple[int, int]
) -> dict[str, Any]:
    """The OCI object that `profile` means for these capabilities on this architecture and kernel."""
    native = _NATIVE.get(machine, "")
    architectures = list(profile.get("architectures", ())) or ([native] if native else [])
    for entry in profile.get("archMap", ()):
        if entry["architecture"] == native:
            architectures += entry.get("subArchitectures") or []
    go_arch = _GO_ARCH.get(machine, machine)
    rules = []
    for rule in profile["syscalls"]:
        wanted = _holds(rule.get("includes") or {}, capabilities, go_arch, kernel, empty=True)
        if wanted and not _holds(rule.get("excludes") or {}, capabilities, go_arch, kernel, empty=False):
            rules.append({key: rule[key] for key in _UNCONDITIONAL_KEYS if rule.get(key) not in (None, [])})
    resolved: dict[str, Any] = {"defaultAction": profile["defaultAction"], "syscalls": rules}
    for key in ("defaultErrnoRet", "flags"):
        if key in profile:
            resolved[key] = profile[key]
    if architectures:
        resolved["architectures"] = architectures
    return resolved


def _holds(
    condition: dict[str, Any], capabilities: Collection[str], go_arch: str, kernel: tuple[int, int], *, empty: bool
) -> bool:
    """Includes hold when all of their parts do, excludes when any does; `empty` is the answer for no condition."""
    answers = []
    if caps := condition.get("caps"):
        found = [cap in capabilities for cap in caps]
        answers.append(all(found) if empty else any(found))
    if arches := condition.get("arches"):
        answers.append(go_arch in arches)
    if minimum := condition.get("minKernel"):
        answers.append(kernel >= _kernel(minimum))
    if not answers:
        return empty
    return all(answers) if empty else any(answers)


def _kernel(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    minor = "".join(c for c in rest.partition(".")[0].partition("-")[0] if c.isdigit())
    return int(major), int(minor or 0)
