"""What a user may ask of one planning run. Imports nothing; for the planner and whoever calls it."""

from __future__ import annotations


class Options:
    """`take_over`: a stack that came from another file is taken over instead of refused.

    `remove_volumes`: `plan_down` deletes the stack's volumes with all data, too. Only ever by a user's explicit wish.
    """

    __slots__ = ("remove_volumes", "take_over")

    def __init__(self, *, take_over: bool = False, remove_volumes: bool = False) -> None:
        self.take_over = take_over
        self.remove_volumes = remove_volumes
