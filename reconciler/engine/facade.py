"""The engine's one door: images, containers, volumes and the network of one pair of roots on this machine.

Opening it reads nothing and makes nothing but its two folders, and each room is loaded when it is entered first: who asks
what runs needs few of them. Safe to use from several threads, and several
processes may open the same roots at once. Errors are `kits.errors.ReconcilerError`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers.registry import Registry
from reconciler.engine.kernel import cgroups, files, roots
from reconciler.engine.paths import Paths
from reconciler.engine.store import Store
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.engine.containers.lifecycle import Lifecycle
    from reconciler.engine.containers.settle import Settling
    from reconciler.engine.images.catalog import Images
    from reconciler.engine.networks.network import Network
    from reconciler.engine.volumes.shelf import Shelf


class Engine:
    """`images`, `containers` (looking), `lifecycle` (changing them), `volumes` and `network` are its rooms."""

    def __init__(self, root: str = "", run: str = "") -> None:
        """Roots as in `Paths.of`; raises ReconcilerError when they can't be used."""
        self.paths = Paths.of(root, run)
        if os.geteuid() != 0:
            raise ReconcilerError(
                "the embedded engine needs root: it mounts, makes namespaces and sets firewall rules",
                code="not-root",
                hint="run it as root, or with sudo",
            )
        roots.claim((self.paths.root, self.paths.run))
        self.store = Store(self.paths)
        self.containers = Registry(self.paths, self.store)

    @functools.cached_property
    def images(self) -> Images:
        """What containers are made from."""
        from reconciler.engine.images.catalog import Images  # noqa: PLC0415

        return Images(self.store, self.paths)

    @functools.cached_property
    def network(self) -> Network:
        """What connects them."""
        from reconciler.engine.networks.network import Network  # noqa: PLC0415

        return Network(self.paths, self.store)

    @functools.cached_property
    def volumes(self) -> Shelf:
        """What keeps their data."""
        from reconciler.engine.volumes.shelf import Shelf  # noqa: PLC0415

        return Shelf(self.paths, self.store)

    @functools.cached_property
    def lifecycle(self) -> Lifecycle:
        """What changes containers."""
        from reconciler.engine.containers.lifecycle import Lifecycle  # noqa: PLC0415

        return Lifecycle(self.containers, self.images, self.network)

    @functools.cached_property
    def settling(self) -> Settling:
        """What happens after a container's end."""
        from reconciler.engine.containers.settle import Settling  # noqa: PLC0415

        return Settling(self.lifecycle)

    def tidy(self) -> None:
        """Have removed what only containers need (bridge, firewall table, top cgroup) once there are none.

        In the background: the kernel takes its time over a bridge, and nobody needs to wait for it.
        """
        self._sweep()
        if self.network.retire():
            from reconciler.engine.containers import helpers  # noqa: PLC0415 - only when there is work

            helpers.start(self.paths, "tidy")

    def _sweep(self) -> None:
        """Remove locks and verdicts of containers that are gone: who removed them may have been killed just before that."""
        found = []
        for folder in (self.paths.locks, self.paths.health):
            with contextlib.suppress(FileNotFoundError):
                found += [(folder, name) for name in os.listdir(folder) if _is_id(name)]
        known = {record.id for record in self.containers.every()}  # after the look: who is written down comes first
        for folder, name in found:
            if name not in known:
                files.remove_file(os.path.join(folder, name))

    def leave(self) -> None:
        """What a process that has lived in the group of the monitors does at its end: the last one takes all along.

        `tidy` may have waited for it in vain.
        """
        cgroups.enter("", os.getpid())
        if self.network.retire() or self.containers.none_left():
            self.remove_leftovers()

    def remove_leftovers(self) -> None:
        """What `tidy` has a process do."""
        self.network.teardown()
        end = time.monotonic() + 5.0  # a monitor may just be ending
        while self.containers.none_left() and time.monotonic() < end:
            if not cgroups.remove_empty(self.paths.monitors, self.paths.cgroup):
                return
            time.sleep(0.05)


def _is_id(name: str) -> bool:
    """Whether a file is called after a container."""
    return len(name) == 64 and not name.strip("0123456789abcdef")
