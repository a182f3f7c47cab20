"""The bundle: all that the OCI runtime needs of a container, made afresh for every start from record and image.

Lies under RUN, so nothing of it survives a reboot. Makes and removes; does not start anything.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from reconciler.engine.containers import apparmor, confinement, effective, monitor, mounting, oci, resources, users
from reconciler.engine.containers.oci import BindMount, Process
from reconciler.engine.containers.runtime import INIT, need_init
from reconciler.engine.kernel import cgroups, files, mounts, processes
from reconciler.engine.kernel.rooted import lookup_executable, open_root
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.oci import TmpfsMount
    from reconciler.engine.containers.users import User
    from reconciler.engine.kernel.rooted import Rooted
    from reconciler.engine.paths import Paths
    from reconciler.engine.records import ImageConfig

SETTLE_MARK = "settle"
"""A file in the bundle that tells the exit hook that there is something to do."""

_MOST_LINKS = 40
"""As many as Linux follows (path_resolution(7))."""

_NETWORK_FILES = ("hosts", "hostname", "resolv.conf")
_ROOM_FOR_NAMES = 256 << 10
"""Bytes that they may grow by: hosts files that a container writes itself are smaller."""
_MOST_NAMES = 8
"""Files and folders on their file system."""


class NetworkFiles(Frozen):
    """Contents of /etc/hosts, /etc/hostname and /etc/resolv.conf."""

    hosts: bytes
    hostname: bytes
    resolv: bytes


def root_folder(paths: Paths, container_id: str) -> str:
    """Where the container's root file system is mounted."""
    return os.path.join(paths.bundle(container_id), "rootfs")


def mount_root(paths: Paths, container_id: str, image: ImageConfig) -> str:
    """Have the container's root file system mounted; returns the mount point. Mounting twice is left out."""
    target = root_folder(paths, container_id)
    if not os.path.ismount(target):
        files.make_folders(target, 0o755)
        mount_layers(paths, container_id, image, target)
    return target


def mount_layers(paths: Paths, container_id: str, image: ImageConfig, target: str) -> None:
    """Mount the image's layers at `target`, below the container's own, which is made when it is missing."""
    keep = paths.container(container_id)
    for name, mode in (("upper", 0o755), ("work", 0o700)):
        folder = os.path.join(keep, name)
        if not os.path.isdir(folder):
            files.make_folders(folder, mode)
            files.chmod(folder, mode)
    try:
        mounts.mount_overlay(
            paths.layers, image.layers, os.path.join(keep, "upper"), os.path.join(keep, "work"), target
        )
    except OSError as error:
        raise ReconcilerError(
            f"the image's {len(image.layers)} layers can't be mounted for container {container_id[:12]}: {error.strerror}",
            code="overlay",
            hint="`dmesg` says more; overlayfs must be available, and RECONCILER_ROOT not lie on an overlay itself",
        ) from error


def user_of(root: Rooted, spec: str, groups: Sequence[str] = ()) -> User:
    """The user, with further `groups`, looked up in the image's own files. Raises ReconcilerError."""
    return users.resolve(spec, _text(root, "/etc/passwd"), _text(root, "/etc/group"), groups)


def _text(root: Rooted, path: str) -> str:
    try:
        return root.read_file(path, 8 << 20).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        # OCI runtimes read them as well, and would wait at a fifo for ever.
        raise ReconcilerError(
            f"{path} in the container can't be read: {error.strerror}",
            code="user",
            hint="it must be a file, or not be there",
        ) from error


def write(paths: Paths, record: Record, image: ImageConfig, links: Sequence[str], network: NetworkFiles) -> None:
    """Write config.json and the files it mounts; the root file system is mounted already.

    Raises ReconcilerError for a user, a working folder, a command or a mount that the image can't take.
    """
    config, bundle = record.config, paths.bundle(record.id)
    privileges = confinement.privileges_of(config.security, apparmor.ready_profile(config.security))
    with open_root(root_folder(paths, record.id)) as root:
        user = user_of(root, config.user or image.user, config.groups)
        working_dir = config.working_dir or image.working_dir or "/"
        mounted: list[BindMount | TmpfsMount] = [
            *mounting.bind_mounts(paths, record.mounts),
            *mounting.tmpfs_mounts(config, root),
        ]
        names = _write_names(paths.names(record.id), network, read_only=config.security.read_only)
        mounting.make_targets([*mounted, *names], root)
        _make_working_dir(root, working_dir, mounted)
        process = Process(
            effective.arguments_of(config, image),
            effective.environment_of(record, image, links, user.home, config.terminal),
            working_dir,
            user,
            resources.oci_rlimits(config.ulimits),
            processes.lowest_oom_score(config.oom_score),
            config.terminal,
            privileges,
        )
        _check_command(root, process, mounted, record)
    if config.init:
        mounted.append(BindMount(need_init(), INIT, read_only=True))
        process = replace(process, arguments=(INIT, "--", *process.arguments))
    mounted += names
    document = oci.configuration(
        process,
        rootfs=root_folder(paths, record.id),
        hostname=effective.full_hostname_of(record),
        cgroup=f"/{paths.group(record.id)}",
        private_cgroups=cgroups.form() == "v2",
        mounts=mounted,
        confinement=confinement.of(config.security, privileges.capabilities, paths.cache),
        limits=resources.oci_resources(config.resources, swap_counted=cgroups.counts_swap(), v2=cgroups.form() == "v2"),
        sysctls=resources.oci_sysctls(config),
        shm_size=config.shm_size or resources.SHM_SIZE,
    )
    files.write_file(os.path.join(bundle, "config.json"), json.dumps(document, separators=(",", ":")).encode())


def _write_names(folder: str, network: NetworkFiles, *, read_only: bool) -> list[BindMount]:
    """Write the files on a small file system of their own: a container may write to them, but not fill ours."""
    contents = (network.hosts, network.hostname, network.resolv)
    if not os.path.ismount(folder):
        files.make_folders(folder)
        mounts.mount_tmpfs(folder, _ROOM_FOR_NAMES + 2 * sum(map(len, contents)), _MOST_NAMES)
    binds = []
    for name, data in zip(_NETWORK_FILES, contents, strict=True):
        path = os.path.join(folder, name)
        files.write_file(path, data, 0o644)
        files.chmod(path, 0o644)  # for every user inside, whatever the caller's umask
        binds.append(BindMount(path, f"/etc/{name}", read_only))
    return binds


def _make_working_dir(root: Rooted, path: str, mounted: Sequence[BindMount | TmpfsMount]) -> None:
    if any(step == "/proc" or _is_below(step, "/proc") for step in _steps(root, path)):
        # Through its /proc/self/fd an OCI runtime could be made to start in a folder of the host (CVE-2024-21626).
        raise ReconcilerError(
            f"the working folder {path} leads into /proc, where a container can't begin",
            code="working-dir",
            hint="choose another `working_dir`",
        )
    if any(_is_below(path, mount.target) for mount in mounted):
        return  # on a mount: the runtime makes it there
    try:
        root.makedirs(path)
    except OSError as error:
        raise ReconcilerError(
            f"the working folder {path} can't be made in the container: {error.strerror}",
            code="working-dir",
            hint="something else is in the way; choose another `working_dir`",
        ) from error


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _check_command(root: Rooted, process: Process, mounted: Sequence[BindMount | TmpfsMount], record: Record) -> None:
    """Say before anything runs that the command is not there; what lies on a mount only the runtime can tell."""
    name = process.arguments[0]
    search = next((pair[5:] for pair in process.environment if pair.startswith("PATH=")), effective.DEFAULT_PATH)
    candidates = (
        [os.path.join(folder or process.working_dir, name) for folder in search.split(":")]
        if "/" not in name
        else [os.path.join(process.working_dir, name)]
    )
    targets = {_steps(root, mount.target)[-1] for mount in mounted}
    if any(not targets.isdisjoint(_steps(root, candidate)) for candidate in candidates):
        return
    image = record.config.image
    try:
        found = lookup_executable(root, search, name, process.working_dir)
    except PermissionError as error:
        raise ReconcilerError(
            f'container {record.name} can\'t run "{name}": in image {image} it is not an executable file',
            code="not-executable",
            hint="correct `command` or `entrypoint`",
        ) from error
    if found is None:
        where = f"nothing of that name in PATH ({search})" if "/" not in name else "there is no such file"
        raise ReconcilerError(
            f'container {record.name} can\'t run "{name}": in image {image} {where}',
            code="no-such-command",
            hint="correct `command` or `entrypoint`",
        )


def _steps(root: Rooted, path: str) -> list[str]:
    """Every path inside that looking up `path` goes through, links resolved; also beyond what is there by now."""
    here, rest, links = "/", path.split("/")[::-1], 0
    steps = [here]
    while rest:
        part = rest.pop()
        if part == "..":
            here = os.path.dirname(here)
        elif part not in ("", "."):
            here = os.path.join(here, part)
            steps.append(here)
            try:
                target = root.readlink(here)
            except OSError:
                continue  # not a link, or not there
            links += 1
            if links > _MOST_LINKS:
                break
            here = "/" if target.startswith("/") else os.path.dirname(here)
            rest += target.split("/")[::-1]
    return [*steps, here]


def mark_for_settling(paths: Paths, container_id: str, *, due: bool) -> None:
    """Tell the exit hook whether there will be something to do."""
    mark = os.path.join(paths.bundle(container_id), SETTLE_MARK)
    if due:
        files.write_file(mark, b"")
    else:
        files.remove_file(mark)


def take_down(paths: Paths, container_id: str) -> None:
    """Remove all that a start leaves behind: processes, cgroup, runtime state, mount, bundle, exit file.

    Whatever of it is there, in whatever state a crash left it; the exit file goes last. Data and log stay.
    """
    group = paths.group(container_id)
    bundle = paths.bundle(container_id)
    if not os.path.lexists(bundle):
        files.remove_file(os.path.join(paths.exits, container_id))
        return
    mark_for_settling(paths, container_id, due=False)
    monitor.wait_for_report(bundle)
    cgroups.kill(group)
    monitor.wait_for_end(paths, container_id)
    files.remove_tree(os.path.join(paths.runtime, container_id))  # the OCI runtime's state, half-made too
    cgroups.remove(group)
    for point in mounts.mounts_below(bundle):
        mounts.unmount(point)
    files.remove_tree(bundle)
    files.remove_file(os.path.join(paths.exits, container_id))
