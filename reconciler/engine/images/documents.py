"""An image's documents, which archives and registries have alike: indexes, manifests, configurations, and their limits.

All of it is hostile text. Not for where a document comes from (`archives`, `registry.manifests`), nor for what a
configuration says (`configuration`). Only this room may import it. Source: OCI image-spec (image-index.md, manifest.md,
descriptor.md), Docker's schema 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.engine.images import configuration, platforms
from reconciler.engine.images.configuration import bad_image, is_digest
from reconciler.kits.text import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.engine.images.configuration import Configuration
    from reconciler.engine.images.platforms import Wanted
    from reconciler.kits.errors import ReconcilerError

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
DEEPEST_INDEX = 4
_MOST_LAYERS = 500  # as many as overlayfs stacks


def manifests_of(index: dict[str, Any], place: str) -> list[dict[str, Any]]:
    """The descriptors in an index, without those of what a build says of itself."""
    found = index.get("manifests")
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise bad_image(place, "manifests is not a list of descriptors")
    return [item for item in found if not platforms.is_attestation(item)]


def choose(descriptors: Sequence[dict[str, Any]], wanted: Wanted, label: str) -> dict[str, Any]:
    """The one among an index's descriptors that fits best; raises as `platforms.choose`."""
    if not descriptors:
        raise bad_image(label, "an index without manifests")
    return platforms.choose(descriptors, wanted, label)


def too_deep(label: str) -> ReconcilerError:
    """The error for an index behind more than `DEEPEST_INDEX` others."""
    return bad_image(label, "its indexes are nested too deep")


def digest_in(descriptor: dict[str, Any], what: str) -> str:
    """What a descriptor says of its content's digest."""
    digest = descriptor.get("digest")
    if not is_digest(digest):
        raise bad_image(what, f"{quote(str(digest)[:80])} is no sha256 digest")
    return str(digest)


def check_digest(what: str, expected: str, got: str) -> None:
    """See that content is what it was said to be."""
    if got != expected:
        raise wrong_digest(what, expected, got)


def wrong_digest(what: str, expected: str, got: str) -> ReconcilerError:
    """The error for content that is not what it was said to be."""
    return bad_image(what, f"the digest does not match: expected {expected}, got {got}")


def check_count(label: str, layers: Sequence[object]) -> None:
    """See that overlayfs can stack the layers."""
    if len(layers) > _MOST_LAYERS:
        raise bad_image(label, f"{len(layers)} layers; overlayfs stacks {_MOST_LAYERS} at most")


def fitting_configuration(data: bytes, layers: Sequence[object], wanted: Wanted, label: str) -> Configuration:
    """Read a configuration, and see that it is for a platform that is wanted and has as many layers as its manifest."""
    parsed = configuration.parse(data, f"{label}: configuration")
    if platforms.rank(parsed.platform, wanted) is None:
        raise platforms.wrong(label, [parsed.platform], wanted)
    if len(parsed.diff_ids) != len(layers):
        raise bad_image(
            label, f"the configuration speaks of {len(parsed.diff_ids)} layers, the manifest of {len(layers)}"
        )
    return parsed
