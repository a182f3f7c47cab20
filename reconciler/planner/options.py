"""What a user may ask of one planning run. For the planner and whoever calls it."""

from __future__ import annotations

from reconciler.kits.frozen import Frozen, replace


class Options(Frozen):
    """`take_over`: a stack that came from another file is taken over instead of refused.

    `remove_volumes`: `plan_down` deletes the stack's volumes with all data, too. Only ever by a user's explicit wish.
    `wait`: the plan ends with steps that wait until all is up and healthy, or done.

    `pull`, "missing", "always" or "never", goes before each container's pull_policy; "" = it does not. `pulled` are the
    references that this run has just pulled: no registry is asked for them again.

    `anew` are the keys of containers that are replaced although nothing has changed.
    """

    take_over: bool = False
    remove_volumes: bool = False
    wait: bool = False
    pull: str = ""
    pulled: frozenset[str] = frozenset()
    anew: frozenset[str] = frozenset()

    def after_pulling(self, references: frozenset[str]) -> Options:
        """The same wishes, for what is left when these references have been pulled."""
        return replace(self, pulled=self.pulled | references)
