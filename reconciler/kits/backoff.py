"""How long to wait before the next try. Pure arithmetic; who waits brings the clock."""

from __future__ import annotations

RESTART_FIRST = 0.1
RESTART_LAST = 60.0
RESTART_RESET = 10.0
"""Docker's series for restarts, in seconds: 0.1, 0.2, 0.4 ... 60; a container that ran 10 s begins anew."""


def restart_delay(ran: float, restarts: int) -> float:
    """Seconds until the next start of a container that ran `ran` seconds, after `restarts` restarts in a row.

    One that ran long enough to count as well is started at once.
    """
    if ran >= RESTART_RESET:
        return 0.0
    return min(RESTART_LAST, RESTART_FIRST * 2.0 ** min(restarts, 30))


class Pace:
    """Lets things through one after another: `burst` of them at once after a quiet time, and `rate` a second for long."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._let = float(burst)
        self._at: float | None = None

    def next_in(self, now: float) -> float:
        """0.0, and one has gone; or the seconds until the next may go. `now` is in seconds of any clock that only grows."""
        if self._at is not None:
            self._let = min(self._burst, self._let + (now - self._at) * self._rate)
        self._at = now
        if self._let >= 1.0:
            self._let -= 1.0
            return 0.0
        return (1.0 - self._let) / self._rate


RETRY_FIRST = 0.5
RETRY_LAST = 10.0
"""For another machine that is busy or away, in seconds: 0.5, 1, 2 ... 10."""


def retry_delay(tries: int) -> float:
    """Seconds until the next try after `tries` that failed in a row."""
    return min(RETRY_LAST, RETRY_FIRST * 2.0 ** min(max(tries - 1, 0), 30))
