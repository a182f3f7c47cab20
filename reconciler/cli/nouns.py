"""Nouns whose verbs are mostly other spellings of verbs: `container ls` is `ps`. For `container` and `image`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reconciler.cli.catalogue import MODULES, SUMMARIES
from reconciler.cli.parser import add_verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_spellings(parser: Parser, spellings: Mapping[str, str]) -> Callable[[str, str], Parser]:
    """The noun's verbs that are verbs elsewhere: its name for each -> that verb. Returns what adds one of its own."""
    verb = add_verbs(parser)
    for name, same in spellings.items():
        import_module(MODULES[same]).add_arguments(verb(name, SUMMARIES[same]))
    return verb


def run_spelled(verb: str, options: Any, shell: Shell) -> int:
    """Run the verb that was spelled otherwise, under its own name."""
    shell.verb = verb
    code: int = import_module(MODULES[verb]).run(options, shell)
    return code
