"""`reconciler explain`: what a key of a spec means, what it takes, and since when it is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from reconciler.cli.parser import add_json
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "path",
        metavar="KEY.PATH",
        nargs="?",
        default="",
        help="for example containers.restart or containers.healthcheck.interval; the whole spec if left out",
    )
    add_json(parser)


def run(options: Any, shell: Shell) -> int:
    from reconciler.spec.explained import KEYS  # noqa: PLC0415 - a table that only this verb needs

    path = find(options.path, KEYS)
    below = {name: about for name, about in KEYS.items() if name and name.rpartition(".")[0] == path}
    if options.json:
        keys = [{"key": name.rpartition(".")[2], **about} for name, about in below.items()]
        shell.json({"path": path, **KEYS[path], "keys": keys})
        return 0
    for line in [*_about(path, KEYS[path]), *_keys(below)]:
        shell.line(line)
    return 0


def find(wanted: str, keys: dict[str, dict[str, Any]]) -> str:
    """The path meant: names that the user chose (of containers, volumes, ulimits) and numbers of items may stand in it.

    Raises ReconcilerError, with the nearest key, for one that is none.
    """
    path = ""
    parts = [part for part in wanted.strip(".").replace("[", ".").replace("]", "").split(".") if part]
    for index, part in enumerate(parts):
        below = f"{path}.{part}" if path else part
        if below in keys:
            path = below
        elif index == len(parts) - 1 or not _holds_names(keys[path]):
            raise _unknown(part, path, keys)
    return path


def _holds_names(about: dict[str, Any]) -> bool:
    return "map of NAME" in about["type"] or "list of" in about["type"]


def _unknown(part: str, path: str, keys: dict[str, dict[str, Any]]) -> ReconcilerError:
    from reconciler.cli.typos import meant_by  # noqa: PLC0415 - on an error's way out

    below = [name.rpartition(".")[2] for name in keys if name and name.rpartition(".")[0] == path]
    meant = meant_by(part, below)
    found = f"{path}.{meant}" if path and meant else meant
    if not found:
        found = next((name for name in keys if name.rpartition(".")[2] == part), "")
    where = f"{path} has no key" if path else "a spec has no key"
    if not below:
        where = f"{path} has no keys, so not"
    hint = f"did you mean {found}?" if found else f"reconciler explain{' ' * bool(path)}{path} shows what there is"
    return ReconcilerError(f'{where} "{part}"', code="not-found", hint=hint)


def example_text(value: Any) -> str:
    """A value as one would write it in a spec: YAML takes JSON's lists and maps."""
    return value if isinstance(value, str) else json.dumps(value)


def _about(path: str, about: dict[str, Any]) -> list[str]:
    lines = [f"{path}: {about['type']}" if path else "a spec is a map", "", f"  {about['text']}", ""]
    facts = [
        ("values", ", ".join(about.get("values", ()))),
        ("default", example_text(about["default"]) if about.get("default") is not None else ""),
        ("examples", ", ".join(example_text(one) for one in about.get("examples", ()))),
        ("required", "yes" if about.get("required") else ""),
        ("since", about.get("since", "")),
    ]
    facts = [(name, text) for name, text in facts if text]
    return [*lines, *(f"  {name:<9} {text}" for name, text in facts), *([""] if facts else [])]


def _keys(below: dict[str, dict[str, Any]]) -> list[str]:
    if not below:
        return []
    names = {name.rpartition(".")[2]: about for name, about in below.items()}
    width = max(map(len, names)) + 2
    return ["  Keys:", *(f"    {name:<{width}}{about['text']}" for name, about in names.items())]
