import importlib
import os

import pytest

BENCH = os.path.join(os.path.dirname(__file__), "..", "..", "bench")


@pytest.fixture
def script(monkeypatch):
    """Imports one of the benchmark's modules: it is scripts, not a package."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module


@pytest.fixture
def report(script):
    return script("report")
