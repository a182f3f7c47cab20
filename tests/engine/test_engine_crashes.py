"""Kill `apply` at any effect: the next `apply` gets there, nothing is left over, and `down` leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

DRIVER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support", "crashes.py")
EVERYTHING = bool(os.environ.get("RECONCILER_TEST_TORTURE"))
STRIDE = 3

PAIR = {
    "containers": {
        "db": {
            "image": "tiny",
            "command": ["sleep", "1000"],
            "volumes": ["data:/srv/fixture", "/anonymous"],
            "stop_grace_period": "0s",
        },
        "web": {
            "image": "tiny",
            "command": ["httpd", "-f"],
            "links": ["db:mysql"],
            "ports": ["80"],
            "restart": "always",
            "stop_grace_period": "0s",
        },
    },
    "volumes": {"data": {}},
}


@pytest.mark.kernel
@pytest.mark.slow
def test_apply_is_killed_at_an_effect_and_runs_again(machine):
    """After every effect from the first to the last, in steps that between them meet each kind; `make torture`: all of
    them, and before each one, too.
    """
    options = ["--both"] if EVERYTHING else ["--every", str(STRIDE)]
    done = subprocess.run(
        [sys.executable, DRIVER, machine.spec(PAIR), *options],
        env=machine.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=3600,
    )
    first, *rounds = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [one for one in rounds if one["differences"]]
    print(f"crash points: {len(rounds)} of {first['effects']} effects, survived: {len(rounds) - len(failed)}")
    print(f"leaked or wrong: {len(failed)}")
    report = [f"{one['when']} {one['effect']} {one['name']}\n  " + "\n  ".join(one["differences"]) for one in failed]
    assert not failed, "\n".join(report)
    assert done.returncode == 0
    assert rounds[-1]["effect"] > first["effects"] * 0.9, "it came to the last effects"
