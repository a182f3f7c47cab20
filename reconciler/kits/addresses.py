"""Host addresses of published ports compared. Imports nothing of the project; anyone may import it."""

from __future__ import annotations

_ALL = {"": "*", "0.0.0.0": "4", "::": "6"}  # noqa: S104 - compared, not bound


def overlap(left: str, right: str) -> bool:
    """Whether one port can't be published on both host addresses; "" is every address, of IPv4 and IPv6."""
    whole_left, whole_right = _ALL.get(left), _ALL.get(right)
    if left == right or "*" in (whole_left, whole_right):
        return True
    return bool(whole_left or whole_right) and (":" in left) == (":" in right)
