"""`reconciler system prune`: remove what is not used any more: stopped containers, images, and volumes where it is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.pruning import add_pruning, confirmed, filters, show_total
from reconciler.cli.verbs import prune_containers, prune_images, prune_volumes

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also images that have a name")
    parser.add_argument("--volumes", action="store_true", help="also anonymous volumes, with their data")
    add_pruning(parser)


def run(options: Any, shell: Shell) -> int:
    wanted = filters(options)
    images = "images without at least one container associated to them" if options.all else "dangling images"
    lines = ["This will remove:", "  - all stopped containers"]
    if options.volumes:
        lines.append("  - all anonymous volumes not used by at least one container")
    lines += [f"  - all {images}", ""]
    if not confirmed(options, shell, "\n".join(lines)):
        show_total(shell, 0)
        return 0
    reclaimed = prune_containers.remove(prune_containers.prunable(shell, wanted), shell)
    if options.volumes:
        reclaimed += prune_volumes.remove(prune_volumes.prunable(shell, wanted), shell)
    show_total(shell, reclaimed + prune_images.remove(options.all, wanted, shell))
    return 0
