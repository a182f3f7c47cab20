"""`reconciler volume`: volumes as objects of their own. Only `rm` deletes data, and only of what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.objects import add_show_secrets, show
from reconciler.cli.parser import add_json, add_names, add_verbs
from reconciler.cli.table import table
from reconciler.cli.verbs import prune_volumes
from reconciler.kits.errors import ReconcilerError, UsageError
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    verb = add_verbs(parser)
    listing = verb("ls", "List volumes")
    listing.add_argument("-q", "--quiet", action="store_true", help="only names")
    add_json(listing)
    inspection = verb("inspect", "Show all about volumes as JSON")
    add_show_secrets(inspection)
    add_names(inspection, "VOLUME", "name as volume ls shows it")
    create = verb("create", "Make a volume; one that is there is left as it is")
    create.add_argument("name", metavar="NAME", nargs="?", default="", help="a random one if left out")
    remove = verb("rm", "Delete volumes and their data; refused while a container has one")
    remove.add_argument("-f", "--force", action="store_true", help="missing ones are no error")
    add_names(remove, "VOLUME", "name as volume ls shows it")
    add_names(
        verb("unprotect", "Let a volume be removed that its spec protects"), "VOLUME", "name as volume ls shows it"
    )
    prune_volumes.add_arguments(verb("prune", "Delete volumes that no container has, anonymous ones or all"))


def run(options: Any, shell: Shell) -> int:
    match options.action:
        case "ls":
            return _list(options, shell)
        case "inspect":
            return show(options.names, "volume", shell, secrets=options.show_secrets)
        case "create":
            shell.line(shell.console.create_volume(options.name))
            return 0
        case "rm":
            return shell.each(options.names, lambda name: _remove(name, shell, force=options.force))
        case "unprotect":
            return shell.each(options.names, shell.console.unprotect_volume)
        case "prune":
            return prune_volumes.run(options, shell)
    raise UsageError(f"reconciler volume {options.action} does not exist")


def _list(options: Any, shell: Shell) -> int:
    volumes = shell.console.volumes()
    if options.json:
        keys = ("name", "stack", "anonymous", "users", "created_at", "path", "protected")
        shell.json([{key: _plain(getattr(volume, key)) for key in keys} for volume in volumes])
    elif options.quiet:
        for volume in volumes:
            shell.line(printable(volume.name))
    else:
        rows = (("local", volume.name, volume.stack, ", ".join(volume.users)) for volume in volumes)
        for line in table(("DRIVER", "VOLUME NAME", "STACK", "USED BY"), rows):
            shell.line(line.rstrip())
    return 0


def _remove(name: str, shell: Shell, *, force: bool) -> None:
    try:
        shell.console.remove_volume(name)
    except ReconcilerError as error:
        if not (force and error.code == "not-found"):
            raise


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
