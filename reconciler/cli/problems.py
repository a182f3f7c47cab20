"""Errors as JSON values, for the verbs with `--json`. The text on standard error is `Shell.report`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits.errors import problems_of
from reconciler.kits.frozen import as_document

if TYPE_CHECKING:
    from typing import Any

    from reconciler.kits.errors import ReconcilerError


def described(problem: ReconcilerError) -> dict[str, Any]:
    """One error: code, message, hint, and file, line and column where it has a place."""
    return {
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        **(as_document(problem.position) if problem.position else {}),
    }


def document_of(error: ReconcilerError) -> dict[str, Any]:
    """What stands for the document of a verb that came to nothing."""
    return {"ok": False, "problems": [described(problem) for problem in problems_of(error)]}
