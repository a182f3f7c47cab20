"""Paths inside a hostile root stay inside; trees are copied with all that makes a file."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagelab import picture
from test_unpack import odd_tree

from reconciler.engine.kernel import copying, files, rooted
from reconciler.engine.kernel.rooted import lookup_executable, open_root
from reconciler.kits.errors import ReconcilerError

pytestmark = pytest.mark.kernel

PART = st.sampled_from(["a", "b", "up", "abs", "dangling", "file", "fifo", "..", ".", "", "new"])
PATH = st.lists(PART, min_size=1, max_size=5).map("/".join)


def hostile(top):
    os.makedirs(f"{top}/root/a/b")
    os.makedirs(f"{top}/outside/b")
    for where in ("root", "outside"):
        with open(f"{top}/{where}/file", "w") as file:
            file.write(where)
    os.symlink("../../../../outside", f"{top}/root/up")
    os.symlink(f"{top}/outside", f"{top}/root/abs")
    os.symlink("../outside/made", f"{top}/root/dangling")
    os.symlink("/proc/self/root", f"{top}/root/a/up")
    os.symlink("/", f"{top}/root/a/abs")
    os.mkfifo(f"{top}/root/fifo")


@settings(max_examples=200, deadline=None)
@given(PATH, st.sampled_from(["makedirs", "ensure_file", "read_file", "open_file", "stat", "readlink"]))
def test_no_path_leads_out(path, method):
    top = tempfile.mkdtemp()
    try:
        hostile(top)
        before = picture(f"{top}/outside")
        with open_root(f"{top}/root") as root:
            try:
                found = getattr(root, method)(path)
            except OSError:
                found = None
            if method == "read_file" and found is not None:
                assert found == b"root"
            if method == "open_file" and found is not None:
                os.close(found)
            if method in ("makedirs", "ensure_file") and found is not None:
                # Where it says it is, it is, without a link on the way.
                real = f"{top}/root{found}"
                assert os.path.realpath(real) == os.path.normpath(real)
                assert os.path.isdir(real) if method == "makedirs" else os.path.lexists(real)
        assert picture(f"{top}/outside") == before
        assert sorted(os.listdir(top)) == ["outside", "root"]
    finally:
        shutil.rmtree(top)


def test_folders_are_made_as_asked_and_left_as_they_are(tmp_path):
    (tmp_path / "old").mkdir(mode=0o700)
    os.symlink("/missing/deep", tmp_path / "link")
    before = os.umask(0o077)
    try:
        with open_root(tmp_path) as root:
            assert root.makedirs("old/new", 0o2775, 5, 6) == "/old/new"
            assert root.makedirs("/link/x") == "/missing/deep/x"
            assert root.ensure_file("link/y/../z") == "/missing/deep/z"
            with pytest.raises(IsADirectoryError):
                root.ensure_file("old")
            with pytest.raises(NotADirectoryError):
                root.makedirs("missing/deep/z/a")
    finally:
        os.umask(before)
    facts = os.stat(tmp_path / "old/new")
    assert (facts.st_mode & 0o7777, facts.st_uid, facts.st_gid) == (0o2775, 5, 6)
    assert os.stat(tmp_path / "old").st_mode & 0o7777 == 0o700
    assert os.stat(tmp_path / "missing/deep").st_mode & 0o7777 == 0o755


def test_files_are_read_up_to_a_limit_and_only_files(tmp_path):
    (tmp_path / "f").write_bytes(b"12345")
    os.mkfifo(tmp_path / "fifo")  # opening it for real would wait for ever
    with open_root(tmp_path) as root:
        assert root.read_file("f", 5) == b"12345"
        for path, number in (("f", errno.EFBIG), ("fifo", errno.EINVAL), (".", errno.EISDIR), ("g", errno.ENOENT)):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - the number says it
                root.read_file(path, 4)
            assert caught.value.errno == number


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sh", "/bin/sh"), ("/bin/sh", "/bin/sh"), ("./run", "/srv/./run"), ("linked", "/bin/linked"),
        ("second", "/usr/bin/second"), ("none", None), ("/none", None), ("", None), ("loop", None),
        ("data", PermissionError), ("/bin", PermissionError), ("srv", None),
    ],
)  # fmt: skip
def test_an_executable_is_found_as_execvp_finds_it(tmp_path, name, found):
    for path, mode in (("bin/sh", 0o755), ("bin/data", 0o644), ("bin/second", 0o644), ("usr/bin/second", 0o711), ("srv/run", 0o100)):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch(mode)
    os.symlink("/bin/sh", tmp_path / "bin/linked")
    os.symlink("loop", tmp_path / "bin/loop")
    with open_root(tmp_path) as root:
        if found is PermissionError:
            with pytest.raises(PermissionError):
                lookup_executable(root, "/bin:/usr/bin", name, "/srv")
        else:
            assert lookup_executable(root, "/bin:/usr/bin", name, "/srv") == found


def test_a_kernel_without_openat2_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(rooted, "_openat2_call", lambda *_: -errno.ENOSYS)
    with open_root(tmp_path) as root, pytest.raises(ReconcilerError, match="no openat2") as caught:
        root.stat("x")
    assert "5.6" in caught.value.hint


@pytest.mark.parametrize("ready", [3, 2000])
def test_a_rename_on_the_way_is_tried_again_but_not_for_ever(tmp_path, monkeypatch, ready):
    calls = iter(range(10_000))
    real = rooted._load_openat2()
    monkeypatch.setattr(rooted, "_openat2_call", lambda *a: real(*a) if next(calls) >= ready else -errno.EAGAIN)
    with open_root(tmp_path) as root:
        if ready < 1000:
            assert root.stat(".").st_ino == os.stat(tmp_path).st_ino
        else:
            with pytest.raises(BlockingIOError):
                root.stat(".")


def test_a_tree_is_copied_with_all_that_makes_a_file(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    odd_tree(str(source))
    os.setxattr(source / "plain", "trusted.overlay.opaque", b"y")
    target.mkdir()
    with open_root(source) as inside, open_root(target) as outside:
        copying.copy_tree(inside, outside)
    os.removexattr(source / "plain", "trusted.overlay.opaque")
    assert picture(target) == picture(source)
    assert os.stat(target / "holes").st_blocks * 512 < 1 << 20, "holes were filled"


def test_a_copied_tree_may_leave_the_target_folder_as_it_is(tmp_path):
    (tmp_path / "source").mkdir(mode=0o700)
    (tmp_path / "source/f").touch()
    (tmp_path / "target").mkdir(mode=0o711)
    with open_root(tmp_path / "source") as inside, open_root(tmp_path / "target") as outside:
        copying.copy_tree(inside, outside, itself=False)
    assert os.listdir(tmp_path / "target") == ["f"]
    assert os.stat(tmp_path / "target").st_mode & 0o777 == 0o711


def test_a_tree_deeper_than_descriptors_and_stack_is_removed(tmp_path):
    """As a container can make it, to become unremovable."""
    top = tmp_path / "deep"
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(2500):
        for name in ("d", "side"):
            os.mkdir(name, dir_fd=folder)
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    files.remove_tree(top)
    assert os.listdir(tmp_path) == []
