"""Tests for inside the guest of tests/vm/run.py, and not for elsewhere."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("RECONCILER_GUEST") else ["*.py"]
