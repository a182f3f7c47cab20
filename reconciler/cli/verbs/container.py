"""`reconciler container`: the verbs of containers as verbs of a noun. Each is another spelling of a verb of its own but prune."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.nouns import add_spellings, run_spelled
from reconciler.cli.objects import add_show_secrets, show
from reconciler.cli.parser import add_names
from reconciler.cli.verbs import prune_containers

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell

_SAME_AS = {"ls": "ps"} | {
    name: name
    for name in (
        "port", "logs", "exec", "cp", "start", "stop", "restart", "kill", "pause", "unpause", "wait", "rm", "stats",
    )
}  # fmt: skip


def add_arguments(parser: Parser) -> None:
    verb = add_spellings(parser, _SAME_AS)
    inspection = verb("inspect", "Show all about containers as JSON")
    add_show_secrets(inspection)
    add_names(inspection)
    prune_containers.add_arguments(verb("prune", "Remove all containers that do not run"))


def run(options: Any, shell: Shell) -> int:
    if options.action == "inspect":
        return show(options.names, "container", shell, secrets=options.show_secrets)
    if options.action == "prune":
        return prune_containers.run(options, shell)
    return run_spelled(_SAME_AS[options.action], options, shell)
