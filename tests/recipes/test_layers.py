import os
import subprocess
import tarfile

import pytest
from layers import write_layer

pytestmark = pytest.mark.kernel  # owners, device nodes, trusted attributes

EPOCH = 1_700_000_000
PING = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep, as setcap writes it


def layer_of(tree, target, *, base=True):
    digest, size = write_layer(str(tree), str(target), epoch=EPOCH, base=base)
    assert size == os.path.getsize(target)
    with tarfile.open(target) as tar:
        return digest, {member.name: member for member in tar}


def test_two_trees_of_one_content_give_the_same_bytes(tmp_path):
    for name, files in (("one", ("b", "a")), ("two", ("a", "b"))):
        for file in files:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / file).write_text(file)
            os.utime(tmp_path / name / file, (EPOCH + len(name + file), EPOCH + files.index(file)))
    first, members = layer_of(tmp_path / "one", tmp_path / "one.tar")
    second, _ = layer_of(tmp_path / "two", tmp_path / "two.tar")
    assert first == second
    assert list(members) == ["a", "b"]
    assert members["a"].mtime == EPOCH


def test_modes_owners_links_and_capabilities_are_kept(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "ping").write_text("x")
    os.setxattr(tree / "ping", "security.capability", PING)
    (tree / "setuid").write_text("x")
    os.chown(tree / "setuid", 1000, 50)
    (tree / "setuid").chmod(0o4750)
    os.link(tree / "setuid", tree / "zzz")
    (tree / "link").symlink_to("/nowhere/at all")
    (tree / "old").write_text("x")
    os.utime(tree / "old", (7, 7))
    _, members = layer_of(tree, tmp_path / "layer.tar")
    assert members["ping"].pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == PING
    assert (members["setuid"].mode, members["setuid"].uid, members["setuid"].gid) == (0o4750, 1000, 50)
    assert (members["zzz"].islnk(), members["zzz"].linkname) == (True, "setuid")
    assert members["link"].linkname == "/nowhere/at all"
    assert members["old"].mtime == 7


def test_what_an_overlay_removed_becomes_whiteouts(tmp_path):
    lower, upper, work, merged = (tmp_path / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower, upper, work, merged):
        folder.mkdir()
    (lower / "gone").write_text("x")
    (lower / "replaced").mkdir()
    (lower / "replaced" / "inner").write_text("x")
    change = (
        f"mount -t overlay overlay -o lowerdir={lower},upperdir={upper},workdir={work} {merged} && cd {merged} "
        "&& rm gone && rm -r replaced && mkdir replaced && touch replaced/new"
    )
    subprocess.run(["unshare", "--mount", "sh", "-c", change], check=True)
    _, members = layer_of(upper, tmp_path / "layer.tar", base=False)
    assert list(members) == [".wh.gone", "replaced", "replaced/.wh..wh..opq", "replaced/new"]
    assert all(members[name].isreg() and members[name].size == 0 for name in (".wh.gone", "replaced/.wh..wh..opq"))


def test_manuals_logs_devices_and_the_hosts_own_files_stay_out(tmp_path):
    tree = tmp_path / "tree"
    kept = ["usr/share/doc/bash/copyright", "var/log/apache2/error.log", "etc/passwd"]
    left_out = [
        "usr/share/doc/bash/README",
        "usr/share/man/man1/ls.1",
        "var/log/dpkg.log",
        "etc/passwd-",
        "dev/null",
        "tmp/x",
    ]
    for name in [*kept, *left_out, "etc/resolv.conf"]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("host")
    # The first name of a linked file is left out: the second carries the content.
    (tree / "usr/lib").mkdir()
    os.link(tree / "usr/share/man/man1/ls.1", tree / "usr/zz")
    _, base = layer_of(tree, tmp_path / "base.tar")
    _, on_top = layer_of(tree, tmp_path / "top.tar", base=False)
    assert not set(left_out) & set(base)
    assert set(kept) <= set(base)
    assert base["usr/zz"].isreg()
    assert base["usr/zz"].size == 4
    assert base["etc/resolv.conf"].size == 0  # an engine mounts its own over it
    assert "etc/resolv.conf" not in on_top
