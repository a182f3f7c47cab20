"""What is checked, when, and what it comes to: pure functions, against Docker's rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.containers.health import verdict
from reconciler.engine.containers.health.check import Check, check_of
from reconciler.engine.containers.health.confining import mask_of
from reconciler.engine.containers.health.verdict import HEALTHY, STARTING, UNHEALTHY, Result, Verdict, judge
from reconciler.engine.records import HealthConfig, ImageConfig

THEIRS = HealthConfig(("CMD", "theirs"), 7.0, 3.0, 60.0, 2.0, 5)


def image(health=None, shell=()):
    return ImageConfig("sha256:1", (), shell=shell, health=health)


def check(**more):
    return Check(**{"arguments": ("x",), "interval": 30.0, "timeout": 3.0, "start_period": 0.0, "start_interval": None, "retries": 3, **more})  # fmt: skip


@pytest.mark.parametrize(
    ("own", "theirs", "expected"),
    [
        (None, None, None),
        (HealthConfig(interval=1.0), None, None),
        (HealthConfig(("CMD", "own")), None, (("own",), 30.0, 30.0, 0.0, None, 3)),
        (None, THEIRS, (("theirs",), 7.0, 3.0, 60.0, 2.0, 5)),
        (HealthConfig(interval=1.0, retries=9), THEIRS, (("theirs",), 1.0, 3.0, 60.0, 2.0, 9)),
        (HealthConfig(("CMD-SHELL", "a && b")), THEIRS, (("/bin/sh", "-c", "a && b"), 7.0, 3.0, 60.0, 2.0, 5)),
        (HealthConfig(("NONE",)), THEIRS, None),
        (None, HealthConfig(("NONE",)), None),
        (None, HealthConfig(("CMD", "x"), interval=-4.0, retries=-1), (("x",), 30.0, 30.0, 0.0, None, 3)),
    ],
)
def test_the_image_says_what_the_configuration_leaves_open(own, theirs, expected):
    found = check_of(own, image(theirs))
    names = ("arguments", "interval", "timeout", "start_period", "start_interval", "retries")
    assert (found and tuple(getattr(found, name) for name in names)) == expected


def test_an_image_may_bring_a_shell_of_its_own():
    found = check_of(HealthConfig(("CMD-SHELL", "x")), image(shell=("/bin/bash", "-eo", "pipefail", "-c")))
    assert found.arguments == ("/bin/bash", "-eo", "pipefail", "-c", "x")


@pytest.mark.parametrize("test", [("CMD",), ("CMD-SHELL",), ("CMD", ""), ("curl", "localhost"), ("\x1b[2J",)])
def test_an_image_whose_check_makes_no_sense_has_one_that_says_so(test):
    found = check_of(None, image(HealthConfig(test)))
    assert found.arguments == ()
    assert "the image's health check" in found.fault
    assert found.fault.isprintable()


def result(code, at):
    return Result(at, at + 0.1, code, f"at {at}")


def after(results, check, started=0.0):
    found, words = Verdict(), []
    for one in results:
        found = judge(found, one, check, started)
        words.append((found.status, found.streak))
    return words


def test_failures_count_once_the_start_period_is_over_and_a_success_ends_it():
    slow = check(start_period=100.0, retries=2)
    assert after([result(1, 10), result(1, 99), result(1, 100), result(1, 130)], slow) == [
        (STARTING, 0),
        (STARTING, 0),
        (STARTING, 1),
        (UNHEALTHY, 2),
    ]
    assert after([result(0, 10), result(1, 20), result(1, 30), result(0, 40)], slow) == [
        (HEALTHY, 0),
        (HEALTHY, 1),
        (UNHEALTHY, 2),
        (HEALTHY, 0),
    ]


def test_what_docker_would_not_have_asked_yet_does_not_count():
    """It probes for the first time after an interval; with three retries it says unhealthy after three of them."""
    words = after([result(1, at) for at in (1, 2, 5, 29.9, 30, 60, 90)], check())
    assert words == [(STARTING, 0)] * 4 + [(STARTING, 1), (STARTING, 2), (UNHEALTHY, 3)]


@given(st.lists(st.tuples(st.sampled_from([0, 1, 137, -1]), st.floats(0, 300)), max_size=30), st.integers(1, 5))
def test_verdicts_hold_together(probes, retries):
    found = Verdict()
    some = check(retries=retries, start_period=40.0)
    for code, at in sorted(probes, key=lambda pair: pair[1]):
        before, found = found, judge(found, result(code, at), some, 0.0)
        assert found.log[-1].code == code
        assert len(found.log) <= verdict.KEPT
        if code == 0:
            assert (found.status, found.streak) == (HEALTHY, 0)
        else:
            assert found.status in (before.status, UNHEALTHY)
            assert found.streak <= before.streak + 1
            assert (found.status == UNHEALTHY) == (found.streak >= retries)


def test_one_that_starts_is_asked_often_at_first_and_never_less_often_than_its_interval():
    assert [check().pause(ran, starting=True) for ran in (0, 1, 4, 12, 25, 30)] == [0.5, 0.5, 1, 3, 5, 30]
    assert check().pause(1, starting=False) == 30
    assert check(start_interval=2.0).pause(0, starting=True) == 2
    assert check(start_period=90.0).pause(80, starting=True) == 5
    assert check(interval=0.2).pause(0.1, starting=True) == 0.2
    assert check(interval=1.0, start_interval=9.0).pause(0, starting=True) == 1


def test_a_capability_that_is_not_known_is_not_given():
    assert mask_of(("CAP_CHOWN", "CAP_NET_RAW", "CAP_CHOWN", "CAP_OF_THE_FUTURE")) == 1 | 1 << 13
