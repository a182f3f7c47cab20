"""Layers become folders: as GNU tar would make them, as overlayfs wants them, and nothing outside is ever touched."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import shutil
import struct
import subprocess
import tarfile
import tempfile
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagelab import entry, folder, link, picture, symlink, tar

from reconciler.engine.images.streams import Limits, Span
from reconciler.engine.images.unpack import unpack
from reconciler.engine.kernel.rooted import open_root
from reconciler.kits.errors import ReconcilerError

pytestmark = pytest.mark.kernel

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw=ep


def unpack_into(target, data, limits=None):
    """Unpack the bytes of a tar into a folder that is made for it."""
    os.makedirs(target, mode=0o755)
    with tempfile.TemporaryFile() as file, open_root(target) as inside:
        # Not at the file's beginning: in a docker-archive a layer lies in the middle.
        file.write(b"x" * 700 + data)
        file.flush()
        return unpack(Span(file.fileno(), 700, len(data)), inside, limits or Limits(), "layer")


def odd_tree(top):
    os.makedirs(f"{top}/plain/deep/er")
    with open(f"{top}/plain/file", "wb") as file:
        file.write(os.urandom(70_000))
    os.link(f"{top}/plain/file", f"{top}/plain/deep/same")
    os.symlink("../../nowhere", f"{top}/plain/dangling")
    os.link(f"{top}/plain/dangling", f"{top}/plain/dangling-too", follow_symlinks=False)
    os.symlink("/plain/file", f"{top}/absolute")
    os.mkfifo(f"{top}/fifo", 0o640)
    os.mknod(f"{top}/null", 0o020666, os.makedev(1, 3))
    os.mknod(f"{top}/disk", 0o060660, os.makedev(259, 70_000))
    for name, mode, owner in (("su", 0o4755, 0), ("mail", 0o2775, 8), ("tmp", 0o1777, 70_000), ("closed", 0, 5)):
        os.mkdir(f"{top}/{name}") if name in ("mail", "tmp") else open(f"{top}/{name}", "w").close()
        os.chown(f"{top}/{name}", owner, owner + 1)
        os.chmod(f"{top}/{name}", mode)
    open(f"{top}/mail/inherits", "w").close()
    os.chown(f"{top}/mail/inherits", 3, 4)
    open(f"{top}/ping", "w").close()
    os.setxattr(f"{top}/ping", "security.capability", CAPABILITY)
    os.setxattr(f"{top}/plain", "user.note", b"\x00\xff=\n\xe4")
    os.setxattr(f"{top}/absolute", "trusted.note", b"on a link", follow_symlinks=False)
    open(os.fsencode(top) + b"/not-utf8-\xff\xe4", "w").close()
    open(f"{top}/한국어", "w").close()
    long = "/".join(["n" * 120] * 3)
    os.makedirs(f"{top}/{long}")
    open(f"{top}/{long}/{'f' * 200}", "w").close()
    with open(f"{top}/holes", "wb") as file:
        file.write(b"start")
        file.seek(5 << 20)
        file.write(b"middle")
        file.truncate(9 << 20)
    for path, _, names in os.walk(top, topdown=False):
        for number, name in enumerate(names):
            os.utime(f"{path}/{name}", ns=(0, 1_600_000_000_123_456_789 + number), follow_symlinks=False)
        os.utime(path, ns=(0, 1_500_000_000_987_654_321))
    os.utime(f"{top}/su", ns=(0, -86_400 * 10**9))
    os.chown(top, 9, 9)
    os.chmod(top, 0o751)
    os.utime(top, ns=(0, 1_400_000_000_000_000_000))


@pytest.mark.parametrize("form", ["pax", "gnu"])
def test_it_makes_what_gnu_tar_makes(tmp_path, form):
    source, archive = tmp_path / "source", tmp_path / "layer.tar"
    odd_tree(str(source))
    attributes = ["--xattrs", "--xattrs-include=*"] if form == "pax" else []
    subprocess.run(
        ["tar", "-c", "-S", f"--format={form}", "--numeric-owner", *attributes, "-f", archive, "-C", source, "."],
        check=True,
    )
    (tmp_path / "gnu").mkdir()
    subprocess.run(
        ["tar", "-xp", "--same-owner", "--numeric-owner", *attributes, "-f", archive, "-C", tmp_path / "gnu"],
        check=True,
    )
    found = unpack_into(tmp_path / "ours", archive.read_bytes())
    ours, theirs = picture(tmp_path / "ours"), picture(tmp_path / "gnu")
    assert ours == theirs
    if form == "pax":
        assert ours == picture(source)
    assert os.stat(tmp_path / "ours/holes").st_blocks * 512 < 1 << 20, "holes were filled"
    assert found.unnamed == ()


def test_whiteouts_become_what_overlayfs_understands(tmp_path):
    layer = tar(
        folder("gone"),
        entry("gone/.wh.file"),
        entry("gone/.wh..wh..opq"),
        entry(".wh..wh.plnk"),
        folder(".wh..wh.orph"),
        entry(".wh..wh.orph/file"),
        # A later entry brings back what a whiteout hid: only the lower one stays hidden, so a folder is opaque.
        entry(".wh.back"),
        folder("back"),
        entry(".wh.again"),
        entry("again", data=b"new"),
        entry(".wh.implied"),
        entry("implied/file"),
        folder("kept"),
        entry(".wh.kept"),
        entry("stays"),
        entry(".wh.stays"),
    )
    unpack_into(tmp_path / "out", layer)
    seen = picture(tmp_path / "out", times=False)
    whiteouts = {path for path, facts in seen.items() if facts[0] == oct(0o020000) and facts[3] == 0}
    opaque = {path for path, facts in seen.items() if facts[-1].get("trusted.overlay.opaque") == b"y"}
    assert whiteouts == {b"gone/file"}
    assert opaque == {b"gone", b"back", b"implied", b"kept"}
    assert set(seen) == {
        b".", b"gone", b"gone/file", b"back", b"again", b"implied", b"implied/file", b"kept", b"stays",
    }  # fmt: skip


def test_the_last_of_a_name_wins(tmp_path):
    layer = tar(
        folder("a"), entry("a/x"), entry("a", data=b"a file now"),
        entry("b"), folder("b", mode=0o700), entry("b/y"),
        folder("c"), entry("c/z"), symlink("c", "b"), entry("c/through", data=b"in b"),
        symlink("d", "b"), folder("d"), entry("d/own"),
        entry("e", data=b"first"), link("f", "e"), entry("f", data=b"second"),
        link("g", "e"), link("g", "e"), link("e", "g"),
    )  # fmt: skip
    unpack_into(tmp_path / "out", layer)
    assert {path: facts[7] for path, facts in picture(tmp_path / "out").items() if facts[0].startswith("0o120")} == {
        b"c": b"b"
    }
    seen = {os.path.relpath(os.path.join(where, name), tmp_path / "out")
            for where, _, names in os.walk(tmp_path / "out") for name in names}  # fmt: skip
    assert seen == {"a", "b/y", "b/through", "c", "d/own", "e", "f", "g"} - {"c"}
    assert (tmp_path / "out/e").read_bytes() == b"first"
    assert (tmp_path / "out/f").read_bytes() == b"second"
    assert os.path.samefile(tmp_path / "out/e", tmp_path / "out/g")


def test_attributes_of_overlayfs_itself_are_not_taken_from_a_layer(tmp_path):
    names = ("trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.metacopy", "user.mine")
    headers = {f"SCHILY.xattr.{name}": "y" for name in names}
    unpack_into(tmp_path / "out", tar(folder("d", pax_headers=headers)))
    assert os.listxattr(tmp_path / "out/d") == ["user.mine"]


def many(count):
    return [entry(f"f{number}") for number in range(count)]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (tar(entry("x", b"V")), "'x' is of a type"),
        (tar(entry("x", b"7", data=b"contiguous"), entry("y", b"Q")), "'y' is of a type"),
        (tar(link("x", "../../etc/passwd")), "a hard link leads outside"),
        (tar(link("x", "/etc/passwd")), "'x' is a hard link to '/etc/passwd', which is not in it"),
        (tar(folder("d"), link("x", "d")), "hard link to a folder"),
        (tar(link("x", "x")), "which is not in it"),
        (tar(entry(".")), "would replace the root"),
        (tar(entry("x", pax_headers={"SCHILY.xattr.user.\0": "y"})), "whose name holds a NUL byte"),
        (tar(entry(".wh.")), "hides nothing"),
        (tar(entry(".wh...")), "hides nothing"),
        (tar(entry(".wh.a/b")), "lies below a whiteout"),
        (tar(entry("a"), entry("a/b")), "'a/b' can't be unpacked: Not a directory"),
        (tar(symlink("a", "a"), entry("a/b")), "Too many levels"),
        (tar(entry("n" * 300)), "File name too long"),
        (tar(entry("d/" * 300 + "f")), "more than 255 folders deep"),
        (tar(entry("x", pax_headers={"path": "a\0b"})), "holds a NUL byte"),
        (tar(symlink("x", "y", pax_headers={"linkpath": "a\0b"})), "holds a NUL byte"),
        (tar(entry("x", uid=-1), form=tarfile.GNU_FORMAT), "impossible owner"),
        (tar(entry("x", uid=2**32 - 1), form=tarfile.GNU_FORMAT), "impossible owner"),
        (tar(*many(11)), "holds more than 10 files"),
        (tar(entry("a", data=bytes(600)), entry("b", data=bytes(600))), "unpacks to more than 1kB"),
        (tar(entry("x", pax_headers={"comment": "c" * (300 << 10)})), "header of impossible size"),
        (tar(entry("x", pax_headers={"GNU.sparse.map": "0,9,4,9", "GNU.sparse.size": "99"}, data=bytes(18))), "map"),
        (b"", "not a tar archive"),
        (bytes(300), "not a tar archive"),
        (b"#!/bin/sh\n" * 200, "not a tar archive"),
        (tar(entry("x"))[:512] + b"damage" * 200, "damaged at byte 512"),
    ],
)  # fmt: skip
def test_what_no_layer_holds_is_refused(tmp_path, layer, message):
    with pytest.raises(ReconcilerError) as caught:
        unpack_into(tmp_path / "out", layer, Limits(entries=10, bytes=1000))
    assert caught.value.message.startswith("layer: ")
    assert message in caught.value.message
    assert caught.value.code == "bad-image"


PART = st.sampled_from(["", ".", "..", "a", "b", "l", "..." , ".wh.a", ".wh.l", ".wh..wh..opq", "outside", "canary"])  # fmt: skip
PATH = st.lists(PART, min_size=1, max_size=5).map("/".join)
KIND = st.sampled_from([*(t.encode() for t in "012345"), b"7"])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_nothing_outside_changes_whatever_the_names_and_links_are(data):
    top = tempfile.mkdtemp()
    try:
        os.mkdir(f"{top}/outside")
        with open(f"{top}/outside/canary", "w") as file:
            file.write("alive")
        os.symlink("outside", f"{top}/a")
        before = picture(top, times=True)
        target = PATH | st.sampled_from([f"{top}/outside", f"{top}/outside/canary", "../outside/canary", "/proc/self/root"])  # fmt: skip
        members = data.draw(st.lists(st.tuples(KIND, PATH | target, target), max_size=12))
        layer = tar(*(entry(name, kind, linkname=linkname, mode=0o6777, uid=7) for kind, name, linkname in members))
        with contextlib.suppress(ReconcilerError):
            unpack_into(f"{top}/layer", layer)
        after = picture(top, times=True)
        assert {k: v for k, v in after.items() if k != b"." and not k.startswith(b"layer")} == {
            k: v for k, v in before.items() if k != b"."
        }
    finally:
        shutil.rmtree(top)


WHOLE = tar(
    folder("d", pax_headers={"SCHILY.xattr.user.x": "y"}), entry("d/f", data=b"content" * 300), symlink("l", "d"),
    link("h", "d/f"), entry("p" * 150, data=b"long name"), entry("dev", tarfile.CHRTYPE, devmajor=1, devminor=3),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_gives_an_error_or_other_content_but_no_accident(data):
    layer = bytearray(WHOLE)
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    ):
        layer[position] = value
        # Half of the damage repairs its header's checksum, or the parser would see to it all.
        start = position - position % 512
        header = layer[start : start + 512]
        if value % 2:
            total = sum(header) - sum(header[148:156]) + 8 * 32
            layer[start + 148 : start + 156] = b"%06o\0 " % total
    layer = layer[: data.draw(st.integers(0, len(layer)))] if data.draw(st.booleans()) else layer
    top = tempfile.mkdtemp()
    try:
        unpack_into(f"{top}/layer", bytes(layer), Limits(bytes=1 << 20))
    except ReconcilerError:
        pass
    finally:
        shutil.rmtree(top)


def test_a_layer_that_is_cut_off_says_so(tmp_path):
    """At every block but the closing zeros; where a member has just ended, only a digest can tell."""
    ends = {0}
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as archive:
        for member in archive:
            ends.add(member.offset_data + (member.size + 511) // 512 * 512 if member.isreg() else member.offset_data)
        last = archive.offset
    for cut in range(100, last, 256):
        if cut in ends:
            continue
        with pytest.raises(ReconcilerError, match=r"cut off|not a tar archive"):
            unpack_into(tmp_path / str(cut), WHOLE[:cut])


def test_links_that_are_swapped_below_lead_nowhere(tmp_path):
    """Somebody else swaps a folder for a link to the outside while members are unpacked through it."""
    outside, target = tmp_path / "outside", tmp_path / "layer"
    outside.mkdir()
    os.makedirs(target / "d")
    os.symlink(os.path.relpath(outside, target), target / "link")
    layer = tar(*(entry(f"d/s{number % 3}/f{number}", data=b"x") for number in range(1500)))
    ended = threading.Event()

    exchange = ctypes.CDLL(None).renameat2
    names = os.fsencode(target / "d"), os.fsencode(target / "link")

    def swap():
        while not ended.is_set():
            exchange(-100, names[0], -100, names[1], 2)  # AT_FDCWD, RENAME_EXCHANGE

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(5):
            with tempfile.TemporaryFile() as file, open_root(target) as inside:
                file.write(layer)
                file.flush()
                try:
                    unpack(Span(file.fileno(), 0, len(layer)), inside, Limits(), "layer")
                except ReconcilerError:
                    continue
    finally:
        ended.set()
        swapper.join()
    assert os.listdir(outside) == []
