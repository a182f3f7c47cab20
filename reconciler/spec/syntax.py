"""What a YAML syntax error means, in a user's words: the parser's message, position and context put together.

For the loader only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.spec.findings import finding
from reconciler.spec.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaml.error import MarkedYAMLError

    from reconciler.kits.errors import ReconcilerError
    from reconciler.spec.nodes import Source

DEEPEST = 64
"""Levels of nesting. A spec needs seven; deeper code could exhaust the interpreter's stack later."""

_MEANINGS = (
    (
        "mapping values are not allowed",
        "a colon cannot stand here",
        "put a value that contains ': ' into quotes; or is this key indented too far, or a colon missing in the line above?",
    ),
    ("could not find expected ':'", "this line has no 'key: value'", "is there a colon missing, and a space after it?"),
    ("did not find expected key", "a key was expected here", "keys of one map begin in one column; check the indentation and quotes"),
    ("did not find expected '-' indicator", "a list item was expected here", "items of one list begin with '- ' in one column"),
    ("block sequence entries are not allowed", "a list cannot begin here", "put it into the next line, below its key"),
    ("did not find expected alphabetic or numeric", "a name was expected here", "put a value that begins with * or & into quotes"),
    ("found unknown escape character", "unknown escape in double quotes", "double the backslash, or use single quotes"),
    ("found duplicate anchor", "an anchor of this name is there already", ""),
    ("found undefined tag handle", "tags are not allowed", ""),
    ("did not find URI escaped octet", "tags are not allowed", ""),
)  # fmt: skip


def explain(error: MarkedYAMLError, source: Source) -> ReconcilerError:
    """The parser's error as one of ours, at the place that the user must look at."""
    problem, context = error.problem or "", error.context or ""
    if "maximum nesting depth" in problem:  # libyaml's own limit, which it may meet long before the events come to ours
        return too_deep(_too_deep(source))
    at = _node(error.problem_mark or error.context_mark, source)
    opened = _node(error.context_mark, source) if error.context_mark else at
    line = source.line(at.line)
    if "\t" in line[: len(line) - len(line.lstrip())] and "scan" in context + problem:
        at = Node(source, at.line, line.index("\t") + 1)
        return finding("a tab indents this line", at, hint="YAML allows only spaces for indentation")
    if "flow node" in context:
        unclosed = _unclosed(source) if at.line > len(source.text.splitlines()) else None
        if unclosed is None:
            return finding("a value was expected here", at, hint="put text with brackets or commas into quotes")
        bracket = source.line(unclosed.line)[unclosed.column - 1]
        return finding(f"the bracket {bracket!r} is not closed", unclosed)
    if "flow sequence" in context or "flow mapping" in context:
        bracket, closing = ("[", "]") if "sequence" in context else ("{", "}")
        hint = f"a comma or {closing!r} was expected before line {at.line}, column {at.column}"
        return finding(f"the bracket {bracket!r} is not closed", opened, hint=hint)
    if "quoted scalar" in context and "end of stream" in problem:
        return finding("the quote is not closed", opened)
    if "cannot start any token" in problem:
        character = line[at.column - 1 : at.column]
        hint = "put the value into quotes"
        return finding(f"a value cannot begin with {character!r}", at, hint=hint)
    for words, message, hint in _MEANINGS:
        if words in problem:
            at = opened if "simple key" in context else at
            return finding(message, at, hint=hint)
    return finding(f"not YAML: {problem}" + (f" ({context})" if context else ""), at)


def too_deep(at: Node) -> ReconcilerError:
    """A collection begins at `at` inside of `DEEPEST` others."""
    return finding(f"nested deeper than {DEEPEST} levels", at, hint="a spec needs about seven")


def _too_deep(source: Source) -> Node:
    """Where the first collection begins that is nested too deep."""
    level = 0
    for kind, at in _tokens(source):
        if kind.endswith(("SequenceStartToken", "MappingStartToken")):
            level += 1
            if level > DEEPEST:
                return at
        elif kind.endswith(("SequenceEndToken", "MappingEndToken", "BlockEndToken")):
            level -= 1
    return Node(source, 1, 1)


def _unclosed(source: Source) -> Node | None:
    """The innermost bracket that is open where the text ends."""
    opened: list[Node] = []
    for kind, at in _tokens(source):
        if kind in ("FlowSequenceStartToken", "FlowMappingStartToken"):
            opened.append(at)
        elif kind in ("FlowSequenceEndToken", "FlowMappingEndToken") and opened:
            opened.pop()
    return opened[-1] if opened else None


def _tokens(source: Source) -> Iterator[tuple[str, Node]]:
    """Kind and place of the text's tokens, up to where the scanner itself gives up: it is not the one that parses."""
    import yaml  # noqa: PLC0415 - on an error's way out

    try:
        for token in yaml.scan(source.text, Loader=yaml.SafeLoader):
            yield type(token).__name__, _node(token.start_mark, source)
    except yaml.YAMLError:
        return


def _node(mark: Any, source: Source) -> Node:
    return Node(source, mark.line + 1, mark.column + 1) if mark else Node(source, 1, 1)
