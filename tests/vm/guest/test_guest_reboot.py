"""What is started before the guest's reboot, under the default roots; `after_reboot.py` looks at it afterwards."""

from __future__ import annotations

import subprocess

import pytest
from rebooted import ENDED, ENDED_STACK, SPEC, STACK, listed, reconciler, runs, write
from support.machine import image, until

pytestmark = [pytest.mark.kernel, pytest.mark.images]


def test_before_the_reboot():
    reconciler("load", image("tiny"))
    reconciler("apply", write(SPEC, STACK))
    reconciler("stop", "-t", "0", "stopped")
    assert reconciler("ps", "--filter", "status=running").count("\n") == 4

    reconciler("apply", write(ENDED, ENDED_STACK), code=None)  # an error, unless it ran on for a moment each time
    until(lambda: runs("exhausted") == 3 and listed()["exhausted"]["state"] == "exited", 60)
    assert (listed()["job"]["state"], runs("job")) == ("exited", 1)
    subprocess.run(["sync"], check=True)
