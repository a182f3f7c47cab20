"""The OCI runtime configuration of a container, as Docker would make it (runtime-spec config.md, config-linux.md).

A function of what it is given; it changes nothing. Limits come from `resources`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.engine.containers.confinement import Privileges
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.engine.containers.confinement import Confinement
    from reconciler.engine.containers.users import User

_SAFE = ["nosuid", "noexec", "nodev"]
_SYSTEM_MOUNTS: tuple[dict[str, Any], ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc", "options": _SAFE},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_SAFE, "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*_SAFE, "relatime", "ro"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _SAFE},
)


class BindMount(Frozen):
    """`source` on the host appears at `target` inside."""

    source: str
    target: str
    read_only: bool = False

    def document(self) -> dict[str, Any]:
        """The entry of `mounts`."""
        options = ["rbind", "rprivate", "ro" if self.read_only else "rw"]
        return {"destination": self.target, "type": "bind", "source": self.source, "options": options}


class TmpfsMount(Frozen):
    """A file system in memory at `target` inside; `options` as in mount(8)."""

    target: str
    options: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The entry of `mounts`."""
        return {"destination": self.target, "type": "tmpfs", "source": "tmpfs", "options": list(self.options)}


class Process(Frozen):
    """What runs inside: environment as NAME=VALUE, `working_dir` absolute, `rlimits` as in `resources`."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    working_dir: str
    user: User
    rlimits: Sequence[dict[str, Any]]
    oom_score: int = 0
    terminal: bool = False
    privileges: Privileges = Privileges()

    def document(self) -> dict[str, Any]:
        """The `process` object."""
        return {
            "terminal": self.terminal,
            "user": {
                "uid": self.user.uid,
                "gid": self.user.gid,
                "additionalGids": list(self.user.groups),
                "umask": 0o022,
            },
            "args": list(self.arguments),
            "env": list(self.environment),
            "cwd": self.working_dir,
            "rlimits": list(self.rlimits),
            "capabilities": {
                kind: list(self.privileges.capabilities) for kind in ("bounding", "effective", "permitted")
            },
            "noNewPrivileges": self.privileges.no_new_privileges,
            "oomScoreAdj": self.oom_score,
            **({"apparmorProfile": self.privileges.apparmor} if self.privileges.apparmor else {}),
        }


def configuration(
    process: Process,
    *,
    rootfs: str,
    hostname: str,
    cgroup: str,
    private_cgroups: bool,
    mounts: Sequence[BindMount | TmpfsMount],
    confinement: Confinement,
    limits: dict[str, Any],
    sysctls: dict[str, str],
    shm_size: int,
) -> dict[str, Any]:
    """The whole config.json. `cgroup` is absolute inside each hierarchy; mounts are made in the order of depth.

    `limits` is the part of `linux.resources` that limits something, `shm_size` the size of /dev/shm in bytes.
    """
    namespaces = ["pid", "network", "ipc", "uts", "mount", *(["cgroup"] if private_cgroups else [])]
    ordered = sorted(mounts, key=lambda m: m.target.count("/"))
    seccomp = confinement.seccomp
    return {
        "ociVersion": "1.0.2",
        "process": process.document(),
        "root": {"path": rootfs, "readonly": confinement.read_only},
        "hostname": hostname,
        "mounts": [
            *_system_mounts(ordered, shm_size, writable=confinement.system_writable),
            *(m.document() for m in ordered),
        ],
        "annotations": {"run.oci.seccomp_bpf_data": seccomp.bpf} if seccomp.bpf else {},
        "linux": {
            "namespaces": [{"type": kind} for kind in namespaces],
            "cgroupsPath": cgroup,
            "resources": {"devices": list(confinement.rules), **limits},
            "sysctl": sysctls,
            "devices": list(confinement.nodes),
            "maskedPaths": list(confinement.masked),
            "readonlyPaths": list(confinement.unwritable),
            **({"seccomp": seccomp.oci} if seccomp.oci else {}),
        },
    }


def _system_mounts(mounts: Sequence[BindMount | TmpfsMount], shm_size: int, *, writable: bool) -> list[dict[str, Any]]:
    """Those that every container has, but where `mounts` has one; `writable`: also /sys and the cgroups."""
    taken = {mount.target for mount in mounts}
    every = (*_SYSTEM_MOUNTS, _shared_memory(shm_size))
    found = [mount for mount in every if mount["destination"] not in taken]
    if not writable:
        return found
    return [{**mount, "options": [option for option in mount["options"] if option != "ro"]} for mount in found]


def _shared_memory(size: int) -> dict[str, Any]:
    options = [*_SAFE, "mode=1777", f"size={size}"]
    return {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": options}  # noqa: S108 - inside
