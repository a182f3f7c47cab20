"""argparse as this command line wants it: strict, with errors that are `UsageError`, and no import it can do without.

Imported only when a verb is called. Not for the options before the verb (see `main`).
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from reconciler.cli.catalogue import SUMMARIES
from reconciler.kits.errors import ReconcilerError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
else:
    # Our messages are English, and so shall argparse's be. Without this it would look for translations, which takes the
    # modules gettext and locale and 2 ms of every command.
    _untranslated = ModuleType("gettext")
    _untranslated.gettext = lambda text: text
    _untranslated.ngettext = lambda one, many, count: one if count == 1 else many
    _there = sys.modules.setdefault("gettext", _untranslated)
    import argparse

    if _there is _untranslated:
        del sys.modules["gettext"]


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, up to 110 columns. Finding that out here keeps argparse from importing shutil."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=_width())

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """As argparse does, spelled as everywhere else."""
        super().add_usage(usage, actions, groups, "Usage: " if prefix is None else prefix)

    def start_section(self, heading: str | None) -> None:
        """As argparse does, spelled as everywhere else."""
        super().start_section(heading and heading[0].upper() + heading[1:])


class Parser(argparse.ArgumentParser):
    """The parser of one verb: whole option names only, exit code 125 for wrong usage."""

    def __init__(self, verb: str, *, description: str = "") -> None:
        super().__init__(
            prog=f"reconciler {verb}",
            description=description or SUMMARIES.get(verb, "") + ".",
            formatter_class=Formatter,
            allow_abbrev=False,
        )
        self.instead: dict[str, str] = {}
        """Hints for options that users of other programs type and that don't exist here, by option."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but with the nearest option that exists for one that doesn't."""
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            raise self._surplus(rest[0])
        return options

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}", hint=self._help())

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does, but with the nearest verb that exists for one that doesn't."""
        choices = action.choices
        if action.nargs != argparse.PARSER or choices is None or value in choices:
            super()._check_value(action, value)
            return
        from reconciler.cli.typos import meant_by  # noqa: PLC0415 - on an error's way out

        meant = meant_by(value, choices)
        hint = f"did you mean {self.prog} {meant}?" if meant else f"{self.prog} has {', '.join(choices)}"
        raise UsageError(f'{self.prog}: there is no verb "{value}"', hint=hint)

    def _surplus(self, word: str) -> UsageError:
        from reconciler.cli.typos import meant_by  # noqa: PLC0415 - on an error's way out

        if not word.startswith("-") or word == "-":
            return UsageError(f'{self.prog}: "{word}" is one argument too many', hint=self._help())
        name = word.partition("=")[0]
        meant = meant_by(name, self._option_string_actions)
        hint = f"did you mean {meant}?" if meant else self._help()
        return UsageError(f"{self.prog}: unknown option {name}", hint=self.instead.get(name, hint))

    def _help(self) -> str:
        return f"see {self.prog} --help"


class SubParser(Parser):
    """The parser of a verb's own verb, as argparse makes it."""

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(prog.removeprefix("reconciler "), description=description)
        add_general(self, unset=argparse.SUPPRESS)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but what is left over is this verb's fault, not that of the verb it belongs to."""
        options, rest = super().parse_known_args(args, namespace)
        if rest:
            raise self._surplus(rest[0])
        return options, rest


def add_verbs(parser: Parser) -> Callable[[str, str], Parser]:
    """Verbs of a verb (`volume ls`); the name of the one that was chosen is `options.action`.

    Returns what adds one: (name, summary) -> its parser.
    """
    verbs = parser.add_subparsers(metavar="VERB", dest="action", required=True, parser_class=SubParser, title="verbs")

    def add(name: str, summary: str) -> Parser:
        made: Parser = verbs.add_parser(name, help=summary, description=summary + ".")
        return made

    return add


def parser_for(verb: str, add_arguments: Callable[[Parser], None]) -> Parser:
    """The parser of a verb with its own options and those that all verbs have."""
    parser = Parser(verb)
    add_arguments(parser)
    add_general(parser)
    return parser


def add_general(parser: Parser, *, unset: Any = None) -> None:
    """What may stand behind each verb; `unset` is the value of what isn't given, None for that of its kind."""
    parser.add_argument("--runtime", metavar="NAME", default=unset or "", help=argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", default=unset or False, help="show a traceback with an error")


def add_names(
    parser: Parser, what: str = "CONTAINER", explained: str = "name, STACK/KEY or (the beginning of) an id"
) -> None:
    """One or more names as the verb's arguments."""
    parser.add_argument("names", metavar=what, nargs="+", help=explained)


def add_json(parser: Parser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_pull(parser: Parser) -> None:
    """`--pull`."""
    parser.add_argument(
        "--pull",
        choices=("missing", "always", "never"),
        default="",
        help="when to pull images, whatever the spec's pull_policy says; always: also where a tag has moved",
    )


def add_replace(parser: Parser) -> None:
    """`--replace`."""
    parser.add_argument(
        "--replace",
        action="append",
        default=[],
        metavar="CONTAINER",
        help="make this container anew although nothing has changed (its key in the spec; may be repeated)",
    )


def number_from(lowest: int) -> Callable[[str], int]:
    """An argparse type: whole numbers from `lowest` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{text} is less than {lowest}")
        return value

    return number


def duration(text: str) -> float:
    """An argparse type: seconds of "90s", "1m30s" or "10"."""
    from reconciler.kits.units import parse_duration  # noqa: PLC0415 - when the option is given

    try:
        return parse_duration(text.strip())
    except ReconcilerError as error:
        raise argparse.ArgumentTypeError(error.message) from None


def _width() -> int:
    try:
        return min(os.get_terminal_size(sys.stdout.fileno()).columns, 112) - 2
    except (OSError, ValueError, AttributeError):
        return 100
