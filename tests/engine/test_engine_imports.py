"""What the commands that people wait for load: nothing that their spec, their containers and their images do not use."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel

SLEEP = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
PLAIN = {
    "containers": {
        "db": {**SLEEP, "volumes": ["data:/data"], "environment": {"NAME": "value"}},
        "web": {**SLEEP, "links": ["db"], "ports": ["80"]},
    },
    "volumes": {"data": {}},
}

HEAVY = {
    "pydantic",
    "asyncio",
    "concurrent",
    "pyroute2",
    "rich",
    "ssl",
    "hashlib",
    "shutil",
    "gettext",
    "ipaddress",
    "dataclasses",
}
OF_CHANGES = {"subprocess", "ctypes", "reconciler.engine.containers.lifecycle", "reconciler.executor.threads"}
OF_SPECS = {"yaml", "reconciler.spec.loader", "reconciler.spec.containers"}
OF_RARE_KEYS = {
    *(f"reconciler.spec.{name}" for name in ("confinement", "env_files", "limits", "names", "sections")),
    "reconciler.kits.seccomp",
    "reconciler.runtimes.embedded.capacity",
    "reconciler.runtimes.embedded.permission",
}
OF_HEALTH = {f"reconciler.engine.containers.health.{name}" for name in ("check", "prober", "verdict")}
OF_PULLS = {f"reconciler.{name}" for name in ("engine.images.registry", "loop.pulling", "runtimes.embedded.pulls")}


def loaded(machine, *arguments):
    """The modules, and the packages they are in, that a command has loaded."""
    code = "from reconciler.cli.main import entry; entry()"
    command = [sys.executable, "-X", "importtime", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=machine.environment, check=True)
    names = re.findall(r"^import time: +\d+ \| +\d+ \| *(\S+)$", done.stderr, re.MULTILINE)
    assert "reconciler.cli.main" in names
    return {name.rsplit(".", depth)[0] for name in names for depth in range(name.count(".") + 1)}


def test_what_is_not_used_is_not_loaded(machine):
    spec = machine.spec(PLAIN)
    unused = HEAVY | OF_RARE_KEYS | OF_HEALTH | OF_PULLS
    assert loaded(machine, "apply", spec) & unused == set()
    unused |= OF_CHANGES | OF_SPECS
    assert loaded(machine, "apply", spec) & unused == set()
    for room in ("engine.networks", "engine.volumes", "loop", "planner", "spec", "state"):
        unused.add(f"reconciler.{room}")
    assert loaded(machine, "ps") & (unused | {"socket"}) == set()
