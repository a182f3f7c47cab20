"""Image archives: docker-archive and OCI layout, from a folder, a tar, a compressed tar or a pipe; and plain root file systems.

What arrives is complete and checked, or nothing arrives. Sources: OCI image-spec (image-layout.md, image-index.md,
manifest.md, descriptor.md); docker save's manifest.json. Only this room may import it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import TYPE_CHECKING, Any

from reconciler.engine.images import configuration, documents, platforms, rows, sources, streams, tars
from reconciler.engine.images.catalog import Arrival
from reconciler.engine.images.configuration import MOST_BYTES, bad_image, digest_of
from reconciler.engine.images.layers import LayerSource
from reconciler.kits import references
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.text import plural, printable, quote
from reconciler.kits.units import human_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reconciler.engine.images.catalog import Images
    from reconciler.engine.images.layers import Workshop
    from reconciler.engine.images.sources import Source

_MOST_IMAGES = 1000


class Found(Frozen):
    """An image in an archive, before its layers are read: the configuration's bytes and what brings the layers.

    `tags`, `digests` and `documents` are as in `catalog.Arrival`.
    """

    what: str
    config: bytes
    layers: tuple[LayerSource, ...]
    tags: tuple[str, ...]
    digests: tuple[str, ...] = ()
    documents: tuple[bytes, ...] = ()


def load(images: Images, workshop: Workshop, path: str, origin: str = "") -> tuple[str, ...]:
    """Load all images of an archive, or none; returns their familiar names, or the id of one that has no name.

    `origin` is kept with them, "" for the file's path.

    Raises `ReconcilerError`: "not-found" (no such file), "bad-image" (what is wrong with it), "platform", "disk-full".
    """
    what = "standard input" if path == "-" else printable(path)
    with workshop.opened() as work:
        with sources.opened(path, work) as source:
            arrivals = [_place(work, found) for found in _found_in(source, what)]
        # The archive is closed: what was decompressed of it is gone, and need not go to the disk with the layers.
        work.sync()
        images.add(arrivals, origin or "loaded from " + _shown(path))
    return tuple(
        name
        for arrival in arrivals
        for name in ([references.parse(tag).familiar for tag in arrival.tags] or [arrival.image.id])
    )


def import_root(images: Images, workshop: Workshop, path: str, reference: str) -> str:
    """Make an image of a plain root file system in a tar (plain or compressed, "-" for a pipe); returns its id.

    Its configuration is empty: a container of it names its command.
    """
    tag = rows.tag_of(reference)
    what = "standard input" if path == "-" else printable(path)
    with workshop.opened() as work:
        with contextlib.ExitStack() as stack:
            span = sources.plain_file(path, work, stack)
            if not tars.has_end(span):
                raise bad_image(what, "not a whole tar archive: the zeros at its end are missing")
            config = _bare_configuration(streams.digest(span))
            arrival = _place(work, Found(what, config, (LayerSource(span, what),), (tag,)))
        work.sync()
        images.add([arrival], "imported from " + _shown(path))
    return arrival.image.id


def _shown(path: str) -> str:
    return "standard input" if path == "-" else printable(os.path.abspath(path))


def _bare_configuration(diff_id: str) -> bytes:
    ours = platforms.of_machine().any_of[0]
    document = {
        "architecture": ours.architecture,
        "os": ours.os,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _place(work: Workshop, found: Found) -> Arrival:
    """Check an image and put its layers in place."""
    parsed = documents.fitting_configuration(found.config, found.layers, platforms.of_machine(), found.what)
    layers = work.place(found.layers, parsed.diff_ids)
    image = parsed.image(
        digest_of(found.config),
        tuple(layer.short for layer in layers),
        sum(layer.size for layer in layers),
    )
    work.progress(f"{found.what}: {plural(len(layers), 'layer')}, {human_size(image.size)}")
    return Arrival(image, found.config, found.tags, found.digests, found.documents)


def _found_in(source: Source, what: str) -> list[Found]:
    """All images of an archive. `docker save` writes both forms; the index says more, when it has names."""
    index, manifest = source.find("index.json"), source.find("manifest.json")
    if index is None and manifest is None:
        raise bad_image(
            what,
            "not an image archive: it has neither index.json (OCI layout) nor manifest.json (docker-archive)",
            "a plain root file system is imported with: reconciler import FILE NAME",
        )
    if index is not None:
        found = _Layout(source, what).images(index.read(MOST_BYTES, f"{what}: index.json"))
        if manifest is None or any(image.tags for image in found):
            return found
    assert manifest is not None
    return _docker_archive(source, manifest.read(MOST_BYTES, f"{what}: manifest.json"), what)


# docker-archive


def _docker_archive(source: Source, data: bytes, what: str) -> list[Found]:
    place = f"{what}: manifest.json"
    entries = configuration.read_any_json(data, place)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise bad_image(place, "not a list of images")
    if not entries or len(entries) > _MOST_IMAGES:
        raise bad_image(place, f"speaks of {len(entries)} images")
    return [_docker_image(source, entry, what, place) for entry in entries]


def _docker_image(source: Source, entry: dict[str, Any], what: str, place: str) -> Found:
    config_name = entry.get("Config")
    names = entry.get("Layers")
    tags = entry.get("RepoTags") or []
    if not isinstance(config_name, str) or not isinstance(names, list) or not _strings(names) or not _strings(tags):
        raise bad_image(place, "Config, Layers or RepoTags is not what it should be")
    label = f"{what}: {printable(tags[0])}" if tags else what
    config = _need(source, config_name, place, "configuration").read(MOST_BYTES, f"{label}: configuration")
    # The name is the digest, in every form of this archive.
    expected = re.search(r"(?:^|/)([0-9a-f]{64})(?:\.json)?$", config_name)
    if expected:
        documents.check_digest(f"{label}: configuration", f"sha256:{expected[1]}", digest_of(config))
    documents.check_count(label, names)
    layers = tuple(
        LayerSource(_need(source, name, place, f"layer {number}"), f"{label}: layer {number} of {len(names)}")
        for number, name in enumerate(names, 1)
    )
    return Found(label, config, layers, _canonical(tags, place))


def _need(source: Source, name: str, place: str, role: str) -> streams.Span:
    found = source.find(name)
    if found is None:
        raise bad_image(place, f"names {role} {quote(name[:200])}, which is not in the archive")
    return found


# OCI layout


class _Layout:
    """An OCI image layout: blobs by digest, an index that leads to manifests."""

    def __init__(self, source: Source, what: str) -> None:
        self._source = source
        self._what = what

    def images(self, index: bytes) -> list[Found]:
        """One image for each name, for this machine's platform; images without a name each for itself."""
        place = f"{self._what}: index.json"
        groups: dict[str, list[dict[str, Any]]] = {}
        for descriptor in documents.manifests_of(configuration.read_json(index, place), place):
            name = _name(descriptor)
            # Without a name, several platforms are one image, and manifests without a platform one each.
            groups.setdefault(name or ("" if descriptor.get("platform") else f" {len(groups)}"), []).append(descriptor)
        if not groups or len(groups) > _MOST_IMAGES:
            raise bad_image(place, f"speaks of {len(groups)} images")
        return [self._image(name.strip() if not name.startswith(" ") else "", group) for name, group in groups.items()]

    def _image(self, name: str, descriptors: list[dict[str, Any]]) -> Found:
        label = f"{self._what}: {printable(name)}" if name else self._what
        came = self._manifest(descriptors, label, 0)
        manifest = configuration.read_json(came[-1], f"{label}: manifest")
        layers = manifest.get("layers")
        config = manifest.get("config")
        if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
            raise bad_image(f"{label}: manifest", "layers is not a list of descriptors")
        if not isinstance(config, dict):
            raise bad_image(f"{label}: manifest", "config is not a descriptor")
        documents.check_count(label, layers)
        found = []
        for number, layer in enumerate(layers, 1):
            what = f"{label}: layer {number} of {len(layers)}"
            found.append(LayerSource(self._blob(layer, what), what, layer["digest"]))
        data = self._document(config, f"{label}: configuration")
        tags = _canonical([name] if name else [], f"{self._what}: index.json")
        return Found(label, data, tuple(found), tags, _names_by_digest(tags, came), came)

    def _manifest(self, descriptors: Sequence[dict[str, Any]], label: str, depth: int) -> tuple[bytes, ...]:
        """The manifest for this platform among `descriptors`, behind the indexes that lead to it, outermost first."""
        if depth > documents.DEEPEST_INDEX:
            raise documents.too_deep(label)
        descriptor = documents.choose(descriptors, platforms.of_machine(), label)
        data = self._document(descriptor, f"{label}: manifest")
        document = configuration.read_json(data, f"{label}: manifest")
        if descriptor.get("mediaType") in documents.INDEX_TYPES or "manifests" in document:
            inner = documents.manifests_of(document, f"{label}: index")
            return (data, *self._manifest(inner, label, depth + 1))
        return (data,)

    def _document(self, descriptor: dict[str, Any], what: str) -> bytes:
        data = self._blob(descriptor, what).read(MOST_BYTES, what)
        documents.check_digest(what, descriptor["digest"], digest_of(data))
        return data

    def _blob(self, descriptor: dict[str, Any], what: str) -> streams.Span:
        """A blob of the size that its descriptor says; its content is not checked here."""
        digest, size = documents.digest_in(descriptor, what), descriptor.get("size")
        span = self._source.find("blobs/sha256/" + digest.removeprefix("sha256:"))
        if span is None:
            raise bad_image(what, f"blob {digest} is not in the archive")
        if span.size != size:
            raise bad_image(what, f"the size does not match: expected {size} bytes, got {span.size} ({digest})")
        return span


def _name(descriptor: dict[str, Any]) -> str:
    """The image's name by annotation, "" for none. `ref.name` alone is often just a tag, which names nothing."""
    annotations = platforms.annotations_of(descriptor)
    full = annotations.get("io.containerd.image.name")
    if isinstance(full, str) and full:
        return full
    name = annotations.get("org.opencontainers.image.ref.name")
    if not isinstance(name, str) or "@" in name:
        return ""
    only_a_tag = not re.search(r"[/:]", name) and (name == "latest" or re.match(r"v?[0-9]", name))
    return "" if only_a_tag else name


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _canonical(names: Iterable[str], place: str) -> tuple[str, ...]:
    """The tags among the names that an archive gives. A digest is not its to give: it follows from the content."""
    tags = []
    for name in names:
        try:
            reference = references.parse(name)
        except ReconcilerError as error:
            raise bad_image(place, error.message, error.hint) from None
        if not reference.digest:
            tags.append(reference.canonical)
    return tuple(dict.fromkeys(tags))


def _names_by_digest(tags: Iterable[str], came: Iterable[bytes]) -> tuple[str, ...]:
    """NAME@DIGEST for the repository of each tag and each document that came, an index or manifest, in this order."""
    digests = [digest_of(document) for document in came]
    repositories = dict.fromkeys(references.parse(tag).name for tag in tags)
    return tuple(f"{repository}@{digest}" for repository in repositories for digest in digests)
