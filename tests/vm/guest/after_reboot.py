"""After the guest's reboot: nothing runs, everything is known, and one apply brings it all back with its data."""

from __future__ import annotations

import json
import os
import urllib.request

import pytest
from rebooted import SPEC, reconciler
from support.machine import until

pytestmark = [pytest.mark.kernel, pytest.mark.images]


@pytest.fixture(scope="module", autouse=True)
def _down_at_the_end():
    yield
    reconciler("down", "--volumes", "--yes", SPEC)
    assert reconciler("ps", "-a", "-q") == ""
    until(lambda: not os.path.exists("/sys/fs/cgroup/reconciler"), 60)
    until(lambda: not os.path.exists("/sys/class/net/reconciler0"), 60)


def listed() -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in json.loads(reconciler("ps", "-a", "--json"))}


def test_apply_brings_back_what_ran():
    assert not os.path.exists("/run/reconciler")
    down = listed()
    assert {one["state"] for one in down.values()} <= {"exited", "restarting"}
    assert down["web"]["exit_code"] is None  # nobody saw it end
    assert down["stopped"]["exit_code"] == 137

    plan = reconciler("plan", "--detailed-exitcode", SPEC, code=2)
    assert "4 containers to start" in plan

    reconciler("apply", SPEC)
    up = listed()
    assert {one["state"] for one in up.values()} == {"running"}
    assert {name: one["id"] for name, one in up.items()} == {name: one["id"] for name, one in down.items()}
    assert reconciler("exec", "web", "wget", "-q", "-O", "-", "http://data/") == "started\nstarted\n"
    # told to end by the shutdown, it had its time, and its policy did not bring it back into a machine that went down
    assert reconciler("exec", "proper", "cat", "/data/proper") == "began\nended\nbegan\n"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open("http://127.0.0.1:8080/", timeout=30) as answer:
        assert answer.read() == b"hello from tiny\n"
