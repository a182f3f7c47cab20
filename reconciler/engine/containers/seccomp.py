"""The seccomp filter of a container: Docker's profile, resolved for its capabilities, and compiled ahead.

The profile is in moby's conditional form (includes and excludes by capability, architecture and kernel). It becomes an
OCI `linux.seccomp` object (runtime-spec config-linux.md, Seccomp), which every runtime takes, and BPF, which crun takes
as it is (annotation `run.oci.seccomp_bpf_data`) and so saves 15 ms a start. Both are cached under all they depend on.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

from reconciler.engine.kernel import files, seccomp
from reconciler.kits.digests import sha256
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection

_PROFILE = os.path.join(os.path.dirname(__file__), "profiles", "seccomp.json")
_NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
_UNCONDITIONAL_KEYS = ("names", "action", "args", "errnoRet")


class Filter(Frozen):
    """`oci` goes into `linux.seccomp`; `bpf` is base64 of the compiled program, "" where it can't be compiled here."""

    oci: dict[str, Any]
    bpf: str


def filter_for(capabilities: Collection[str], cache: str) -> Filter:
    """The filter for a container with these capabilities; `cache` is a folder of ours, made when absent."""
    machine, release = os.uname().machine, os.uname().release
    with open(_PROFILE, "rb") as file:
        profile = file.read()
    version = seccomp.library_version()
    key = json.dumps([sorted(capabilities), machine, release, version, sha256(profile).hexdigest()])
    path = os.path.join(cache, f"seccomp-{sha256(key.encode()).hexdigest()[:24]}.json")
    try:
        with open(path, encoding="utf-8") as cached:
            found = json.load(cached)
        return Filter(found["oci"], found["bpf"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    oci = resolve(json.loads(profile), capabilities, machine, _kernel(release))
    bpf = base64.b64encode(seccomp.compile_filter(oci)).decode() if version else ""
    files.make_folders(cache)
    files.replace_file(path, json.dumps({"oci": oci, "bpf": bpf}).encode(), durable=False)
    return Filter(oci, bpf)


def resolve(
    profile: dict[str, Any], capabilities: Collection[str], machine: str, kernel: tuple[int, int]
) -> dict[str, Any]:
    """The OCI object that `profile` means for these capabilities on this architecture and kernel."""
    native = _NATIVE.get(machine, "")
    architectures = [native] if native else []
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
    if "defaultErrnoRet" in profile:
        resolved["defaultErrnoRet"] = profile["defaultErrnoRet"]
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
