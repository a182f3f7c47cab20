"""What is started before the guest's reboot, under the default roots; `after_reboot.py` looks at it afterwards."""

from __future__ import annotations

import subprocess

import pytest
from rebooted import SPEC, STACK, reconciler
from support.machine import image

pytestmark = [pytest.mark.kernel, pytest.mark.images]


def test_before_the_reboot():
    with open(SPEC, "w", encoding="utf-8") as file:
        file.write(STACK)
    reconciler("load", image("tiny"))
    reconciler("apply", SPEC)
    reconciler("stop", "-t", "0", "stopped")
    assert reconciler("ps", "--filter", "status=running").count("\n") == 4
    subprocess.run(["sync"], check=True)
