"""On cgroup v2: pausing."""

from __future__ import annotations

import pytest
from support.machine import until

from reconciler.engine.kernel import cgroups

pytestmark = [pytest.mark.kernel, pytest.mark.images]

COUNTS = ["sh", "-c", "trap 'exit 0' TERM; while :; do echo x; sleep 0.05; done"]


def test_a_paused_container_stands_still_until_it_is_unpaused_stopped_or_killed(machine):
    machine.apply({"containers": {"web": {"image": "tiny", "command": COUNTS, "stop_grace_period": "60s"}}})
    group = f"{machine.paths.cgroup}/{machine.record('web').id}"

    def lines():
        return machine.cli("logs", "web").out.count("x")

    until(lines, 120)
    machine.cli("pause", "web")
    assert cgroups.is_frozen(group)
    assert "(Paused)" in machine.cli("ps").out
    still = lines()
    assert lines() == still
    machine.cli("unpause", "web")
    until(lambda: lines() > still, 120)
    machine.cli("pause", "web")
    machine.cli("stop", "web")
    assert machine.record("web").exit_code == 0
    machine.cli("start", "web")
    machine.cli("pause", "web")
    machine.cli("kill", "web")
    until(lambda: machine.state("web") == "exited", 120)
