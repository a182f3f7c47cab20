"""From a tag to an image's configuration and layers: indexes are followed, manifests read. All of it is hostile text.

Only this room may import it. Sources: OCI image-spec (manifest.md, image-index.md), Docker's schema 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.engine.images import configuration, documents
from reconciler.engine.images.configuration import MOST_BYTES, bad_image
from reconciler.engine.images.documents import INDEX_TYPES, MANIFEST_TYPES
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.text import quote

if TYPE_CHECKING:
    from reconciler.engine.images.configuration import Configuration
    from reconciler.engine.images.platforms import Wanted
    from reconciler.engine.images.registry.client import Document, Repository
    from reconciler.engine.images.streams import Limits

_CONFIG_TYPES = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/octet-stream",
    "",
)
_OLD = "application/vnd.docker.distribution.manifest.v1"


class Blob(Frozen):
    """What a manifest says of a layer."""

    digest: str
    size: int

    @property
    def short(self) -> str:
        """As Docker shows it: twelve digits."""
        return self.digest.partition(":")[2][:12]


class Found(Frozen):
    """An image in a registry. `documents` are as in `catalog.Arrival`; `digest` is what the tag stands for."""

    digest: str
    documents: tuple[bytes, ...]
    config: bytes
    config_digest: str
    parsed: Configuration
    layers: tuple[Blob, ...]


def find(repository: Repository, reference: str, wanted: Wanted, limits: Limits, label: str) -> Found:
    """The image under a tag or digest; raises as `Repository.manifest`, and code "platform"."""
    first = document = repository.manifest(reference)
    came = [document.data]
    content = _read(document, label)
    while "manifests" in content:
        if len(came) > documents.DEEPEST_INDEX:
            raise documents.too_deep(label)
        chosen = _chosen(content, wanted, label)
        document = repository.manifest(chosen)
        came.append(document.data)
        content = _read(document, label)
    config = _descriptor(content.get("config"), f"{label}: manifest: config", MOST_BYTES)
    media_type = content["config"].get("mediaType") or ""
    if media_type not in _CONFIG_TYPES:
        raise bad_image(label, f"no container image but {quote(str(media_type))}")
    layers = _layers(content, limits, label)
    data = repository.document(config.digest, config.size, f"{label}: configuration")
    parsed = documents.fitting_configuration(data, layers, wanted, label)
    return Found(first.digest, tuple(came), data, config.digest, parsed, layers)


def _read(document: Document, label: str) -> dict[str, Any]:
    """A manifest or an index, and never something that could be taken for the other."""
    what = f"{label}: manifest"
    kind = document.media_type
    if kind.startswith("text/html"):
        raise ReconcilerError(
            f"{label}: the registry answers with a web page, which is no manifest",
            code="registry",
            hint="is it a registry, and does nobody intercept the connection (a captive portal, a proxy)?",
        )
    content = configuration.read_json(document.data, what)
    stated = content.get("mediaType")
    if kind.startswith(_OLD) or content.get("schemaVersion") == 1:
        raise bad_image(
            what, "of Docker's schema 1, which nobody makes any more", "push the image again with a newer tool"
        )
    known = (*MANIFEST_TYPES, *INDEX_TYPES)
    if kind in known and stated in known and kind != stated:
        raise bad_image(what, f"it calls itself {quote(str(stated))}, and the registry {quote(kind)}")
    kind = stated if stated in known else kind
    is_index = "manifests" in content
    if (
        is_index == ("layers" in content)
        or (kind in INDEX_TYPES and not is_index)
        or (kind in MANIFEST_TYPES and is_index)
    ):
        raise bad_image(what, f"neither an image's manifest nor an index ({quote(str(kind))})")
    return content


def _chosen(index: dict[str, Any], wanted: Wanted, label: str) -> str:
    """The digest of the manifest for a platform."""
    offered = documents.manifests_of(index, f"{label}: index")
    return _descriptor(documents.choose(offered, wanted, label), f"{label}: index", MOST_BYTES).digest


def _layers(manifest: dict[str, Any], limits: Limits, label: str) -> tuple[Blob, ...]:
    found = manifest["layers"]
    if not isinstance(found, list):
        raise bad_image(f"{label}: manifest", "layers is not a list of descriptors")
    documents.check_count(label, found)
    layers = []
    for number, layer in enumerate(found, 1):
        what = f"{label}: layer {number} of {len(found)}"
        layers.append(_descriptor(layer, what, limits.bytes))
        kind = str(layer.get("mediaType") or "")
        if "foreign" in kind or "nondistributable" in kind:
            raise bad_image(what, "a layer that registries must not distribute, as Windows images have")
        if "encrypted" in kind:
            raise bad_image(what, "encrypted; there are no keys here")
    return tuple(layers)


def _descriptor(descriptor: object, what: str, most: int) -> Blob:
    if not isinstance(descriptor, dict):
        raise bad_image(what, "not a descriptor")
    digest, size = documents.digest_in(descriptor, what), descriptor.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= most:
        raise bad_image(what, f"{quote(str(size)[:40])} is no size that it can have")
    return Blob(digest, size)
