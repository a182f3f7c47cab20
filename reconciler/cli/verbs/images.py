"""`reconciler images`: the local images, one row a name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reconciler.cli import table
from reconciler.cli.parser import add_json
from reconciler.kits.references import parse
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell
    from reconciler.runtimes.console import ImageSummary

_NONE = "<none>"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME[:TAG]", nargs="?", help="only images of this name")
    parser.add_argument("-q", "--quiet", action="store_true", help="only ids")
    parser.add_argument("--no-trunc", action="store_true", help="cut nothing short")
    parser.add_argument("--digests", action="store_true", help="show what the images' registries call them")
    add_json(parser)


def run(options: Any, shell: Shell) -> int:
    images = [image for image in shell.console.images() if not options.name or _matches(image, options.name)]
    if options.json:
        keys = ("reference", "id", "created_at", "size", "digest", "origin")
        shell.json([{key: getattr(image, key) for key in keys} for image in images])
    elif options.quiet:
        for identifier in dict.fromkeys(image.id for image in images):
            shell.line(table.short_id(identifier, whole=options.no_trunc))
    else:
        now = time.time()
        header = ("REPOSITORY", "TAG", *(["DIGEST"] if options.digests else []), "IMAGE ID", "CREATED", "SIZE")
        rows = (_row(image, now, whole=options.no_trunc, digests=options.digests) for image in images)
        for line in table.table(header, rows):
            shell.line(line)
    return 0


def _row(image: ImageSummary, now: float, *, whole: bool, digests: bool) -> tuple[str, ...]:
    name, tag = _name_and_tag(image.reference)
    return (
        name,
        tag,
        *((image.digest or _NONE,) if digests else ()),
        table.short_id(image.id, whole=whole),
        table.ago(image.created_at, now),
        human_size(image.size),
    )


def _name_and_tag(reference: str) -> tuple[str, str]:
    """As people write it: docker.io and library are left out."""
    if not reference:
        return _NONE, _NONE
    parsed = parse(reference)
    tag = parsed.tag or _NONE
    return parsed.familiar.partition("@")[0].removesuffix(f":{tag}"), tag


def _matches(image: ImageSummary, wanted: str) -> bool:
    name, tag = _name_and_tag(image.reference)
    asked = parse(wanted)
    asked_name, asked_tag = _name_and_tag(asked.canonical)
    has_tag = ":" in wanted.rpartition("/")[2]
    return name == asked_name and (not has_tag or tag == asked_tag)
