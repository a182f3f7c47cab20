"""Machines to test networks on; all are gone after the test (or the session)."""

from __future__ import annotations

import contextlib

import pytest
from netmachine import Machine


@pytest.fixture(scope="session")
def machines(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield lambda: Machine(tmp_path_factory.mktemp("machine"), stack)


@pytest.fixture
def machine(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Machine(tmp_path, stack)
