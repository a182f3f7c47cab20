"""The lock of a stack: one holder, a note that says who, and no word of somebody who is gone."""

import os
import subprocess
import sys
import time

import pytest

from reconciler.kits.errors import LockedError
from reconciler.state.locks import holder_of, stack_lock

HOLD = """
import sys
from reconciler.state.locks import stack_lock
with stack_lock("shop", "a command"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("RECONCILER_RUN", str(tmp_path / "run"))


@pytest.fixture
def other():
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_nobody_else_gets_in_and_learns_who_is_in(other):
    before = time.time()
    holder = holder_of("shop")
    assert (holder.pid, holder.command) == (other.pid, "a command")
    assert 0 <= before - holder.since < 60
    with pytest.raises(LockedError) as refused, stack_lock("shop", "me", wait=False):
        raise AssertionError
    assert f"held by pid {other.pid} (a command) since " in refused.value.message
    assert refused.value.exit_code == 5
    with stack_lock("another", "me", wait=False) as waited:
        assert not waited


def test_a_killed_holder_holds_nothing_and_is_not_named(other):
    other.kill()
    other.wait()
    assert holder_of("shop") is None
    with stack_lock("shop", "me", wait=False) as waited:
        assert not waited
        assert holder_of("shop").pid == os.getpid()
    assert holder_of("shop") is None


def test_waiting_ends_when_the_holder_does(other):
    def told(text):
        assert text.startswith(f"waiting for stack shop, held by pid {other.pid} (a command) since ")
        other.stdin.close()

    with stack_lock("shop", "me", on_wait=told) as waited:
        assert waited
        assert holder_of("shop").command == "me"


@pytest.mark.usefixtures("other")
def test_a_note_of_somebody_who_is_gone_is_not_believed():
    """The holder changed, and the new one has not signed yet: the note in the file is the old one's."""
    path = os.path.join(os.environ["RECONCILER_RUN"], "locks", "stack-shop.lock")
    with open(path, "rb") as file:
        note = file.read()
    with open(path, "r+b") as file:
        file.write(note.replace(b'"started": ', b'"started": 1'))
    assert holder_of("shop") is None
    with pytest.raises(LockedError, match="stack shop is held by another process"), stack_lock("shop", "x", wait=False):
        raise AssertionError
    with open(path, "r+b") as file:
        file.write(b"\0" * 50)
    assert holder_of("shop") is None


def test_the_lock_is_not_inherited():
    """A monitor that a run leaves behind must not keep its stack locked."""
    with stack_lock("mine", "me"):
        sleeper = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert holder_of("mine") is None
        with stack_lock("mine", "me", wait=False):
            pass
    finally:
        sleeper.kill()
        sleeper.wait()


def test_long_commands_are_cut_and_leave_nothing_of_the_note_before():
    with stack_lock("shop", "x" * 5000 + "ü"):
        assert holder_of("shop").command == "x" * 128
    with stack_lock("shop", "short"):
        assert holder_of("shop").command == "short"
