import importlib
import os

import pytest

BENCH = os.path.join(os.path.dirname(__file__), "..", "..", "bench")


@pytest.fixture
def report(monkeypatch):
    """The benchmark is scripts, not a package."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("report")
