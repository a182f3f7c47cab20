"""A slice of the tests inside a Debian 12 guest, booted for it; `make test-vm` runs all of them, over a reboot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")

pytestmark = [pytest.mark.kernel, pytest.mark.images, pytest.mark.slow]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the guest is an x86_64 one")
def test_slice_passes_in_the_guest():
    done = subprocess.run(
        [sys.executable, RUN, "--slice", "--deadline", "1500"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
