"""The two roots: made private, and refused where others could get in."""

import os
import stat

import pytest

from reconciler.kits.errors import ReconcilerError
from reconciler.state import places


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILER_ROOT", str(tmp_path / "deep" / "root"))
    monkeypatch.setenv("RECONCILER_RUN", str(tmp_path / "run"))
    return tmp_path / "deep" / "root"


def test_roots_are_made_private_whatever_the_umask(root):
    for umask in (0, 0o777):
        before = os.umask(umask)
        try:
            places.ensure_roots()
            places.ensure_roots()
        finally:
            os.umask(before)
        for path in (root, os.environ["RECONCILER_RUN"]):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
            os.rmdir(path)


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o1777, 0o702])
def test_a_root_that_others_may_enter_is_refused_and_left_as_it_is(root, mode):
    root.mkdir(parents=True)
    root.chmod(mode)
    for check in (places.ensure_roots, places.check_state):
        with pytest.raises(ReconcilerError, match=f"may be entered by others \\(mode {mode:04o}\\)") as refused:
            check()
        assert refused.value.code == "unsafe-root"
        assert ("chmod 0700" in refused.value.hint) == (mode != 0o1777)
    assert stat.S_IMODE(root.stat().st_mode) == mode


def test_a_root_of_somebody_else_is_refused(root, monkeypatch):
    root.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ReconcilerError, match="belongs to user id"):
        places.check_state()


def test_a_root_that_others_could_put_another_in_place_of_is_refused(root, tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(ReconcilerError, match=f"others may write to {tmp_path}, in which a root lies"):
        places.ensure_roots()
    tmp_path.chmod(0o1777)  # as /tmp: nobody can rename what is another's
    places.ensure_roots()
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(ReconcilerError, match=f"user id 65534 owns {tmp_path}"):
        places.check_state()
    os.chown(tmp_path, 0, 4711)
    tmp_path.chmod(0o770)
    with pytest.raises(ReconcilerError, match="others may write"):
        places.check_state()
    os.chown(tmp_path, 0, 0)
    places.check_state()
    root.rmdir()
    root.symlink_to(tmp_path)
    assert os.environ["RECONCILER_ROOT"] == str(root), "it is resolved before it is checked"
    with pytest.raises(ReconcilerError, match="may be entered by others"):
        places.check_state()


def test_a_root_that_is_no_folder_is_refused(root):
    root.parent.mkdir()
    root.write_text("")
    with pytest.raises(ReconcilerError, match="is not a folder"):
        places.ensure_roots()


def test_checking_makes_nothing(root):
    places.check_state()
    assert not root.parent.exists()
