"""The tree of the image `tiny`: Debian's static busybox with all its applets, and files that tests look at."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess

from commands import BuildError, run
from debian import explanation

PROGRAM = "/usr/bin/busybox"

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
user:x:1000:1000:user:/home/user:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
GROUP = """\
root:x:0:
daemon:x:1:
staff:x:50:user
user:x:1000:
nogroup:x:65534:
"""


def tree(target: str, *, log: str) -> None:
    """Makes the tree. Links, owners and set-id folders below /srv/fixture are for tests of copy-up and unpacking."""
    for folder in ("bin", "dev", "etc", "home", "proc", "root", "srv/fixture", "sys", "tmp", "usr", "var/tmp", "www"):
        _folder(os.path.join(target, folder))
    program = os.path.join(target, "bin/busybox")
    shutil.copyfile(_program(target + ".package", log=log), program)
    os.chmod(program, 0o755)
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            os.symlink("busybox", os.path.join(target, "bin", applet))
    for link in ("sbin", "usr/bin", "usr/sbin"):
        os.symlink("/bin" if "/" in link else "bin", os.path.join(target, link))
    _file(target, "etc/passwd", PASSWD)
    _file(target, "etc/group", GROUP)
    for name in ("etc/hostname", "etc/hosts", "etc/resolv.conf"):
        _file(target, name, "")
    for name in ("tmp", "var/tmp"):
        os.chmod(os.path.join(target, name), 0o1777)
    os.chmod(os.path.join(target, "root"), 0o700)
    _folder(os.path.join(target, "home/user"), owner=1000)
    _file(target, "www/index.html", "hello from tiny\n")
    _fixture(target)


def _fixture(target: str) -> None:
    _file(target, "srv/fixture/plain", "plain\n")
    _file(target, "srv/fixture/private", "private\n", mode=0o640, owner=1000)
    _folder(os.path.join(target, "srv/fixture/shared"), mode=0o2775, owner=1000)
    _file(target, "srv/fixture/shared/inner", "inner\n", owner=1000)
    os.link(os.path.join(target, "srv/fixture/plain"), os.path.join(target, "srv/fixture/hardlink"))
    os.symlink("plain", os.path.join(target, "srv/fixture/symlink"))


def _program(folder: str, *, log: str) -> str:
    """The static busybox: this machine's, if it has that package, else unpacked without being installed."""
    status = ["dpkg-query", "-W", "-f", "${db:Status-Status}", "busybox-static"]
    installed = subprocess.run(status, check=False, capture_output=True, text=True).stdout == "installed"
    if installed and os.path.exists(PROGRAM):
        return PROGRAM
    os.mkdir(folder)
    fetch = ["sh", "-c", 'cd "$1" && apt-get -q download busybox-static', "sh", folder]
    try:
        try:
            run(fetch, log=log)
        except subprocess.CalledProcessError:  # no package lists yet, or old ones
            run(["apt-get", "-q", "update"], log=log)
            run(fetch, log=log)
        (package,) = glob.glob(os.path.join(folder, "*.deb"))
        run(["dpkg-deb", "--extract", package, folder], log=log)
    except subprocess.CalledProcessError:
        raise BuildError(explanation(log)) from None
    found = [path for name in ("usr/bin", "bin") if os.path.exists(path := os.path.join(folder, name, "busybox"))]
    return found[0]


def _folder(path: str, *, mode: int = 0o755, owner: int = 0) -> None:
    os.makedirs(path)
    os.chown(path, owner, owner)
    os.chmod(path, mode)


def _file(target: str, name: str, text: str, *, mode: int = 0o644, owner: int = 0) -> None:
    path = os.path.join(target, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chown(path, owner, owner)
    os.chmod(path, mode)
