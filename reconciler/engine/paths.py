"""Where the engine keeps things: the only place that knows the layout of the two roots.

    ROOT/store.db                 records
    ROOT/content/sha256/HEX       image configurations and manifests, by digest
    ROOT/layers/SHORT/            unpacked layers; SHORT is a short name, so that 127 of them fit into one mount
    ROOT/tarsplit/SHORT           what a layer's tar had beside its files' content, so that it can be written again
    ROOT/containers/ID/           upper, work (the writable layer) and log
    ROOT/volumes/NAME/_data       a volume's data
    ROOT/cache/                   what can be made again: compiled seccomp filters, what is known of crun and runc
    ROOT/staging/                 what is being unpacked; swept when nobody works there
    ROOT/downloads/HEX            a layer as a registry sends it, while a pull is not done; whole or its first part
    RUN/containers/ID/            the bundle: config.json, rootfs (mount point), names, attach, ctl, pidfile, ...
    RUN/containers/ID/names/      hosts, hostname, resolv.conf: on a small file system of their own
    RUN/exits/ID                  exit codes, written by the monitor
    RUN/health/ID                 what health checks have found
    RUN/runtime/                  the OCI runtime's own state
    RUN/locks/                    flock files

ROOT survives a reboot; RUN is on a tmpfs and does not. Both are 0700. Two pairs of roots never share a name on the
machine: `tag` is part of the bridge's, table's and cgroup's names.
"""

from __future__ import annotations

import os

from reconciler.kits.digests import sha256
from reconciler.kits.frozen import Frozen
from reconciler.kits.roots import DEFAULT_ROOT, DEFAULT_RUN, root_folder, run_folder


class Paths(Frozen):
    """The two roots, absolute and without links."""

    root: str
    run: str

    @classmethod
    def of(cls, root: str = "", run: str = "") -> Paths:
        """From the arguments, else RECONCILER_ROOT and RECONCILER_RUN, else the defaults."""
        return cls(
            os.path.realpath(root) if root else root_folder(),
            os.path.realpath(run) if run else run_folder(),
        )

    @property
    def tag(self) -> str:
        """Six characters that tell this pair of roots from others; "" for the default pair."""
        if (self.root, self.run) == (DEFAULT_ROOT, DEFAULT_RUN):
            return ""
        return sha256(f"{self.root}\0{self.run}".encode()).hexdigest()[:6]

    @property
    def bridge(self) -> str:
        """15 characters at most (IFNAMSIZ)."""
        return f"rcl-{self.tag}" if self.tag else "reconciler0"

    @property
    def table(self) -> str:
        return f"reconciler_{self.tag}" if self.tag else "reconciler"

    @property
    def cgroup(self) -> str:
        """Top cgroup of all containers and monitors of these roots, relative to each hierarchy."""
        return f"reconciler-{self.tag}" if self.tag else "reconciler"

    @property
    def monitors(self) -> str:
        """The cgroup of what is beside containers: their monitors, the keeper, the prober."""
        return f"{self.cgroup}/monitors"

    def group(self, container_id: str) -> str:
        """A container's cgroup, relative to each hierarchy as `cgroup` is."""
        return f"{self.cgroup}/{container_id}"

    @property
    def store(self) -> str:
        return os.path.join(self.root, "store.db")

    @property
    def layers(self) -> str:
        return os.path.join(self.root, "layers")

    @property
    def tarsplit(self) -> str:
        return os.path.join(self.root, "tarsplit")

    @property
    def content(self) -> str:
        return os.path.join(self.root, "content", "sha256")

    @property
    def cache(self) -> str:
        """What can be made again: compiled filters, what is known of programs."""
        return os.path.join(self.root, "cache")

    @property
    def staging(self) -> str:
        return os.path.join(self.root, "staging")

    @property
    def downloads(self) -> str:
        return os.path.join(self.root, "downloads")

    @property
    def images_lock(self) -> str:
        """Held shared by whoever works on images, alone by who sweeps what no image needs."""
        return os.path.join(self.root, "images.lock")

    @property
    def volumes(self) -> str:
        return os.path.join(self.root, "volumes")

    @property
    def exits(self) -> str:
        return os.path.join(self.run, "exits")

    @property
    def health(self) -> str:
        return os.path.join(self.run, "health")

    @property
    def runtime(self) -> str:
        return os.path.join(self.run, "runtime")

    @property
    def locks(self) -> str:
        return os.path.join(self.run, "locks")

    @property
    def keeper_lock(self) -> str:
        """Held by the one process that looks after restarts and logs, for as long as it lives."""
        return os.path.join(self.locks, "keeper")

    @property
    def prober_lock(self) -> str:
        """Held by the one process that runs health checks, for as long as it lives."""
        return os.path.join(self.locks, "prober")

    def container(self, container_id: str) -> str:
        """The folder that outlives a reboot: writable layer and log."""
        return os.path.join(self.root, "containers", container_id)

    def log(self, container_id: str) -> str:
        """The log file that is being written to; older ones lie beside it as log.1, log.2 ..."""
        return os.path.join(self.container(container_id), "log")

    def bundle(self, container_id: str) -> str:
        """The volatile folder: OCI bundle, monitor's files, names."""
        return os.path.join(self.run, "containers", container_id)

    def names(self, container_id: str) -> str:
        """Where the files lie by which the container knows names."""
        return os.path.join(self.bundle(container_id), "names")

    def volume_data(self, name: str) -> str:
        return os.path.join(self.volumes, name, "_data")
