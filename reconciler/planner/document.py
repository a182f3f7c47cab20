"""A plan as a JSON document: the form of `--json`, described by schemas/plan.schema.json. For `cli` and `loop`.

It is for reading: secrets are masked and actions are named, not spelled out, so no plan can be made of it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.frozen import as_document
from reconciler.planner.text import counts

if TYPE_CHECKING:
    from reconciler.kits.source import Origin
    from reconciler.model.action import Action
    from reconciler.model.plan import Plan, Reason, Step

VERSION = 1
"""Raised when a key changes its meaning or goes; new keys may come without."""


def document(plan: Plan) -> dict[str, Any]:
    """JSON values only, keys in a fixed order; equal plans give equal bytes."""
    return {
        "version": VERSION,
        "stack": plan.stack,
        "source": plan.source,
        "steps": [_step(step) for step in plan.steps],
        "summary": [{"change": c, "kind": kind, "count": count} for c, kind, _, count in counts(plan)],
        "notes": list(plan.notes),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        **_action(step.action),
        "change": step.change,
        "reasons": [_reason(reason) for reason in step.reasons],
        "after": list(step.after),
        "gate": step.gate,
        "undo": _action(step.undo) if step.undo else None,
        "downtime": step.downtime,
        "data": step.data,
        **({"known_after_pull": list(step.known_after_pull)} if step.known_after_pull else {}),
    }


def _action(action: Action) -> dict[str, str]:
    kind, _, name = action.subject.partition(" ")
    return {"verb": action.verb, "kind": kind, "name": name}


def _reason(reason: Reason) -> dict[str, Any]:
    out: dict[str, Any] = {"text": reason.text, "kind": reason.kind}
    if reason.field:
        out |= {"field": reason.field, "old": reason.old, "new": reason.new}
    if reason.position:
        out["position"] = as_document(reason.position)
    if reason.origins:
        out["origins"] = [_origin(origin) for origin in reason.origins]
    if reason.must:
        out["must"] = reason.must
    return out


def _origin(origin: Origin) -> dict[str, Any]:
    out: dict[str, Any] = {"how": origin.how}
    if origin.name:
        out["name"] = origin.name
    if origin.position:
        out["position"] = as_document(origin.position)
    return out
