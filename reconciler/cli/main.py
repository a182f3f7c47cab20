"""Where the command line starts: the options before the verb, the verb's module, and what becomes of errors.

`--help` and `--version` end here without having imported anything else. Nobody imports this but the console script
and tests.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import TYPE_CHECKING

from reconciler.cli.catalogue import ELSEWHERE, MODULES, overview
from reconciler.cli.shell import Shell
from reconciler.kits.errors import EXIT_INTERRUPTED, EXIT_USAGE, UsageError, as_failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.cli.shell import Machine

_RARELY = 100_000
"""Objects between two looks for garbage: what a short run makes is gone with it, and looking costs 2 to 4 ms."""

EXIT_BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended."""


def entry() -> None:
    """The console script.

    Leaves without the interpreter's farewell, which takes 5 to 10 ms: there is nothing left that it would write, and
    the store needs no closing.
    """
    gc.set_threshold(_RARELY)
    code = whole_run()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def whole_run() -> int:
    """Carry out this process's command line, see that the output has left, and return the exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as we live
        getattr(sys, name).reconfigure(errors="backslashreplace")
    os.umask(0o022)  # what containers mount is to be read by their users, whatever ours is
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _hang_up()
    except OSError as error:
        from reconciler.cli.streams import unwritten  # noqa: PLC0415 - hardly ever

        failure = unwritten(error)
        Shell("").report(failure)
        code = code or failure.exit_code
    return code


def main(argv: Sequence[str], machine: Machine | None = None) -> int:
    """Carry out one command line and return its exit code. `machine` stands in for the runtime it would open."""
    shell = Shell("", machine=machine)
    try:
        return _dispatch(list(argv), shell)
    except SystemExit as end:  # argparse after --help
        return int(end.code or 0)
    except BrokenPipeError:
        return _hang_up()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if shell.debug:
            import traceback  # noqa: PLC0415 - only when it is asked for

            traceback.print_exc()
        failure = as_failure(error)
        shell.report(failure)
        return failure.exit_code


def _dispatch(argv: list[str], shell: Shell) -> int:
    rest = _global_options(argv, shell)
    if rest is None:
        return 0
    if not rest:
        shell.note(overview())
        return EXIT_USAGE
    verb, *arguments = rest
    if verb == "help":
        return _dispatch([*arguments[:1], "--help"], shell)
    if verb not in MODULES:
        raise _unknown(verb)
    from importlib import import_module  # noqa: PLC0415 - neither is needed for --help

    from reconciler.cli.parser import parser_for  # noqa: PLC0415

    module = import_module(MODULES[verb])
    options = parser_for(verb, module.add_arguments).parse_args(arguments)
    shell.verb = verb
    shell.debug = shell.debug or options.debug
    shell.runtime_name = options.runtime or shell.runtime_name
    code: int = module.run(options, shell)
    return code


def _global_options(argv: list[str], shell: Shell) -> list[str] | None:
    """What is left after the options before the verb; None when one of them was all there was to do."""
    words = iter(argv)
    for word in words:
        name, has_value, value = word.partition("=")
        if not word.startswith("-"):
            return [word, *words]
        if word in ("-h", "--help"):
            shell.line(overview())
            return None
        if word == "--version":
            from reconciler import __version__  # noqa: PLC0415

            shell.line(f"reconciler {__version__}")
            return None
        if word == "--debug":
            shell.debug = True
        elif name == "--runtime":
            shell.runtime_name = value if has_value else next(words, "")
        else:
            raise UsageError(f"unknown option {word} before the verb", hint="see reconciler --help")
    return []


def _unknown(verb: str) -> UsageError:
    from reconciler.cli.typos import meant_by  # noqa: PLC0415 - on an error's way out

    meant = meant_by(verb, MODULES)
    hint = f"did you mean reconciler {meant}?" if meant else "reconciler --help lists them"
    return UsageError(f'there is no verb "{verb}"', hint=ELSEWHERE.get(verb, hint))


def _hang_up() -> int:
    """Nobody reads our output any more: end quietly, also when the interpreter flushes at exit."""
    from reconciler.cli.streams import silence  # noqa: PLC0415 - hardly ever

    silence(sys.stdout)
    return EXIT_BROKEN_PIPE
