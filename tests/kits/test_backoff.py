"""Delays and paces: pure arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.kits.backoff import RESTART_LAST, Pace, restart_delay


def test_restarts_are_delayed_as_docker_does_it():
    assert [restart_delay(1.0, n) for n in range(5)] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert restart_delay(9.9, 1000) == RESTART_LAST
    assert restart_delay(10.0, 1000) == 0.0


@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 50),
    steps=st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_a_pace_is_kept_whenever_it_is_asked(rate, burst, steps):
    pace, now, gone = Pace(rate, burst), 1000.0, 0
    for step in steps:
        now += step
        wait = pace.next_in(now)
        gone += not wait
        assert 0.0 <= wait <= 1.0 / rate + 1e-9
        assert gone <= burst + (now - 1000.0) * rate + 1e-6


def test_who_waits_as_told_may_go():
    pace, now, gone = Pace(4.0, 2), 0.0, []
    while len(gone) < 6:
        wait = pace.next_in(now)
        if wait:
            now += wait
        else:
            gone.append(now)
    assert gone == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0]
