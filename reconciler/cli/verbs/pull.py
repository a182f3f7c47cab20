"""`reconciler pull`: fetch images from their registries, with a bar for each layer on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.cli.interrupts import Interrupts
from reconciler.cli.parser import add_json, add_names
from reconciler.cli.problems import described
from reconciler.cli.pulls import display_for
from reconciler.kits.errors import EXIT_ERROR, InterruptedRunError, ReconcilerError
from reconciler.kits.references import parse

if TYPE_CHECKING:
    from typing import Any

    from reconciler.cli.parser import Parser
    from reconciler.cli.pulls import Display
    from reconciler.cli.shell import Shell
    from reconciler.runtimes.console import PulledImage

_AT_ONCE = 3


def add_arguments(parser: Parser) -> None:
    add_names(parser, "NAME", "image: [REGISTRY/]NAME[:TAG][@DIGEST]")
    parser.add_argument("--platform", metavar="OS/ARCH", default="", help="for another platform than this machine's")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the images' whole names")
    add_json(parser)


def run(options: Any, shell: Shell) -> int:
    names = list(dict.fromkeys(options.names))
    for name in names:
        parse(name)  # a name that can't be one ends it before anything is fetched
    console = shell.console
    display = display_for(shell, quiet=options.quiet, silent=options.json)
    interrupts = Interrupts()
    interrupts.catch()

    def pull(name: str) -> PulledImage | ReconcilerError:
        display.begin(name)
        try:
            return console.pull(
                name,
                platform=options.platform,
                progress=lambda progress: display.heard(name, progress),
                cancelled=interrupts.asked,
            )
        except ReconcilerError as error:
            return error

    try:
        with display:
            results = _each(names, pull, display)
    finally:
        interrupts.release()
    return _tell(names, results, options, shell)


def _each(names: list[str], pull: Any, display: Display) -> list[PulledImage | ReconcilerError]:
    """Several at once; what each came to is shown when it ends, and returned in the order of the names."""
    if len(names) == 1:
        results = [pull(names[0])]
        display.ended(names[0], results[0])
        return results
    from concurrent.futures import ThreadPoolExecutor, as_completed  # noqa: PLC0415 - for several only

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        tasks = {pool.submit(pull, name): name for name in names}
        for task in as_completed(tasks):
            display.ended(tasks[task], task.result())
    return [task.result() for task in tasks]


def _tell(names: list[str], results: list[PulledImage | ReconcilerError], options: Any, shell: Shell) -> int:
    """What is left to say, and the exit code."""
    if options.json:
        shell.json([_document(name, result) for name, result in zip(names, results, strict=True)])
    sys.stdout.flush()
    failed = [result for result in results if isinstance(result, ReconcilerError)]
    for error in failed:
        shell.report(error)
    stopped = [error.exit_code for error in failed if isinstance(error, InterruptedRunError)]
    return stopped[0] if stopped else EXIT_ERROR if failed else 0


def _document(name: str, result: PulledImage | ReconcilerError) -> dict[str, Any]:
    if isinstance(result, ReconcilerError):
        return {"name": name, "ok": False, "problems": [described(result)]}
    keys = ("reference", "id", "digest", "changed")
    return {"name": name, "ok": True, **{key: getattr(result, key) for key in keys}}
