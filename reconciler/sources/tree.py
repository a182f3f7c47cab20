"""What a spec is read through: a tree of files, wherever they come from.

The spec room opens no file but through a `Tree`, so that the same spec means the same from a disk, standard input or
a commit, and everything that was read is known. Anyone above the engine may import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tree(Protocol):
    """Files by path, relative to the spec's folder (or absolute where the source allows it).

    `spec` is the path of the spec itself; `origin` names it absolutely ("/srv/specs/wordpress.yaml", links
    followed; "-" for standard input), for the runtime to remember; `base` is the absolute host folder that relative mounts start from, "" where there is none.
    """

    spec: str
    origin: str
    base: str

    def read(self, path: str) -> bytes:
        """The file's bytes. Raises `ReconcilerError`: not-found, is-a-folder, unreadable, too-large."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file. Both answers count as read."""

    def display(self, path: str) -> str:
        """The path as the user would name it, for messages and positions."""

    @property
    def reads(self) -> Mapping[str, bytes | None]:
        """What has been read so far: path to bytes, None for what was looked for and is not there."""
