"""What a container mounts: its own mounts, those of others (volumes-from) and the volumes that its image declares.

Which volume goes where is decided in the transaction that makes the container; folders follow.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reconciler.engine.containers import catalog
from reconciler.engine.containers.catalog import ResolvedMount
from reconciler.engine.containers.oci import BindMount, TmpfsMount
from reconciler.engine.kernel import files
from reconciler.engine.volumes import volumes
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from reconciler.engine.kernel.rooted import Rooted
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ContainerConfig, ImageConfig, MountConfig

VOLUME = "volume"
ANONYMOUS = "anonymous"
BIND = "bind"


def resolve(
    connection: sqlite3.Connection, config: ContainerConfig, image: ImageConfig, now: float
) -> tuple[ResolvedMount, ...]:
    """All mounts by target; volumes that are missing get their rows.

    An own mount wins over one from elsewhere, of those the last, and any over one of the image; so does a tmpfs. An anonymous volume is
    the one that the owner's container before had at this target, if there was one. Raises ReconcilerError for a
    volumes-from source that is not there, and for a target that can't be mounted on.
    """
    found: dict[str, ResolvedMount] = {}
    in_memory = {_checked(tmpfs.target, config.name, "tmpfs") for tmpfs in config.tmpfs}
    earlier = volumes.anonymous_of(connection, config.owner)
    for inherited in config.volumes_from:
        source = catalog.by_name(connection, inherited.source)
        if source is None:
            raise ReconcilerError(
                f"container {config.name} takes its volumes from {inherited.source}, and there is no such container",
                code="volumes-from",
                hint=f"create {inherited.source} first",
            )
        for m in source.mounts:
            read_only = m.read_only or inherited.read_only
            if m.target in in_memory:
                continue
            found[m.target] = ResolvedMount(m.kind, m.source, m.target, read_only, m.nocopy)
    for mount in config.mounts:
        target = _checked(mount.target, config.name)
        if target in in_memory:
            raise ReconcilerError(
                f"container {config.name} has both a volume and a tmpfs at {target}",
                code="tmpfs",
                hint="take one of them out",
            )
        found[target] = _own(connection, config.owner, mount, target, earlier, now)
    for declared in image.volumes:
        target = _checked(declared, f"{config.name}'s image {config.image}")
        if target not in found and target not in in_memory:
            found[target] = _anonymous(connection, config.owner, target, earlier, now)
    return tuple(found[target] for target in sorted(found))


def _normal(target: str) -> str:
    """An absolute path without a doubled or trailing slash; normpath(3) alone keeps two at the beginning."""
    return os.path.normpath("/" + target.lstrip("/"))


def _checked(target: str, whose: str, kind: str = "volume") -> str:
    """The target, normal; ReconcilerError where the container's own system file systems are, or its root."""
    normal = _normal(target)
    if normal in ("/", "/dev") or normal.startswith(("/proc/", "/sys/")) or normal in ("/proc", "/sys"):
        raise ReconcilerError(
            f"{whose} wants a {kind} at {target}: nothing can be mounted at /, at /dev, nor at or below /proc and /sys",
            code="mount" if kind == "volume" else kind,
            hint="choose another target",
        )
    return normal


def _own(
    connection: sqlite3.Connection,
    owner: str,
    mount: MountConfig,
    target: str,
    earlier: dict[str, str],
    now: float,
) -> ResolvedMount:
    if mount.kind == BIND:
        return ResolvedMount(BIND, mount.source, target, mount.read_only)
    if mount.kind == VOLUME:
        volumes.ensure(connection, mount.source, now, owner=owner.partition("/")[0])
        return ResolvedMount(VOLUME, mount.source, target, mount.read_only, mount.nocopy)
    if mount.source and volumes.get(connection, mount.source):
        return ResolvedMount(ANONYMOUS, mount.source, target, mount.read_only, mount.nocopy)
    made = _anonymous(connection, owner, target, earlier, now)
    return ResolvedMount(ANONYMOUS, made.source, target, mount.read_only, mount.nocopy)


def _anonymous(
    connection: sqlite3.Connection, owner: str, target: str, earlier: dict[str, str], now: float
) -> ResolvedMount:
    name = earlier.get(target)
    if name is None:
        name = volumes.random_name()
        volumes.ensure(connection, name, now, anonymous=True, owner=owner, target=target)
    return ResolvedMount(ANONYMOUS, name, target)


def furnish(paths: Paths, mounts: tuple[ResolvedMount, ...], root: Rooted | None) -> None:
    """Make the folders behind the mounts that are missing, and fill empty volumes from the image's `root` if given."""
    for mount in mounts:
        if mount.kind == BIND:
            _make_host_folder(mount.source)
        elif mount.nocopy or root is None:
            volumes.make_folder(paths, mount.source)
        else:
            volumes.fill(paths, mount.source, root, mount.target)


def _make_host_folder(path: str) -> None:
    """Readable for everybody, as Docker's are, whatever the caller's umask."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            files.mkdir(folder, 0o755)
            files.chmod(folder, 0o755)
        except FileExistsError:
            continue  # somebody else made it in this moment
        except OSError as error:
            raise ReconcilerError(
                f"the host folder {missing[0]} can't be made: {error.strerror}",
                code="mount",
                hint="make it yourself, or correct the mount's source",
            ) from error


def bind_mounts(paths: Paths, mounts: tuple[ResolvedMount, ...]) -> list[BindMount]:
    """The mounts as host paths; raises ReconcilerError where a source is gone or is of the wrong type for its target."""
    binds = []
    for mount in mounts:
        source = mount.source if mount.kind == BIND else paths.volume_data(mount.source)
        if not os.path.exists(source):
            what = "the host path" if mount.kind == BIND else f"the data of volume {mount.source}"
            raise ReconcilerError(
                f"{what} to be mounted at {mount.target} is not there: {source}",
                code="mount",
                hint="bring it back, or remove the container and create it anew",
            )
        binds.append(BindMount(source, mount.target, mount.read_only))
    return binds


_SAFE = ("nosuid", "nodev", "noexec")
_PAIRS = (("rw", "ro"), ("suid", "nosuid"), ("dev", "nodev"), ("exec", "noexec"))


def tmpfs_mounts(config: ContainerConfig, root: Rooted) -> list[TmpfsMount]:
    """The file systems in memory, with Docker's options where none are said: `nosuid,nodev,noexec`.

    One has the mode of the image's folder that it covers, else 1777, so that every OCI runtime makes it alike.
    """
    found = []
    for tmpfs in config.tmpfs:
        options: dict[str, str] = {}
        for option in (*_SAFE, *tmpfs.options):
            options[_slot(option)] = option
        if "mode" not in options:
            options["mode"] = f"mode={_mode_of(root, tmpfs.target):o}"
        found.append(TmpfsMount(_normal(tmpfs.target), tuple(options.values())))
    return found


def _slot(option: str) -> str:
    """What an option is about: a later one of the same wins."""
    return next((pair[1] for pair in _PAIRS if option in pair), option.partition("=")[0])


def _mode_of(root: Rooted, path: str) -> int:
    try:
        return root.stat(path).st_mode & 0o7777
    except OSError:
        return 0o1777


def check_kinds(mounts: Sequence[BindMount | TmpfsMount], root: Rooted) -> None:
    """Raise ReconcilerError where a file would be mounted over a folder of the image or the other way round."""
    for mount in mounts:
        try:
            target_is_folder = (root.stat(mount.target).st_mode & 0o170000) == 0o040000
        except OSError:
            continue
        if isinstance(mount, TmpfsMount):
            source, is_folder = "a tmpfs", True
        else:
            source, is_folder = mount.source, os.path.isdir(mount.source)
        if is_folder != target_is_folder:
            kinds = ("a file", "a folder") if target_is_folder else ("a folder", "a file")
            raise ReconcilerError(
                f"{source} is {kinds[0]} and {mount.target} in the image is {kinds[1]}: it can't be mounted there",
                code="tmpfs" if isinstance(mount, TmpfsMount) else "mount",
                hint="mount a file onto a file and a folder onto a folder",
            )
