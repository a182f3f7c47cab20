"""`reconciler image`: the verbs of images as verbs of a noun. Each is another spelling of a verb of its own but prune."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.nouns import add_spellings, run_spelled
from reconciler.cli.objects import add_show_secrets, show
from reconciler.cli.parser import add_names
from reconciler.cli.verbs import prune_images

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell

_SAME_AS = {
    "ls": "images",
    "rm": "rmi",
    "pull": "pull",
    "tag": "tag",
    "save": "save",
    "load": "load",
    "import": "import",
}


def add_arguments(parser: Parser) -> None:
    verb = add_spellings(parser, _SAME_AS)
    inspection = verb("inspect", "Show all about images as JSON")
    add_show_secrets(inspection)
    add_names(inspection, "IMAGE", "NAME[:TAG], NAME@DIGEST, or (the beginning of) an id")
    prune_images.add_arguments(verb("prune", "Remove images that no container has"))


def run(options: Any, shell: Shell) -> int:
    if options.action == "inspect":
        return show(options.names, "image", shell, secrets=options.show_secrets)
    if options.action == "prune":
        return prune_images.run(options, shell)
    return run_spelled(_SAME_AS[options.action], options, shell)
