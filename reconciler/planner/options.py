"""What a user may ask of one planning run. Imports nothing; for the planner and whoever calls it."""

from __future__ import annotations


class Options:
    """`take_over`: a stack that came from another file is taken over instead of refused.

    `remove_volumes`: `plan_down` deletes the stack's volumes with all data, too. Only ever by a user's explicit wish.
    `wait`: the plan ends with steps that wait until all is up and healthy, or done.

    `pull`, "missing", "always" or "never", goes before each container's pull_policy; "" = it does not. `pulled` are the
    references that this run has just pulled: no registry is asked for them again.
    """

    __slots__ = ("pull", "pulled", "remove_volumes", "take_over", "wait")

    def __init__(
        self,
        *,
        take_over: bool = False,
        remove_volumes: bool = False,
        wait: bool = False,
        pull: str = "",
        pulled: frozenset[str] = frozenset(),
    ) -> None:
        self.take_over = take_over
        self.remove_volumes = remove_volumes
        self.wait = wait
        self.pull = pull
        self.pulled = pulled

    def after_pulling(self, references: frozenset[str]) -> Options:
        """The same wishes, for what is left when these references have been pulled."""
        return Options(
            take_over=self.take_over,
            remove_volumes=self.remove_volumes,
            wait=self.wait,
            pull=self.pull,
            pulled=self.pulled | references,
        )
