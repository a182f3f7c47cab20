"""The disk image of the guest: Debian 12 with systemd, its cloud kernel, AppArmor, and what the engine and its tests need.

Built into build/vm/ and kept until what goes into it changes; the project itself is not in it, but on a second disk
that is made for every run (`run.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(PROJECT, "build", "vm")
RELEASE = "bookworm"
PYTHON = "3.11"  # Debian 12's
SIZE = "1500M"  # of the file system; the file is sparse

PACKAGES = (
    *("systemd-sysv", "linux-image-cloud-amd64", "kmod", "apparmor", "python3"),
    *("crun", "runc", "conmon", "nftables", "iproute2", "iptables"),
)
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")

FILES = {
    "etc/fstab": """\
/dev/vda / ext4 noatime 0 1
/dev/vdb /project ext4 noatime 0 2
""",
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost guest\n",
    "etc/resolv.conf": "nameserver 192.0.2.53\n",  # TEST-NET: nobody answers
    "etc/systemd/system/tests.service": """\
[Unit]
Description=The project's tests
After=multi-user.target
RequiresMountsFor=/project
[Service]
Type=exec
ExecStart=/usr/bin/python3 /project/tests/vm/inside.py
TTYPath=/dev/ttyS1
StandardOutput=tty
StandardError=inherit
TimeoutStopSec=20
""",
    # By a timer, so that the unit is no part of the boot and multi-user.target can be waited for.
    "etc/systemd/system/tests.timer": """\
[Timer]
OnBootSec=0
[Install]
WantedBy=timers.target
""",
    # Also for `python3 -I`, which takes no PYTHONPATH.
    f"usr/local/lib/python{PYTHON}/dist-packages/project.pth": "/project\n",
    "usr/local/bin/reconciler": """\
#!/usr/bin/python3
import sys
from reconciler.cli.main import entry
sys.exit(entry())
""",
}
QUIET = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("e2scrub_reap.service", "getty-static.service", "systemd-binfmt.service", "serial-getty@ttyS0.service"),
)
"""Units that have nothing to do here and take their time, which under emulation is long."""

PROFILES = ("lsb_release", "nvidia_modprobe")
"""AppArmor profiles of programs that are not there, each compiled at every boot."""


class ImageError(Exception):
    """An image that could not be built; the text says what failed."""


def python_packages() -> list[str]:
    """What the project and its tests inside need: its own list, pytest and hypothesis."""
    with open(os.path.join(PROJECT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)
    fast = [text.partition(";")[0].strip() for text in project["project"]["optional-dependencies"]["fast"]]
    tests = [text for text in project["dependency-groups"]["dev"] if text.startswith(("pytest", "hypothesis"))]
    return [*project["project"]["dependencies"], *fast, *tests]


def key() -> str:
    """Changes with everything that goes into the image, but not with newer versions of packages."""
    with open(__file__, "rb") as file:
        parts = [file.read().decode(), *python_packages()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def path(name: str) -> str:
    return os.path.join(FOLDER, name)


def fresh() -> bool:
    try:
        with open(path("key"), encoding="utf-8") as file:
            return file.read() == key()
    except OSError:
        return False


def prepare(*, force: bool = False) -> None:
    """Have `disk.ext4`, `vmlinuz` and `initrd` in build/vm/. Raises ImageError."""
    if fresh() and not force:
        return
    os.makedirs(FOLDER, exist_ok=True)
    with open(path(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if fresh() and not force:
            return
        print("building the guest's disk image, once: Debian packages, about a minute", flush=True)
        with _scratch() as scratch:
            _build(scratch)


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A folder that is gone afterwards; one that a killed build has left goes first, for its lock was free."""
    for old in glob.glob(path(".work-*")):
        shutil.rmtree(old)
    folder = tempfile.mkdtemp(prefix=".work-", dir=FOLDER)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _build(scratch: str) -> None:
    tree = os.path.join(scratch, "tree")
    environment = {**os.environ, "TMPDIR": scratch, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    # In namespaces of their own: whatever ends this builder, their mounts and children end with it.
    confined = (
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
    )
    _run(
        *confined,
        "mmdebstrap",
        *("--mode=root", "--format=directory", "--variant=apt", "--include=" + ",".join(PACKAGES)),
        *('--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"'),
        *("--aptopt=Acquire::Retries 3", "--dpkgopt=force-unsafe-io", RELEASE, tree),
        environment=environment,
    )
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
        *("--target", os.path.join(tree, f"usr/local/lib/python{PYTHON}/dist-packages")),
        *("--python-version", PYTHON, "--implementation", "cp", "--only-binary", ":all:"),
        *(f"--platform={one}" for one in PLATFORMS),
        *python_packages(),
    )
    _run(*confined, "chroot", tree, "python3", "-m", "compileall", "-q", f"/usr/local/lib/python{PYTHON}/dist-packages")
    for name, text in FILES.items():
        target = os.path.join(tree, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(target, 0o755 if text.startswith("#!") else 0o644)
    for name in PROFILES:
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(tree, "etc/apparmor.d", name))
    os.makedirs(os.path.join(tree, "project"))
    _run("chroot", tree, "systemctl", "enable", "tests.timer")
    _run("chroot", tree, "systemctl", "mask", *QUIET)
    _finish(tree, scratch)


def _finish(tree: str, scratch: str) -> None:
    """The tree as a disk, its kernel and initial RAM disk beside it; the key last."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path("key"))
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        (found,) = glob.glob(os.path.join(tree, "boot", pattern))
        shutil.move(found, path(name))
    disk = os.path.join(scratch, "disk.ext4")
    _run("mkfs.ext4", "-q", "-F", "-d", tree, disk, SIZE)
    os.replace(disk, path("disk.ext4"))
    with open(path("key"), "w", encoding="utf-8") as file:
        file.write(key())


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
        raise ImageError(f"{command[0]} failed while the guest's image was built:\n" + "\n".join(said[-25:]))
