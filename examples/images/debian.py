"""Root file systems from Debian packages: mmdebstrap into a folder, or into an overlay on top of one."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from commands import CONFINED, BuildError, run, say
from recipe import HERE, executable

if TYPE_CHECKING:
    from recipe import Recipe

RELEASE = "bookworm"

# No path-exclude for manuals and translations: mmdebstrap's filter for it takes longer than unpacking them (13 s for the
# base instead of 7); the layer's writer leaves them out.
OPTIONS = [
    "--mode=root",
    "--format=directory",
    "--verbose",
    '--aptopt=Acquire::Languages "none"',
    '--aptopt=APT::Install-Recommends "false"',
    "--aptopt=Acquire::Retries 3",
    "--dpkgopt=force-unsafe-io",
]
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"  # without it, apt would choose usrmerge, and with it all of perl

PROGRESS = {
    "running apt-get update": "fetching Debian's package lists",
    "downloading packages": "downloading packages",
    "extracting archives": "unpacking packages",
    "installing essential packages": "installing packages",
    "running --customize-hook": "finishing",
}


def prepare_machine(output: str) -> None:
    """Installs what is missing on this machine, and refuses a place where it cannot work."""
    if os.geteuid() != 0:
        raise BuildError("images are built as root: mmdebstrap mounts and changes owners")
    if re.search(r"[^\w./+@%=-]", output):
        raise BuildError(
            f"apt's and overlayfs's options cannot name the folder {output!r}: choose one without spaces and "
            "punctuation with --output"
        )
    subprocess.run([os.path.join(HERE, "..", "install-packages"), "mmdebstrap", "util-linux"], check=True)


def bootstrap(recipe: Recipe, tree: str, *, log: str, epoch: int) -> None:
    """Makes the base's tree. Package lists stay in it, for the images on top; they are not part of its layer."""
    options = [
        "--variant=essential",
        f"--hook-dir={MERGED_USR}",
        "--include=" + ",".join(recipe.packages),
        "--skip=cleanup/apt/lists",
    ]
    _mmdebstrap(recipe, "", [*options, RELEASE, tree], scratch=tree + ".scratch", log=log, epoch=epoch)
    # An image on top comes out the same on this tree and on one unpacked from the base's archive, which lacks these.
    for leftover in ("etc/apt/apt.conf.d/99mmdebstrap", "etc/dpkg/dpkg.cfg.d/99mmdebstrap"):
        os.remove(os.path.join(tree, leftover))
    # Device nodes on a lower layer would be in the way of mmdebstrap's own in the overlay.
    shutil.rmtree(os.path.join(tree, "dev"))
    os.mkdir(os.path.join(tree, "dev"), 0o755)


def install(recipe: Recipe, base: str, upper: str, *, log: str, epoch: int) -> None:
    """Installs the recipe's packages and files on top of `base`; what changed is in the folder `upper`."""
    scratch = upper + ".scratch"
    merged, work, staged = (os.path.join(scratch, name) for name in ("merged", "work", "rootfs"))
    for folder in (upper, merged, work):
        os.makedirs(folder)
    os.chmod(upper, 0o755)
    _stage(os.path.join(recipe.folder, "rootfs"), staged)
    # None of overlayfs's own formats: the upper directory is to be readable as plain files.
    options = f"redirect_dir=off,index=off,metacopy=off,lowerdir={base},upperdir={upper},workdir={work}"
    mount = f"mount -t overlay overlay -o {options} {merged}"
    skip = ["check/empty", "cleanup/run"]  # the folders below /run that customize.sh makes
    if os.listdir(os.path.join(base, "var/lib/apt/lists")):
        skip.append("update")
    arguments = [
        "--variant=custom",
        "--skip=" + ",".join(skip),
        "--include=" + ",".join(recipe.packages),
        f'--customize-hook=cp -a {shlex.quote(staged)}/. "$1"',
    ]
    for hook, name in (("extract", "prepare.sh"), ("customize", "customize.sh")):
        script = os.path.join(recipe.folder, name)
        if os.path.exists(script):
            arguments.append(f'--{hook}-hook={shlex.quote(script)} "$1"')
    _mmdebstrap(recipe, mount, [*arguments, RELEASE, merged], scratch=scratch, log=log, epoch=epoch)


def _stage(source: str, target: str) -> None:
    """A copy with the modes of a fresh checkout, whatever the umask was, owned by root."""
    os.mkdir(target, 0o755)
    os.chmod(target, 0o755)
    for name in os.listdir(source):
        path, copy = os.path.join(source, name), os.path.join(target, name)
        if os.path.isdir(path):
            _stage(path, copy)
        else:
            shutil.copyfile(path, copy)
            os.chmod(copy, 0o755 if executable(path) else 0o644)


def _mmdebstrap(recipe: Recipe, mount: str, arguments: list[str], *, scratch: str, log: str, epoch: int) -> None:
    temporary = os.path.join(scratch, "tmp")
    os.makedirs(temporary)
    environment = {
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C",
        "PATH": f"{HERE}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SOURCE_DATE_EPOCH": str(epoch),
        "TMPDIR": temporary,
    }
    said: set[str] = set()

    def on_line(line: str) -> None:
        for start, message in PROGRESS.items():
            if line.startswith("I: " + start) and message not in said:
                said.add(message)
                say(recipe.name, message)

    command = "umask 022; " + (mount + " && " if mount else "") + 'exec mmdebstrap "$@"'
    try:
        run(
            [*CONFINED, "sh", "-c", command, "sh", *OPTIONS, *arguments],
            log=log,
            environment=environment,
            on_line=on_line,
        )
    except subprocess.CalledProcessError:
        raise BuildError(explanation(log)) from None


def explanation(log: str) -> str:
    """What a failed apt or dpkg said, and what to do."""
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file]
    # mmdebstrap's own last words only repeat that a command failed: show what led to them.
    lines = [
        line
        for line in lines
        if line and not line.startswith(("I: main()", "E: mmdebstrap failed", "W: Download is performed"))
    ]
    errors = [line for line in lines if line.startswith(("E:", "Err:", "dpkg: error", "mount:"))]
    told = list(dict.fromkeys([*errors[:5], *lines[-4:]]))
    text = "\n".join(told)
    if "No space left" in text:
        hint = "The disk is full: a build needs about 1 GB beside the images"
    elif any(word in text for word in ("resolving", "connect", "timed out", "unreachable", "Failed to fetch")):
        hint = "Debian's archive was not reachable: check the network or apt's proxy setting, then run it again"
    else:
        hint = "Finished images are kept: run it again after the cause is gone"
    return f"{text}\nThe whole log is in {log}\n{hint}"
