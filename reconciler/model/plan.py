"""A plan: the actions that make observed become desired, as a graph, each with its reasons.

Data only. The planner makes plans, the executor carries them out, the command line prints them. Nothing here decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from reconciler.kits.source import Origin, Position
    from reconciler.model.action import Action

PULL = "pull"
REPAIR = "repair"
RENAME = "rename"
CREATE = "create"
START = "start"
STOP = "stop"
IN_PLACE = "in place"
RESTART = "restart"
REPLACE = "replace"
FOLLOW = "follow"
REMOVE = "remove"
WAIT = "wait"
"""Change classes, cheapest first for what exists: in place, restart, replace; follow = because of another container,
wait = none at all."""

OPENS, BEHIND = "opens", "behind"
"""A step's part in the gate of a first start."""


SPEC, DRIFT, IMAGE, FOLLOWS, ASKED = "spec", "drift", "image", "follows", "asked"
"""What a reason is of: an edit of the spec; something that happened behind our back; an image that is another one, or not
here; another container; a user's wish for this one run."""


class Reason(Frozen):
    """Why a step is there. With `field`: that setting went from `old` to `new` (already spelled and masked).

    `old` or `new` is None when the field was not set. `position` is where the new value stands, if in a spec or an env
    file, and `origins` are what it came from on its way there: variables, defaults, files. `kind` is one of the above. `must`
    says of a field why its change takes more than a change in place, "" = it does not.
    """

    text: str
    field: str = ""
    old: str | None = None
    new: str | None = None
    position: Position | None = None
    kind: str = SPEC
    origins: tuple[Origin, ...] = ()
    must: str = ""


class Step(Frozen):
    """One action of a plan. `after` holds the numbers of the steps that must have succeeded before.

    `change` is the class above; `subject_key` groups the steps of one container, volume or image (a replacement is
    four steps, one group): it is the subject of the group's actions, "container web". A wait is a group of its own. `undo` is run if the plan
    fails while none of the steps that wait for this one has begun, or each of those is taken back as well: it takes
    back what a failed first start would leave behind. `data` says what happens to data, parts set apart by "; ",
    "" = nothing. `downtime`: what runs is down from this step until it is started again.

    `gate` makes a first start all or nothing: no step BEHIND it begins before every step that OPENS it has succeeded,
    so a container that can't be made is found before any of them runs. "" = not concerned.

    `known_after_pull` names what only an image can tell that is yet to be pulled.
    """

    number: int
    action: Action
    change: str
    subject_key: str
    reasons: tuple[Reason, ...]
    after: tuple[int, ...] = ()
    undo: Action | None = None
    data: str = ""
    downtime: bool = False
    gate: str = ""
    known_after_pull: tuple[str, ...] = ()


class Plan(Frozen):
    """Steps in an order that respects `after`; equal inputs give equal plans, byte for byte.

    `notes` are things the user should know that are no steps ("web is paused and stays so").
    """

    stack: str
    source: str
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.steps
