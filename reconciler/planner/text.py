"""A plan as plain text for a person: one line an action, why, what changes, where that stands, what happens to data.

No colour: each action's line begins with a sign that a command line may colour by (+ up, - down, ~ changed in place).
Everything that comes from a spec or an image is escaped. For `cli`, `loop` and tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.text import plural, printable
from reconciler.model.action import RemoveVolume, StopContainer
from reconciler.model.plan import (
    CREATE,
    DRIFT,
    FOLLOW,
    IN_PLACE,
    PULL,
    REMOVE,
    RENAME,
    REPAIR,
    REPLACE,
    RESTART,
    START,
    STOP,
    WAIT,
)
from reconciler.planner.changes import LISTS

if TYPE_CHECKING:
    from reconciler.model.plan import Plan, Reason, Step

_SIGNS = {
    "pull": "+",
    "repair": "~",
    "create": "+",
    "start": "+",
    "update": "~",
    "rename": "~",
    "wait": ".",
    "stop": "-",
    "remove": "-",
}
_CLASSES = {
    PULL: "",
    REPAIR: "",
    RENAME: "",
    CREATE: "",
    START: "",
    STOP: "",
    IN_PLACE: "changed in place",
    RESTART: "restarted",
    REPLACE: "replaced",
    FOLLOW: "replaced",
    REMOVE: "",
    WAIT: "",
}
_COUNTED = (
    (REPAIR, "network", "repair"),
    (PULL, "image", "pull"),
    (RENAME, "volume", "rename"),
    (RENAME, "container", "rename"),
    (CREATE, "volume", "create"),
    (CREATE, "container", "create"),
    (STOP, "container", "stop"),
    (START, "container", "start"),
    (IN_PLACE, "volume", "change in place"),
    (IN_PLACE, "container", "change in place"),
    (RESTART, "container", "restart"),
    (REPLACE, "container", "replace"),
    (FOLLOW, "container", "replace because of others"),
    (REMOVE, "container", "remove"),
    (REMOVE, "volume", "delete"),
)
"""(change class, kind of subject, words), in the order in which a summary has them."""
_LONGEST = 80
"""Characters of a value that are shown."""


def render(plan: Plan) -> str:
    """The whole plan, ending with a newline."""
    title = f"Stack {printable(plan.stack)}" + (f" from {printable(plan.source)}" if plan.source else "")
    notes = [f"note: {printable(note)}" for note in plan.notes]
    if plan.empty:
        return "\n".join([f"{title}: nothing to do.", *notes]) + "\n"
    lines = [title + ":", ""]
    width = max(len(printable(step.action.subject)) for step in plan.steps)
    explained: set[str] = set()
    for step in plan.steps:
        if step.action.verb == "prepare":
            continue  # the first half of a start: nothing that a reader could see happen
        lines += _step(step, width, explain=step.subject_key not in explained)
        explained.add(step.subject_key)
    return "\n".join([*lines, "", *_closing(plan), *notes]) + "\n"


def _step(step: Step, width: int, *, explain: bool) -> list[str]:
    verb, subject = step.action.verb, printable(step.action.subject)
    line = f"{_SIGNS[verb]} {verb:<6} {subject:<{width}}"
    below: list[str] = []
    if explain:
        words = _CLASSES[step.change]
        plain = [_plain(reason) for reason in step.reasons if not reason.field]
        changes = [_change(reason) for reason in step.reasons if reason.field]
        if plain and not changes:
            words += (": " if words else "") + plain.pop(0)
        line += f"  {words}" if words else ""
        why = dict.fromkeys(reason.must for reason in step.reasons if reason.must)
        below = [*changes, *plain, *(f"because {must}" for must in why)]
    if step.known_after_pull:
        below.append(f"known after pull: {', '.join(step.known_after_pull)}")
    if step.data:
        below += [f"data: {printable(part)}" for part in step.data.split("; ")]
    return [line.rstrip(), *(f"      {text}" for text in below)]


def _plain(reason: Reason) -> str:
    """A reason without a field; what has happened behind our back is marked."""
    return f"{'drift: ' if reason.kind == DRIFT else ''}{printable(reason.text)}"


def _change(reason: Reason) -> str:
    places = [printable(str(place)) for place in (reason.position, *reason.origins) if place]
    place = f"  ({', '.join(places)})" if places else ""
    field, old, new = printable(reason.field), _value(reason.old), _value(reason.new)
    if reason.field in LISTS and None in (reason.old, reason.new):
        return f"{field}: {f'{new} added' if reason.old is None else f'{old} removed'}{place}"
    return f"{field}: {old} -> {new}{place}"


def _value(text: str | None) -> str:
    if text is None:
        return "(not set)"
    shown = printable(text)
    return (shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}...") or '""'


def counts(plan: Plan) -> list[tuple[str, str, str, int]]:
    """(change class, kind of subject, words, how many), without what there is none of."""
    groups = {(step.change, step.action.subject.partition(" ")[0], step.subject_key) for step in plan.steps}
    found = [(c, k, words, sum(g[:2] == (c, k) for g in groups)) for c, k, words in _COUNTED]
    return [row for row in found if row[3]]


def summary(plan: Plan) -> str:
    """One line: how many images, volumes and containers are pulled, created, replaced, removed."""
    parts = [f"{plural(n, kind)} to {words}" for _, kind, words, n in counts(plan)]
    waits = [step for step in plan.steps if step.change == WAIT]
    if waits and not parts:
        parts.append(f"{plural(len(waits), 'container')} to wait for")
    return f"Plan: {', '.join(parts)}."


def _closing(plan: Plan) -> list[str]:
    lines = [summary(plan)]
    down = sorted({s.action.key for s in plan.steps if s.downtime and isinstance(s.action, StopContainer)})
    returning = {s.action.key for s in plan.steps if isinstance(s.action, StopContainer) and s.change != REMOVE}
    if pausing := [printable(key) for key in down if key in returning]:
        lines.append(f"Down until started again: {', '.join(pausing)}.")
    deleted = [printable(s.action.name) for s in plan.steps if isinstance(s.action, RemoveVolume)]
    if deleted:
        lines.append(f"DELETES THE DATA of {plural(len(deleted), 'volume')}: {', '.join(deleted)}.")
    elif any(step.data for step in plan.steps):
        lines.append("No volume is deleted.")
    return lines
