"""What every test has: the audit hook; and for tests of the real engine a machine of their own that leaves nothing behind."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from support import audit
from support.machine import Machine, sweep_killed_runs

audit.install()

settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's business
settings.load_profile("untimed")

ALLOWED_SKIPS: tuple[str, ...] = ("another firewall does not work here", "the guest is an x86_64 one")
"""Reasons for which a test may be skipped in `make test`; everything else that was skipped fails it."""

_skipped: list[tuple[str, str]] = []


@pytest.fixture(autouse=True)
def _effects_only_from_the_kernel():
    audit.take()
    yield
    seen = audit.take()
    assert not seen, "\n".join(seen)


@pytest.fixture(scope="session")
def _no_remains():
    """Remains of killed runs would take this run's subnets and ports."""
    for folder in sweep_killed_runs():
        print(f"swept {folder}, left by a run that was killed")


@pytest.fixture
def make_machine(_no_remains):
    """Makes machines; each is ended after the test, and must not have left anything."""
    made = []

    def make(**options):
        made.append(Machine(**options))
        return made[-1]

    yield make
    left = [line for one in made for line in one.end()]
    assert not left, "left behind:\n" + "\n".join(left)


@pytest.fixture
def machine(make_machine):
    return make_machine()


def pytest_runtest_logreport(report):
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped.append((report.nodeid, reason.removeprefix("Skipped: ")))


def pytest_sessionfinish(session):
    if os.environ.get("RECONCILER_TEST_STRICT") and _unexpected() and session.exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    if os.environ.get("RECONCILER_TEST_STRICT"):
        for test, reason in _unexpected():
            terminalreporter.write_line(f"FAILED: skipped without leave: {test}: {reason}", red=True)


def _unexpected():
    return [(test, reason) for test, reason in _skipped if reason not in ALLOWED_SKIPS]
