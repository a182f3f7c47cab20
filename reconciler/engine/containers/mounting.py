"""What a container mounts: its own mounts, those of others (volumes-from) and the volumes that its image declares.

Which volume goes where is decided in the transaction that makes the container; folders follow.
"""

from __future__ import annotations

import os
import stat
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
            found[m.target] = ResolvedMount(m.kind, m.source, m.target, read_only, m.nocopy, m.folder)
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
        folder = volumes.folder_of(connection, mount.source)
        folder = "" if folder == mount.source else folder
        return ResolvedMount(VOLUME, mount.source, target, mount.read_only, mount.nocopy, folder)
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
            volumes.make_folder(paths, mount.place)
        else:
            volumes.fill(paths, mount.place, root, mount.target)


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
        source = mount.source if mount.kind == BIND else paths.volume_data(mount.place)
        if not os.path.exists(source):
            what = "the host path" if mount.kind == BIND else f"the data of volume {mount.source}"
            raise ReconcilerError(
                f"{what} to be mounted at {mount.target} is not there: {source}",
                code="mount",
                hint="bring it back, or remove the container and create it anew",
            )
        binds.append(BindMount(source, mount.target, mount.read_only))
    return binds


_SYSTEM_FOLDERS = ("/dev", "/proc", "/sys")
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


def make_targets(mounts: Sequence[BindMount | TmpfsMount], root: Rooted) -> None:
    """Make what is missing in the image of the places that are mounted on, wherever links lead inside.

    OCI runtimes differ in which links to nothing they follow. What lies on another mount is left to them. Raises
    ReconcilerError where a file would be mounted over a folder or the other way round, or something is in the way.
    """
    for folder in _SYSTEM_FOLDERS:
        _check_system_folder(root, folder)
    others = [*_SYSTEM_FOLDERS, *(mount.target for mount in mounts)]
    for mount in mounts:
        is_folder = isinstance(mount, TmpfsMount) or os.path.isdir(mount.source)
        try:
            mode = root.stat(mount.target).st_mode
        except FileNotFoundError:
            if not any(mount.target.startswith(other + "/") for other in others):
                _make_target(mount, root, is_folder=is_folder)
            continue
        except OSError as error:
            raise _in_the_way(mount, error) from error
        if is_folder != stat.S_ISDIR(mode):
            kinds = ("a folder", "a file") if is_folder else ("a file", "a folder")
            source = "a tmpfs" if isinstance(mount, TmpfsMount) else mount.source
            raise ReconcilerError(
                f"{source} is {kinds[0]} and {mount.target} in the image is {kinds[1]}: it can't be mounted there",
                code=_kind(mount),
                hint="mount a file onto a file and a folder onto a folder",
            )


def _check_system_folder(root: Rooted, path: str) -> None:
    """Links there are nobody's honest wish: following /dev, runc 1.1 makes links and devices outside of the image."""
    try:
        mode = root.stat(path, follow=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        raise ReconcilerError(
            f"{path} in the image is {'a link' if stat.S_ISLNK(mode) else 'a file'}, not a folder",
            code="mount",
            hint="the kernel's own file systems are mounted there; use another image",
        )


def _make_target(mount: BindMount | TmpfsMount, root: Rooted, *, is_folder: bool) -> None:
    try:
        if is_folder:
            root.makedirs(mount.target)
        else:
            root.ensure_file(mount.target)
    except OSError as error:
        raise _in_the_way(mount, error) from error


def _in_the_way(mount: BindMount | TmpfsMount, error: OSError) -> ReconcilerError:
    return ReconcilerError(
        f"nothing can be mounted at {mount.target} in the container: {error.strerror}",
        code=_kind(mount),
        hint="the image has something else in the way, or links that lead in a circle",
    )


def _kind(mount: BindMount | TmpfsMount) -> str:
    return "tmpfs" if isinstance(mount, TmpfsMount) else "mount"
