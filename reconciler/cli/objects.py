"""Objects as JSON in `docker inspect`'s form, with what looks secret masked.

For the verbs that inspect. It knows no kinds of objects and no runtime.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from reconciler.kits.masking import masked, masked_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell

_NAMED = ("Labels", "Annotations", "Options")
_COMMANDS = ("Cmd", "Entrypoint", "Args", "Test", "Shell")


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


def without_secrets(value: Any, key: str = "") -> Any:
    """A JSON value, the document's value under `key`, with what looks secret masked.

    That is in labels and options by their name, in NAME=VALUE texts, in a command's words and in addresses. The
    document's own keys name nothing that is secret.
    """
    if isinstance(value, dict):
        if key in _NAMED:
            return {name: masked(name, item) if isinstance(item, str) else item for name, item in value.items()}
        return {name: without_secrets(item, name) for name, item in value.items()}
    if isinstance(value, list):
        if key in _COMMANDS:
            return masked_words(value)
        return [without_secrets(item, key) for item in value]
    if not isinstance(value, str):
        return value
    variable, has_value, content = value.partition("=")
    if has_value and variable.replace("_", "").isalnum():
        return f"{variable}={masked(variable, content)}"
    return masked("", value)
