"""`system info` and `system check` on the real machine: what they find, and that looking leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from support import world

from reconciler.engine.kernel import mounts

pytestmark = pytest.mark.kernel


@pytest.fixture
def bare(make_machine):
    return make_machine(images=False)


def check(machine, *, code=0, wrapper=()):
    done = subprocess.run(
        [*wrapper, *machine.argv("system", "check", "--json")],
        capture_output=True,
        text=True,
        env=machine.environment,
        check=False,
    )
    assert done.returncode == code, done
    machine.check_audit()
    return {one["subject"]: one for one in json.loads(done.stdout)}


def test_tries_work_here_and_leave_nothing_behind(bare):
    def seen():
        rules = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        return "trial" in rules, "trial" in links, mounts.mounts_below(bare.folder), os.listdir(bare.run)

    before = seen()
    found = check(bare)
    for subject in ("OCI runtime", "conmon", "nft", "kernel", "openat2", "overlayfs", "bridge", "veth", "nftables"):
        assert found[subject]["state"] == "ok", found[subject]
    assert seen() == before == (False, False, [], [])
    assert world.leftovers(bare.paths) == []


def test_other_firewall_is_named_with_what_to_do(bare):
    # in a network namespace that ends with the command
    table = "add table inet wall; add chain inet wall through { type filter hook forward priority 0; policy drop; }"
    wrapper = ("unshare", "--net", "sh", "-c", f"nft '{table}' && exec \"$@\"", "sh")
    found = check(bare, wrapper=wrapper)["other firewalls"]
    assert found["state"] == "warning"
    assert "the chain through of the nftables table wall drops" in found["message"]
    assert f"nft insert rule inet wall through iifname {bare.paths.bridge} accept" in found["remedy"]


def test_missing_kernel_feature_is_missing(bare):
    # without the right to mount, neither an overlay nor a network can be tried
    found = check(bare, code=1, wrapper=("setpriv", "--bounding-set", "-sys_admin"))
    assert found["overlayfs"]["state"] == "missing"
    assert found["network namespaces"]["state"] == "missing"


def test_remains_of_containers_that_are_gone(bare):
    folder = os.path.join(bare.paths.root, "containers", "f" * 64)
    os.makedirs(folder)
    found = check(bare)["remains"]
    assert found["state"] == "warning"
    assert folder in found["message"]


def test_info_counts_and_names(machine):
    machine.apply({"containers": {"one": {"image": "tiny", "command": ["sleep", "1000"]}}, "volumes": {}})
    facts = json.loads(machine.cli("system", "info", "--json").out)
    assert facts["containers"] == {"running": 1}
    assert facts["images"] == 1
    assert facts["places"]["root"] == machine.paths.root
    assert facts["network"]["subnet"]
    assert facts["machine"]["kernel"].startswith(os.uname().release)
    said = subprocess.run(["conmon", "--version"], capture_output=True, text=True, check=True).stdout
    assert facts["programs"]["conmon"] in said
    assert "conmon:" in machine.cli("system", "info").out
