#!/usr/bin/env python3
"""Boots a Debian 12 guest (systemd as PID 1, cgroup v2, AppArmor, kernel 6.1) and runs tests/vm/guest inside it.

    tests/vm/run.py                all of them, over a reboot
    tests/vm/run.py --slice        those that `make test` runs
    tests/vm/run.py -k apparmor    what pytest is told

The guest has no network but its own loopback, and no port is opened here. Its disks are copies that vanish with it.
Emulated (TCG) by default, which works everywhere; RECONCILER_VM_ACCEL=kvm is faster where nested virtualisation is sound.
Needs root, and the Debian packages qemu-system-x86, mmdebstrap and e2fsprogs.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import fcntl
import glob
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import image

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 120 * 60.0
"""Seconds until a guest that has not ended is killed: many times what it takes on a quiet machine."""

OWN = "tests/vm/guest"
ELSEWHERE_TOO = tuple(
    f"tests/engine/test_engine_{name}.py"
    for name in ("confinement", "health", "limits", "memory", "settling", "system")
)
"""Tests that run on the host as well, and here with other control groups, another kernel and another PID 1."""

KERNEL_OPTIONS = (
    *("root=/dev/vda", "rw", "console=ttyS0", "net.ifnames=0", "panic=1", "systemd.journald.forward_to_console=0"),
    "systemd.default_timeout_start_sec=600",  # a busy host may need more than the usual one and a half minutes
)

COPIED = ("reconciler", "tests", "examples", "specs", "pyproject.toml")
END = "guest: exit code "


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs tests/vm/guest inside a Debian 12 guest.", allow_abbrev=False)
    parser.add_argument(
        "--slice", action="store_true", help="only the few tests that `make test` runs, without a reboot"
    )
    parser.add_argument("--deadline", type=float, default=DEADLINE, metavar="SECONDS", help="kill the guest after that")
    parser.add_argument("--rebuild", action="store_true", help="build the guest's image anew, with the newest packages")
    options, arguments = parser.parse_known_args()
    order = {"arguments": [*arguments, *(["-m", "slice"] if options.slice else [])], "reboot": not options.slice}
    order["tests"] = [OWN] if options.slice else [OWN, *ELSEWHERE_TOO]
    try:
        image.prepare(force=options.rebuild)
    except image.ImageError as error:
        print(error, file=sys.stderr)
        return 1
    with _scratch() as folder:
        disk = _project_disk(folder, order)
        return _boot(folder, disk, options.deadline)


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """A folder for this run's disks, gone afterwards; those of runs that were killed, which nobody holds, go first."""
    for old in glob.glob(os.path.join(image.FOLDER, "run-*")):
        with (
            contextlib.suppress(BlockingIOError, FileNotFoundError),
            open(os.path.join(old, "held"), "a", encoding="utf-8") as held,
        ):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old)
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=image.FOLDER) as folder,
        open(os.path.join(folder, "held"), "w", encoding="utf-8") as held,
    ):
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder


def _project_disk(folder: str, order: dict[str, Any]) -> str:
    """The project as it is now, compiled where this is the guest's Python, and what is to be done with it."""
    tree = os.path.join(folder, "project")
    os.mkdir(tree, 0o755)
    for name in COPIED:
        source, target = os.path.join(image.PROJECT, name), os.path.join(tree, name)
        if os.path.isdir(source):
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    compileall.compile_dir(os.path.join(tree, "reconciler"), quiet=2, stripdir=tree, prependdir="/project")
    builder = os.path.join(image.PROJECT, "examples", "images", "build.py")
    subprocess.run([builder, "tiny"], check=True, stdout=sys.stderr)
    images = os.path.join("build", "images")
    os.makedirs(os.path.join(tree, images))
    for name in ("tiny.tar", "tiny.tar.json"):
        shutil.copy2(os.path.join(image.PROJECT, images, name), os.path.join(tree, images))
    with open(os.path.join(tree, "order.json"), "w", encoding="utf-8") as file:
        json.dump(order, file)
    disk = os.path.join(folder, "project.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tree, disk, "256M"], check=True)
    return disk


def _boot(folder: str, disk: str, deadline: float) -> int:
    """Run the guest to its end; its tests' output goes to ours, its console into a file that is shown if it fails."""
    console = os.path.join(folder, "console")
    code, end = None, time.monotonic() + deadline
    with _guest(folder, disk, console) as process:
        for line in _lines(process, end):
            if line.startswith(END):
                code = int(line.removeprefix(END))
            else:
                print(line, flush=True)
        late = process.poll() is None and time.monotonic() >= end
    if code is None:
        with contextlib.suppress(FileNotFoundError), open(console, encoding="utf-8", errors="replace") as file:
            print("--- the end of the guest's console:", *file.read().splitlines()[-60:], sep="\n", file=sys.stderr)
        why = f"did not end within {deadline:.0f} s" if late else f"ended early (qemu: {process.returncode})"
        print(f"the guest {why}", file=sys.stderr)
        return 1
    return code


@contextlib.contextmanager
def _guest(folder: str, disk: str, console: str) -> Iterator[subprocess.Popen[bytes]]:
    """The running guest; gone at the end of the block, and when we are killed."""
    kvm = os.environ.get("RECONCILER_VM_ACCEL") == "kvm"
    command = [
        *("setpriv", "--pdeathsig", "KILL", "--", "qemu-system-x86_64", "-nodefaults", "-no-user-config"),
        *(("-accel", "kvm", "-cpu", "host") if kvm else ("-accel", "tcg,thread=multi", "-cpu", "max")),
        *("-machine", "q35", "-smp", "2", "-m", "1536", "-display", "none", "-nic", "none"),
        *("-kernel", image.path("vmlinuz"), "-initrd", image.path("initrd")),
        *("-append", " ".join(KERNEL_OPTIONS)),
        *("-drive", f"file={image.path('disk.ext4')},format=raw,if=virtio,snapshot=on"),
        *("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"),
        *("-serial", f"file:{console}", "-serial", "stdio"),
        *("-device", "virtio-rng-pci"),
    ]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": folder},  # what the guest writes to its root lies there
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _lines(process: subprocess.Popen[bytes], end: float) -> Iterator[str]:
    """What the guest's tests print, until the guest has ended or its time is over."""
    assert process.stdout
    rest = b""
    poller = select.poll()
    poller.register(process.stdout, select.POLLIN | select.POLLHUP)
    while (left := end - time.monotonic()) > 0:
        if not poller.poll(left * 1000):
            continue
        data = os.read(process.stdout.fileno(), 1 << 16)
        if not data:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            return
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip("\r")


if __name__ == "__main__":
    sys.exit(main())
