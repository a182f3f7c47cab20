"""What a spec says of identity: `moved`, what was called otherwise before, and `adopt`, what exists and is to be taken in.

Old entries may stay for ever, so they are read strictly: what one says must be true of the spec as it is now. For the
spec room only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.kits.text import quote
from reconciler.model.desired import Adoption, Move
from reconciler.spec import values
from reconciler.spec.findings import BadValueError, did_you_mean
from reconciler.spec.nodes import Mapping, Node, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from reconciler.model.desired import Container, Volume
    from reconciler.spec.containers import Reader
    from reconciler.spec.findings import Findings

_KINDS = {"containers": "container", "volumes": "volume", "stack": "stack"}
_PLACES = {kind: word for word, kind in _KINDS.items()}


class Moves:
    """Reads and checks the two lists of one spec."""

    def __init__(
        self,
        reader: Reader,
        findings: Findings,
        stack: str,
        containers: dict[str, Container],
        volumes: dict[str, Volume],
    ) -> None:
        self._reader = reader
        self._findings = findings
        self._known: dict[str, Collection[str]] = {"container": containers, "volume": volumes, "stack": (stack,)}

    def moved(self, node: Node | None) -> tuple[Move, ...]:
        """The moves, each from what is not in the spec any more and, in as many steps as it takes, to what is."""
        found: list[tuple[Move, Node, Node]] = []
        for at_old, at_new in self._pairs("moved", node):
            old, new = self._of(at_old, _address), self._of(at_new, _address)
            if old and new and old[0] != new[0]:
                message = f"a {old[0]} can't become a {new[0]}"
                self._findings.add(message, at_new, hint=f"write {_PLACES[old[0]]}.NAME")
            elif old and new:
                found.append((Move(old[0], old[1], new[1]), at_old, at_new))
        self._check_sources(found)
        self._check_targets(found)
        return tuple(move for move, _, _ in found)

    def adopted(self, node: Node | None) -> tuple[Adoption, ...]:
        """What is to be taken in, each for something that is in the spec."""
        found: dict[tuple[str, str], tuple[Adoption, Node]] = {}
        for at_name, at_key in self._pairs("adopt", node):
            name = self._of(at_name, lambda text: values.name(text, "what is to be adopted"))
            place = self._of(at_key, _address)
            if not name or not place:
                continue
            adoption = Adoption(place[0], name, place[1])
            if adoption.kind == "stack":
                self._findings.add(
                    "a whole stack can't be adopted", at_key, hint="adopt its containers, or write moved: stack.NAME"
                )
            elif adoption.key not in self._known[adoption.kind]:
                self._missing(adoption.kind, adoption.key, at_key, "adopt")
            elif (other := found.setdefault((adoption.kind, adoption.key), (adoption, at_key)))[1] is not at_key:
                message = f"{_PLACES[adoption.kind]}.{adoption.key} can't be two things"
                self._findings.add(message, at_key, hint=f"the other one is at {other[1].position}")
        return tuple(adoption for adoption, _ in found.values())

    def _pairs(self, key: str, node: Node | None) -> Iterator[tuple[Scalar, Scalar]]:
        for number, item in enumerate(node.items if isinstance(node, Sequence) else ()):
            if not isinstance(item, Mapping):
                continue
            old, new = item.get("from"), item.get("to")
            if isinstance(old, Scalar) and isinstance(new, Scalar):
                self._reader.nodes[key, number] = old
                yield old, new

    def _of(self, at: Scalar, function: Callable[[str], str] | Callable[[str], tuple[str, str]]) -> Any:
        return self._reader.attempt(at, function, at.text)

    def _check_sources(self, found: list[tuple[Move, Node, Node]]) -> None:
        first: dict[tuple[str, str], Node] = {}
        for move, at, _ in found:
            if move.old in self._known[move.kind]:
                message = f"{_PLACES[move.kind]}.{move.old} is still in this spec, so it can't have moved"
                if move.kind == "stack":
                    message = f"this stack is still called {move.old}, so it can't have moved"
                self._findings.add(message, at, hint="take this entry out, or give the new one another name")
            if (other := first.setdefault((move.kind, move.old), at)) is not at:
                message = f"{_PLACES[move.kind]}.{move.old} moves twice"
                self._findings.add(message, at, hint=f"the other entry is at {other.position}")

    def _check_targets(self, found: list[tuple[Move, Node, Node]]) -> None:
        """Each chain ends at something of this spec; a circle is told once."""
        onward = {(move.kind, move.old): move.new for move, _, _ in reversed(found)}
        told: set[tuple[str, str]] = set()
        for move, at, at_new in found:
            way, end = [move.old], move.new
            while (move.kind, end) in onward and end not in way:
                way.append(end)
                end = onward[move.kind, end]
            if end in way:
                if (move.kind, move.old) not in told:
                    circle = " -> ".join([*way, end])
                    self._findings.add(f"what moved comes back to where it was: {circle}", at, hint="take one out")
                told.update((move.kind, one) for one in way)
            elif end not in self._known[move.kind] and (move.kind, move.new) not in onward:
                self._missing(move.kind, end, at_new, "moved")

    def _missing(self, kind: str, key: str, at: Node, section: str) -> None:
        if kind == "stack":
            (name,) = self._known["stack"]
            if name:
                message = f"this stack is called {quote(name)}, not {quote(key)}"
                self._findings.add(message, at, hint=f"write stack.{name}, or take this entry out")
            return
        near = did_you_mean(key, self._known[kind])
        message = f"{_PLACES[kind]}.{key} is not in this spec{near}"
        self._findings.add(message, at, hint="" if near else f"add it, or take this entry of {section} out")


def _address(text: str) -> tuple[str, str]:
    """Kind and name of containers.KEY, volumes.KEY or stack.NAME."""
    place, dot, name = text.partition(".")
    if not dot or place not in _KINDS:
        near = did_you_mean(place, _KINDS) if dot else ""
        raise BadValueError(f"{quote(text)} names nothing{near}", "write containers.KEY, volumes.KEY or stack.NAME")
    if place == "stack":
        return "stack", values.stack_name(name)
    return _KINDS[place], values.name(name, f"a {_KINDS[place]}")
