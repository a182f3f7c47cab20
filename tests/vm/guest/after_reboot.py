"""After the guest's reboot: nothing runs, everything is known, and one apply brings it all back with its data."""

from __future__ import annotations

import os
import signal
import urllib.request

import pytest
from rebooted import ENDED, OTHER, OTHER_STACK, SPEC, listed, reconciler, runs, write
from support.machine import until

pytestmark = [pytest.mark.kernel, pytest.mark.images]

SAME = ("id", "state", "exit_code", "started_at", "finished_at", "error")


@pytest.fixture(scope="module", autouse=True)
def _down_at_the_end():
    yield
    for spec in (SPEC, ENDED, OTHER):
        reconciler("down", "--volumes", "--yes", spec)
    assert reconciler("ps", "-a", "-q") == ""
    until(lambda: not os.path.exists("/sys/fs/cgroup/reconciler"), 60)
    until(lambda: not os.path.exists("/sys/class/net/reconciler0"), 60)


@pytest.fixture(scope="module")
def down():
    """What there was before anybody did anything."""
    assert not os.path.exists("/run/reconciler")
    return listed()


def test_nothing_runs_and_all_is_known(down):
    assert {one["state"] for one in down.values()} <= {"exited", "restarting"}
    codes = {name: one["exit_code"] for name, one in down.items()}
    assert codes["web"] is None  # nobody saw it end
    assert (codes["stopped"], codes["exhausted"], codes["job"]) == (137, 3, 0)
    assert "4 containers to start" in reconciler("plan", "--detailed-exitcode", SPEC, code=2)
    plan = reconciler("plan", "--detailed-exitcode", ENDED, code=2)
    assert "it exited with code 3; its policy gave up after 2 restarts" in plan
    assert "1 container to start" in plan


def test_what_was_stopped_or_gave_up_or_is_done_is_left_alone_by_the_keeper(down):
    """It looks after everything, from the first end after a boot on."""
    reconciler("apply", write(OTHER, OTHER_STACK))
    before = listed()["other"]["pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: listed()["other"]["pid"] not in (0, None, before), 60)
    now = listed()
    for name in ("stopped", "exhausted", "job"):
        assert {key: now[name][key] for key in SAME} == {key: down[name][key] for key in SAME}
    assert (runs("exhausted"), runs("job")) == (3, 1)


def test_apply_brings_back_what_ran(down):
    reconciler("apply", SPEC)
    up = {name: one for name, one in listed().items() if one["stack"] == "stack"}
    assert {one["state"] for one in up.values()} == {"running"}
    assert {name: one["id"] for name, one in up.items()} == {
        name: one["id"] for name, one in down.items() if one["stack"] == "stack"
    }
    assert reconciler("exec", "web", "wget", "-q", "-O", "-", "http://data/") == "started\nstarted\n"
    # told to end by the shutdown, it had its time, and its policy did not bring it back into a machine that went down
    assert reconciler("exec", "proper", "cat", "/data/proper") == "began\nended\nbegan\n"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open("http://127.0.0.1:8080/", timeout=30) as answer:
        assert answer.read() == b"hello from tiny\n"


def test_apply_tries_what_gave_up_once_more_and_runs_no_job_again():
    reconciler("apply", ENDED, code=None)
    until(lambda: runs("exhausted") == 6 and listed()["exhausted"]["state"] == "exited", 60)
    assert runs("job") == 1
