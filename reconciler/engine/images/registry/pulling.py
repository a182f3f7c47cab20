"""A pull from the reference to the catalog: resolve, download and unpack what is missing, record.

Only `catalog.Images` calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.kits import references
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engine.images.catalog import Images

    Progress = Callable[[str, str, int, int], None]


class Pulled(Frozen):
    """What a pull came to: the canonical name asked for, the image's id, the digest that the registry has for the name.

    `digest` is the index's where there is one, as `docker images --digests` shows it. `changed` is False where the
    name stood for this image already.
    """

    reference: str
    id: str
    digest: str
    changed: bool


def _no_progress(_layer: str, _phase: str, _done: int, _total: int) -> None:
    return None


def _never() -> bool:
    return False


class Terms(Frozen):
    """How to go about a pull; see `Images.pull`."""

    platform: str = ""
    progress: Progress = _no_progress
    cancelled: Callable[[], bool] = _never
    deadline: float | None = None


def pull(_images: Images, reference: str, _terms: Terms) -> Pulled:
    """See `Images.pull`."""
    raise ReconcilerError(
        f"image {references.parse(reference).familiar} can't be pulled yet",
        code="pull",
        hint="load it: `reconciler load FILE`",
    )


def remote_digest(images: Images, reference: str, terms: Terms) -> str:
    """See `Images.remote_digest`."""
    return pull(images, reference, terms).digest
