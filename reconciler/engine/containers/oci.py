"""The OCI runtime configuration of a container, as Docker would make it (runtime-spec config.md, config-linux.md).

A function of what it is given; it changes nothing. Limits come from `resources`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.engine.containers.seccomp import Filter
    from reconciler.engine.containers.users import User

CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""Docker's default set: 00000000a80425fb."""

MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

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

_DEVICES: tuple[dict[str, Any], ...] = (
    {"allow": False, "access": "rwm"},
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2))
    ),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},  # every pseudo terminal
)


class BindMount(Frozen):
    """`source` on the host appears at `target` inside."""

    source: str
    target: str
    read_only: bool = False


class Process(Frozen):
    """What runs inside: environment as NAME=VALUE, `working_dir` absolute, `rlimits` as in `resources`."""

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    working_dir: str
    user: User
    rlimits: Sequence[dict[str, Any]]
    oom_score: int = 0
    terminal: bool = False

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
            "capabilities": {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": False,
            "oomScoreAdj": self.oom_score,
        }


def configuration(
    process: Process,
    *,
    rootfs: str,
    hostname: str,
    cgroup: str,
    private_cgroups: bool,
    mounts: Sequence[BindMount],
    seccomp: Filter,
    limits: dict[str, Any],
    sysctls: dict[str, str],
    shm_size: int,
) -> dict[str, Any]:
    """The whole config.json. `cgroup` is absolute inside each hierarchy; mounts are made in the order of depth.

    `limits` is the part of `linux.resources` that limits something, `shm_size` the size of /dev/shm in bytes.
    """
    namespaces = ["pid", "network", "ipc", "uts", "mount", *(["cgroup"] if private_cgroups else [])]
    ordered = sorted(mounts, key=lambda m: m.target.count("/"))
    return {
        "ociVersion": "1.0.2",
        "process": process.document(),
        "root": {"path": rootfs, "readonly": False},
        "hostname": hostname,
        "mounts": [*_SYSTEM_MOUNTS, _shared_memory(shm_size), *(_bind(m) for m in ordered)],
        "annotations": {"run.oci.seccomp_bpf_data": seccomp.bpf} if seccomp.bpf else {},
        "linux": {
            "namespaces": [{"type": kind} for kind in namespaces],
            "cgroupsPath": cgroup,
            "resources": {"devices": list(_DEVICES), **limits},
            "sysctl": sysctls,
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
            "seccomp": seccomp.oci,
        },
    }


def _shared_memory(size: int) -> dict[str, Any]:
    options = [*_SAFE, "mode=1777", f"size={size}"]
    return {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": options}  # noqa: S108 - inside


def _bind(mount: BindMount) -> dict[str, Any]:
    options = ["rbind", "rprivate", "ro" if mount.read_only else "rw"]
    return {"destination": mount.target, "type": "bind", "source": mount.source, "options": options}
