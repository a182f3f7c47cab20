"""Variables in a spec's values: `${NAME}` and its kin, from the environment and from `.env` beside the spec.

Source: Compose's interpolation (docs.docker.com/reference/compose-file/interpolation), except that an unset variable
without a default is an error, not an empty string. For the spec room only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from reconciler.kits.source import DEFAULT, UNSET, VARIABLE, Origin
from reconciler.spec.findings import nearest
from reconciler.spec.nodes import Mapping, Node, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping as MappingOf
    from typing import Protocol

    from reconciler.kits.source import Position
    from reconciler.spec.findings import Findings

    class Lookup(Protocol):
        """Something that knows variables."""

        def get(self, name: str) -> str | None: ...
        def place_of(self, name: str) -> Position | None: ...
        def names(self) -> list[str]: ...


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
_DEEPEST = 20
_LONGEST = 1 << 20
"""Characters that one value may grow to."""
_DOLLAR_HINT = "write $$ for a dollar sign"


class Variables:
    """Where variables come from, and which were asked for.

    `dotenv` is called once, when the environment does not have a variable; its are scalars. `used` holds every name that was looked
    up in the environment with its value there, None when it was not set.
    """

    def __init__(self, environment: MappingOf[str, str], dotenv: Callable[[], MappingOf[str, Scalar]]) -> None:
        self._environment = environment
        self._read_dotenv = dotenv
        self._dotenv: MappingOf[str, Scalar] | None = None
        self.used: dict[str, str | None] = {}

    def get(self, name: str) -> str | None:
        """The variable's value, None when it is set nowhere."""
        value = self._environment.get(name)
        self.used[name] = value
        if value is None:
            at = self._from_dotenv().get(name)
            value = None if at is None else at.text
        return value

    def place_of(self, name: str) -> Position | None:
        """Where in `.env` a variable that is set stands, None = in the environment."""
        return None if name in self._environment else self._from_dotenv()[name].position

    def names(self) -> list[str]:
        """All names that are set, to find the one that was meant."""
        return [*self._environment, *self._from_dotenv()]

    def _from_dotenv(self) -> MappingOf[str, Scalar]:
        if self._dotenv is None:
            self._dotenv = {}  # .env itself may use variables: those of the environment
            self._dotenv = self._read_dotenv()
        return self._dotenv


class VariableError(ValueError):
    """A value that cannot be resolved: what is wrong, where in the text it begins, what to do."""

    def __init__(self, message: str, at: int, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint


def substitute(text: str, variables: Lookup) -> tuple[str, tuple[Origin, ...]]:
    """`text` with its variables replaced, and what they came from. A dollar in a variable's value means nothing."""
    if "$" not in text:
        return text, ()
    expansion = _Expansion(text, variables)
    value, _ = expansion.until("", 0, 0)
    return value, tuple(expansion.origins)


class _Expansion:
    """One pass over a text."""

    def __init__(self, text: str, variables: Lookup) -> None:
        self._text = text
        self._variables = variables
        self.origins: dict[Origin, None] = {}

    def _came(self, how: str, name: str) -> None:
        self.origins[Origin(how, name, self._variables.place_of(name) if how == VARIABLE else None)] = None

    def until(self, end: str, at: int, depth: int, *, skip: bool = False) -> tuple[str, int]:
        """Expand from `at` to the character `end` ("" = the end of the text); the result and the place after it.

        With `skip` the text is only read over: what a default would say does not matter once its variable is set.
        """
        text, size = self._text, 0
        out: list[str] = []
        while at < len(text):
            character = text[at]
            if character == end:
                return "".join(out), at + 1
            if character == "$":
                piece, at = self._dollar(at, depth, skip)
            else:
                stop = min((i for i in (text.find("$", at), text.find(end, at) if end else -1) if i >= 0), default=-1)
                stop = len(text) if stop < 0 else stop
                piece, at = text[at:stop], stop
            out.append(piece)
            size += len(piece)
            if size > _LONGEST:
                raise VariableError(f"variables make this value longer than {_LONGEST:,} characters", 0, "")
        if end:
            raise VariableError("'${' is not closed", 0, "a variable is written ${NAME}; " + _DOLLAR_HINT)
        return "".join(out), at

    def _dollar(self, at: int, depth: int, skip: bool) -> tuple[str, int]:
        text = self._text
        following = text[at + 1 : at + 2]
        if following == "$":
            return "$", at + 2
        if following == "{":
            try:
                return self._braces(at, depth, skip)
            except VariableError as error:
                error.at = error.at or at
                raise
        if name := _NAME.match(text, at + 1):
            return ("" if skip else self._plain(name.group(), at)), name.end()
        raise VariableError("a lone '$'", at, "a variable is written ${NAME}; " + _DOLLAR_HINT)

    def _braces(self, at: int, depth: int, skip: bool) -> tuple[str, int]:
        if depth >= _DEEPEST:
            raise VariableError(f"defaults are nested deeper than {_DEEPEST} levels", at, "")
        name = _NAME.match(self._text, at + 2)
        if not name:
            hint = "a name holds letters, digits and _; " + _DOLLAR_HINT
            raise VariableError("'${' without a variable's name", at, hint)
        after = name.end()
        if self._text[after : after + 1] == "}":
            return ("" if skip else self._plain(name.group(), at)), after + 1
        operator = next((op for op in _OPERATORS if self._text.startswith(op, after)), None)
        if operator is None:
            if "}" not in self._text[after:]:
                raise VariableError("'${' is not closed", at, "a variable is written ${NAME}; " + _DOLLAR_HINT)
            hint = "after a name may come :-default, -default, :?message, ?message, :+other, +other; " + _DOLLAR_HINT
            raise VariableError(f"'${{{name.group()}' is followed by something unknown", at, hint)
        return self._operator(name.group(), operator, (at, after + len(operator)), depth, skip=skip)

    def _operator(self, name: str, operator: str, at: tuple[int, int], depth: int, *, skip: bool) -> tuple[str, int]:
        value = None if skip else self._variables.get(name)
        is_set = value is not None and (value != "" or operator[0] != ":")
        needed = is_set if operator[-1] == "+" else not is_set
        if not skip:
            self._came(VARIABLE if is_set else UNSET if operator[-1] == "+" else DEFAULT, name)
        word, end = self.until("}", at[1], depth + 1, skip=skip or not needed)
        if skip:
            return "", end
        if operator[-1] == "+":
            return (word if is_set else ""), end
        if is_set:
            return value or "", end
        if operator[-1] == "?":
            message = f"the variable {name} is required" + (f": {word}" if word else "")
            raise VariableError(message, at[0], f"set {name} in the environment or in .env beside the spec")
        return word, end

    def _plain(self, name: str, at: int) -> str:
        value = self._variables.get(name)
        if value is None:
            near = nearest(name, self._variables.names())
            meant = f"did you mean {near}? Else set it" if near else "set it in the environment or in .env"
            hint = f"{meant}, give a default with ${{{name}:-default}}, or {_DOLLAR_HINT}"
            raise VariableError(f"the variable {name} is not set", at, hint)
        self._came(VARIABLE, name)
        return value


def resolve_variables(root: Mapping, variables: Variables, findings: Findings) -> None:
    """Replace the variables in all values of a tree, in place; keys and `x-*` stay as they are.

    What variables were replaced in is text from then on, which true-or-false keys take too; its position stays.
    """
    todo: list[Node] = [root]
    seen: set[int] = set()
    while todo:
        node = todo.pop()
        if id(node) in seen:  # an alias: the same node in another place
            continue
        seen.add(id(node))
        if isinstance(node, Mapping):
            todo += [value for key, (_, value) in node.entries.items() if not key.startswith("x-")]
        elif isinstance(node, Sequence):
            todo += node.items
        elif isinstance(node, Scalar) and "$" in node.text:
            _resolve(node, variables, findings)


def _resolve(node: Scalar, variables: Variables, findings: Findings) -> None:
    try:
        node.text, node.origins = substitute(node.text, variables)
        node.plain = False
        node.substituted = True
    except VariableError as error:
        findings.add(error.message, _place(node, error.at), hint=error.hint, code="bad-variable")
        node.failed = True
    if "\0" in node.text:
        findings.add("a value cannot hold a NUL character", node)


def _place(node: Scalar, at: int) -> Node:
    """Where the character at `at` of a scalar's text stands in the source, as well as it can be told."""
    ordinal = node.text[:at].count("$")
    for number in range(node.line, node.end_line + 1):
        line = node.source.line(number)
        start = node.column - 1 if number == node.line else 0
        while (start := line.find("$", start)) >= 0:
            if not ordinal:
                return Node(node.source, number, start + 1)
            ordinal -= 1
            start += 1
    return node
