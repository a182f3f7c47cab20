"""Objects as JSON in `docker inspect`'s form, with what looks secret masked.

For the verbs that inspect. It knows no kinds of objects and no runtime.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from reconciler.kits.masking import MASK, looks_secret, masked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_show_secrets(parser: Parser) -> None:
    """`--show-secrets`."""
    parser.add_argument("--show-secrets", action="store_true", help="show values that look like passwords or keys")


def show(names: Sequence[str], kind: str, shell: Shell, *, secrets: bool) -> int:
    """Print those that were found as one array, then an error for each that was not; the exit code."""
    found: list[Any] = []

    def output() -> None:
        shell.line(json.dumps(found if secrets else without_secrets(found), indent=4))

    return shell.each(
        names, lambda name: found.append(shell.console.inspect(name, kind)), echo=False, before_errors=output
    )


def without_secrets(value: Any, name: str = "") -> Any:
    """A JSON value with what looks secret masked: by its key, and within NAME=VALUE texts by NAME."""
    if isinstance(value, dict):
        return {key: without_secrets(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item, name) for item in value]
    if not isinstance(value, str):
        return value
    variable, has_value, content = value.partition("=")
    if has_value and variable.replace("_", "").isalnum():
        return f"{variable}={masked(variable, content)}"
    return MASK if value and looks_secret(name) else masked("", value)
