"""The main job on a machine as users have it: linked containers, a volume, a published port, by the command line."""

from __future__ import annotations

import json
import os
import urllib.request

import pytest
from support.machine import until

from reconciler.engine.containers import apparmor

pytestmark = [pytest.mark.kernel, pytest.mark.images, pytest.mark.slice]

SERVE = (
    "echo $DB_ENV_PASSWORD > /www/env; until wget -q -O /www/db http://db/; do sleep 0.1; done; exec httpd -f -h /www"
)
STACK = {
    "containers": {
        "data": {
            "image": "tiny",
            "command": ["sh", "-c", "echo kept >> /data/index.html; exec httpd -f -h /data"],
            "environment": {"PASSWORD": "secret"},
            "expose": ["80"],
            "volumes": ["files:/data"],
        },
        "web": {"image": "tiny", "command": ["sh", "-c", SERVE], "links": ["data:db"], "ports": ["80"]},
    },
    "volumes": {"files": {}},
}


def test_machine_is_what_users_have():
    with open("/proc/1/comm", encoding="utf-8") as file:
        assert file.read() == "systemd\n"
    with open("/sys/module/apparmor/parameters/enabled", encoding="utf-8") as file:
        assert file.read() == "Y\n"
    assert os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    assert os.uname().release.startswith("6.1.")


def test_machine_lacks_nothing(make_machine):
    machine = make_machine(images=False)
    found = {one["subject"]: one for one in json.loads(machine.cli("system", "check", "--json").out)}
    assert {one["state"] for one in found.values()} <= {"ok", "warning"}
    assert found["control groups"]["message"] == "v2"
    assert apparmor.default_profile()[0] in found["AppArmor"]["message"]
    for controller in ("memory", "cpu", "pids", "cpuset", "swap"):
        assert found[controller]["state"] == "ok", found


def test_links_volume_and_port(machine):
    machine.apply(STACK)

    def page(name):
        port = machine.cli("port", "web", "80/tcp").out.split()[0].rpartition(":")[2]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def ask():
            try:
                with opener.open(f"http://127.0.0.1:{port}/{name}", timeout=30) as answer:
                    return answer.read().decode()
            except OSError:
                return None

        return until(ask, 120)

    assert page("db") == "kept\n"
    assert machine.exec("web", "cat", "/proc/1/attr/current") == f"{apparmor.default_profile()[0]} (enforce)\n"
    assert page("env") == "secret\n"
    again = machine.apply(STACK)
    assert "nothing to do" in again.out + again.err, again
    machine.cli("down", "stack")
    machine.apply(STACK)
    assert page("db") == "kept\nkept\n"
