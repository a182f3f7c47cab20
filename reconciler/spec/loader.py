"""YAML text to a tree of nodes with positions, refusing what does not belong into a spec.

It knows YAML, not specs: no keys, no variables. It reads the parser's events in a loop, so that deep nesting cannot
exhaust a stack, here or in C. For the spec room only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from reconciler.kits.text import quote
from reconciler.spec import libyaml
from reconciler.spec.findings import Findings, finding
from reconciler.spec.nodes import Mapping, Node, Scalar, Sequence, Source, kind_of
from reconciler.spec.scalars import resolve
from reconciler.spec.syntax import DEEPEST, explain, too_deep

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_FROM_ALIASES = 50_000
"""Nodes that aliases may add by standing for what they name, nested ones counted out."""

_CORE = "tag:yaml.org,2002:"
_TAGS = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
"""What YAML leaves out of its printable characters; told by what is allowed it takes 4 ms to compile."""
_WIDE_MARKS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x00\x00\xfe\xff", "UTF-32"))


def decode(name: str, data: bytes) -> Source:
    """The text of a file. Raises at the first byte that is not UTF-8, and at control characters."""
    for mark, encoding in _WIDE_MARKS:
        if data.startswith(mark):
            hint = "save the file as UTF-8"
            raise finding(f"the file is {encoding}, not UTF-8", Node(Source(name, ""), 1, 1), hint=hint)
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        at = _place(Source(name, data.decode(errors="replace")), data[: error.start].decode())
        hint = "save the file as UTF-8"
        raise finding(f"byte 0x{data[error.start]:02x} is not UTF-8", at, hint=hint) from None
    source = Source(name, text)
    if bad := _UNPRINTABLE.search(text):
        code = ord(bad.group())
        what = "a NUL byte" if not code else f"the control character U+{code:04X}"
        hint = f'in a value, write it as an escape in double quotes: "\\x{code:02x}"' if 0 < code < 256 else ""
        raise finding(f"{what} is not allowed in a spec", _place(source, text[: bad.start()]), hint=hint)
    return source


def _place(source: Source, before: str) -> Node:
    lines = (before + ".").splitlines()
    return Node(source, len(lines), len(lines[-1]))


def load(source: Source, findings: Findings) -> Mapping:
    """The top-level map of a YAML document.

    Duplicate keys, tags and bad merges go to `findings`; what leaves no tree to go on with is raised.
    """
    try:
        composer = _Composer(source, findings)
        root = composer.compose(libyaml.events(source.text))
    except libyaml.MarkedYAMLError as error:
        raise explain(error, source) from None
    except libyaml.YAMLError as error:
        raise finding(f"not YAML: {error}", Node(source, 1, 1)) from None
    if composer.tagged:
        findings.fail()
    if root is None:
        raise finding("the file is empty", Node(source, 1, 1), hint="a spec begins with 'apiVersion: reconciler/v1'")
    if not isinstance(root, Mapping):
        raise finding(f"a spec is a map of keys and values, this is {kind_of(root)}", root)
    return root


class _Open:
    """A collection that is being read: its node, the key that waits for a value, and what it comes to.

    `size` is how many nodes it stands for, `height` how many levels there are below it, aliases followed in both.
    """

    __slots__ = ("anchor", "height", "key", "merges", "node", "size")

    def __init__(self, node: Sequence | Mapping, anchor: str | None) -> None:
        self.node = node
        self.anchor = anchor
        self.key: Scalar | None = None
        self.merges: list[tuple[Scalar, Node]] = []
        self.size = 1
        self.height = 1


class _Composer:
    """Builds nodes from parser events, with a stack of its own."""

    def __init__(self, source: Source, findings: Findings) -> None:
        self._source = source
        self._findings = findings
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node | None, int, int]] = {}
        self._from_aliases = 0
        self._root: Node | None = None
        self.tagged = False
        """Whether a tag was refused: what its value would have been is unknown, so nothing is made of the tree."""

    def compose(self, events: Iterator[Any]) -> Node | None:
        for event in events:
            kind = type(event).__name__
            if kind == "ScalarEvent":
                self._place(self._scalar(event), 1, 0, event.anchor)
            elif kind == "AliasEvent":
                self._alias(event)
            elif kind in ("MappingStartEvent", "SequenceStartEvent"):
                self._begin(event, Mapping if kind.startswith("M") else Sequence)
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                self._end()
            elif kind == "DocumentStartEvent" and self._root is not None:
                hint = "put each stack into a file of its own"
                raise finding("a second document begins here; a spec is one document", self._at(event), hint=hint)
        return self._root

    def _at(self, event: Any) -> Node:
        mark = event.start_mark
        return Node(self._source, mark.line + 1, mark.column + 1)

    def _scalar(self, event: Any) -> Scalar:
        mark = event.start_mark
        plain = event.style is None or event.style == ""
        node = Scalar(self._source, mark.line + 1, mark.column + 1, event.value, plain=plain)
        node.end_line = event.end_mark.line + 1
        if event.tag is not None:
            self._tagged(event.tag, node)
        if "\0" in node.text:
            self._findings.add("a value cannot hold a NUL character", node)
            node.text = node.text.replace("\0", "")
        return node

    def _tagged(self, tag: str, node: Scalar) -> None:
        """Apply one of YAML's own scalar tags; refuse all others."""
        name = tag.removeprefix(_CORE)
        if tag in ("!", _CORE + "str"):
            node.plain = False
        elif tag.startswith(_CORE) and name in _TAGS:
            node.plain = True
            value = resolve(node.text)
            if not isinstance(value, _TAGS[name]) or (isinstance(value, bool) and name != "bool"):
                self._findings.add(f"{quote(node.text)} is not what its tag '!!{name}' says", node)
        else:
            self._refuse(tag, node)

    def _refuse(self, tag: str, node: Node) -> None:
        self.tagged = True
        shown = quote(tag.replace(_CORE, "!!"))
        hint = "tags make objects in some languages; a spec holds only text, numbers, lists and maps"
        self._findings.add(f"the tag {shown} is not allowed", node, hint=hint)

    def _begin(self, event: Any, kind: type[Sequence | Mapping]) -> None:
        at = self._at(event)
        self._check_depth(at, 1)
        node = kind(self._source, at.line, at.column)
        if event.tag not in (None, "!", _CORE + ("map" if kind is Mapping else "seq")):
            self._refuse(event.tag, node)
        if event.anchor:
            self._anchors[event.anchor] = (None, 0, 0)
        self._open.append(_Open(node, event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        for key, merged in done.merges:
            self._merge(done.node, key, merged)
        self._place(done.node, done.size, done.height, done.anchor)

    def _alias(self, event: Any) -> None:
        name, at = event.anchor, self._at(event)
        if name not in self._anchors:
            raise finding(f"the alias *{name} has no anchor &{name} before it", at)
        node, size, height = self._anchors[name]
        if node is None:
            raise finding(f"the alias *{name} stands inside of what it names", at)
        self._from_aliases += size
        if self._from_aliases > MOST_FROM_ALIASES:
            raise finding(
                f"aliases make this spec stand for more than {MOST_FROM_ALIASES:,} values", at, hint="write it out"
            )
        self._check_depth(at, height)
        self._place(node, size, height, None)

    def _check_depth(self, at: Node, height: int) -> None:
        if len(self._open) + height > DEEPEST:
            raise too_deep(at)

    def _place(self, node: Node, size: int, height: int, anchor: str | None) -> None:
        """Put a finished node where it belongs: under the waiting key, into the list, or at the root."""
        if anchor:
            self._anchors[anchor] = (node, size, height)
        if not self._open:
            self._root = node
            return
        top = self._open[-1]
        top.size += size
        top.height = max(top.height, height + 1)
        if isinstance(top.node, Sequence):
            top.node.items.append(node)
        elif top.key is None:
            top.key = self._key(node)
        else:
            self._enter(top, top.key, node)
            top.key = None

    def _key(self, node: Node) -> Scalar:
        if not isinstance(node, Scalar):
            raise finding(f"a key must be text, this is {kind_of(node)}", node)
        if not node.text and node.plain:
            raise finding("there is no key before the colon", node)
        return node

    def _enter(self, top: _Open, key: Scalar, value: Node) -> None:
        assert isinstance(top.node, Mapping)
        entries = top.node.entries
        if key.text == "<<" and key.plain:
            if top.merges:
                self._findings.add("a second '<<' in one map", key, hint="merge several maps as <<: [*one, *two]")
            top.merges.append((key, value))
        elif key.text in entries:
            first = entries[key.text][0]
            message = f"duplicate key {quote(key.text)}, first at line {first.line}"
            self._findings.add(message, key, hint="keep one of them: YAML would silently use the last")
        else:
            entries[key.text] = (key, value)

    def _merge(self, node: Node, at: Scalar, merged: Node) -> None:
        """Add what `<<` names; the map's own keys win, then earlier maps of a list."""
        assert isinstance(node, Mapping)
        maps = merged.items if isinstance(merged, Sequence) else [merged]
        for each in maps:
            if not isinstance(each, Mapping):
                self._findings.add(f"'<<' merges maps, not {kind_of(each)}", at)
                continue
            for key, entry in each.entries.items():
                node.entries.setdefault(key, entry)
