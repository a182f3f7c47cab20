"""`reconciler validate`: all problems of all spec files, each with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.parser import add_json
from reconciler.cli.problems import described
from reconciler.kits.errors import EXIT_ERROR, ReconcilerError, problems_of
from reconciler.kits.text import plural, printable
from reconciler.sources.files import STANDARD_INPUT, STANDARD_INPUT_SHOWN

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.shell import Shell


def add_arguments(parser: Parser) -> None:
    parser.add_argument("paths", metavar="SPEC", nargs="+", help='a spec file; "-": standard input')
    add_json(parser)


def run(options: Any, shell: Shell) -> int:
    from reconciler.loop.resolve import read  # noqa: PLC0415 - not for --help

    documents = []
    failed = False
    for path in options.paths:
        problems: tuple[ReconcilerError, ...] = ()
        count = 0
        try:
            count = len(read(path).containers)
        except ReconcilerError as error:
            problems = problems_of(error)
        failed = failed or bool(problems)
        if options.json:
            documents.append(_document(path, count, problems))
            continue
        for problem in problems:
            shell.report(problem)
        if not problems:
            shown = STANDARD_INPUT_SHOWN if path == STANDARD_INPUT else printable(path)
            shell.line(f"{shown}: ok, {plural(count, 'container')}")
    if options.json:
        shell.json(documents)
    return EXIT_ERROR if failed else 0


def _document(path: str, count: int, problems: tuple[ReconcilerError, ...]) -> dict[str, Any]:
    return {
        "spec": path,
        "ok": not problems,
        "containers": count,
        "problems": [described(problem) for problem in problems],
    }
