"""An image's configuration: read once when the image arrives, and kept as `records.ImageConfig`.

Source: OCI image-spec, config.md, and what Docker adds (Healthcheck). The text is hostile until it is parsed here.
Only this room may import it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from reconciler.engine.records import HealthConfig, ImageConfig
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen, fields
from reconciler.kits.text import quote

if TYPE_CHECKING:
    from reconciler.engine.images.platforms import Platform

MOST_BYTES = 4 << 20
"""Longest JSON document that is read: a configuration, manifest or index (registries accept no more)."""

_NANOSECONDS = 1e9
_EXPOSED = r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?"
_MOST_PORT = 65535
_MOST_EXPOSED = 3 * _MOST_PORT
"""All ports of all protocols; ranges that overlap count twice, or a small text would become a long list again and again."""
_MOST_NUMBER = 2**63 - 1
"""Docker keeps durations (in nanoseconds) and counts in 64 bits."""
_DIGEST = r"sha256:[0-9a-f]{64}"
"""Patterns as text: compiled when an image arrives, not at each start."""


class Configuration(Frozen):
    """What the JSON says: the platform it is for, its layers' digests (uncompressed), and all that a container needs."""

    platform: Platform

    diff_ids: tuple[str, ...]
    settings: dict[str, Any]
    """The arguments of `ImageConfig` but id, layers, size and platform."""

    def image(self, image_id: str, layers: tuple[str, ...], size: int) -> ImageConfig:
        return ImageConfig(id=image_id, layers=layers, size=size, platform=str(self.platform.plain), **self.settings)


def bad_image(what: str, why: str, hint: str = "") -> ReconcilerError:
    """The error for content that is not what it says it is."""
    return ReconcilerError(f"{what}: {why}", code="bad-image", hint=hint)


def is_digest(value: object) -> bool:
    """Whether it is `sha256:` and 64 hexadecimal digits, the only algorithm that images use in practice."""
    return isinstance(value, str) and re.fullmatch(_DIGEST, value) is not None


def digest_of(data: bytes) -> str:
    """The digest of some bytes, `sha256:...`."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL: only where images arrive

    return "sha256:" + hashlib.sha256(data).hexdigest()


def read_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object; raises `ReconcilerError` with code "bad-image" that names `what`."""
    document = read_any_json(data, what)
    if not isinstance(document, dict):
        raise bad_image(what, "not a JSON object")
    return document


def read_any_json(data: bytes, what: str) -> Any:
    """Any JSON value; raises `ReconcilerError` with code "bad-image" that names `what`."""
    try:
        document = json.loads(data, parse_constant=_no_constant)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no text: nobody could store it
    except (ValueError, RecursionError) as error:
        raise bad_image(what, f"not JSON ({error})") from None
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def parse(data: bytes, what: str) -> Configuration:
    """Read and check an image configuration; `what` names it in errors."""
    from reconciler.engine.images.platforms import Platform  # noqa: PLC0415 - not where images are only looked up

    document = read_json(data, what)
    reader = _Reader(what)
    rootfs = reader.mapping(document, "rootfs")
    diff_ids = reader.strings(rootfs, "diff_ids")
    for diff_id in diff_ids:
        if not is_digest(diff_id):
            raise bad_image(what, f"rootfs.diff_ids holds {quote(diff_id[:80])}, which is no sha256 digest")
    inner = reader.mapping(document, "config")
    return Configuration(
        platform=Platform(
            reader.string(document, "os") or "linux",
            reader.string(document, "architecture"),
            reader.string(document, "variant"),
        ),
        diff_ids=diff_ids,
        settings={
            "entrypoint": reader.strings(inner, "Entrypoint"),
            "command": reader.strings(inner, "Cmd"),
            "environment": reader.strings(inner, "Env"),
            "exposed": reader.ports(inner),
            "volumes": tuple(sorted(reader.mapping(inner, "Volumes"))),
            "user": reader.string(inner, "User"),
            "working_dir": reader.string(inner, "WorkingDir"),
            "stop_signal": reader.string(inner, "StopSignal"),
            "shell": reader.strings(inner, "Shell"),
            "labels": reader.labels(inner),
            "health": reader.health(inner),
            "created": reader.string(document, "created"),
        },
    )


def decode(text: str) -> ImageConfig:
    """The inverse of `json.dumps(as_document(image))`, as the store keeps it; unknown keys of a newer release are dropped."""
    known = {key: value for key, value in json.loads(text).items() if key in fields(ImageConfig)}
    for key in ("layers", "entrypoint", "command", "environment", "exposed", "volumes", "shell"):
        known[key] = tuple(known.get(key) or ())
    if health := known.get("health"):
        known["health"] = HealthConfig(**{**health, "test": tuple(health["test"])})
    return ImageConfig(**known)


class _Reader:
    """Typed access to hostile JSON: null and absent are empty, anything of another type is an error."""

    def __init__(self, what: str) -> None:
        self._what = what

    def string(self, parent: dict[str, Any], key: str) -> str:
        return str(self._typed(parent, key, str, "a string", ""))

    def mapping(self, parent: dict[str, Any], key: str) -> dict[str, Any]:
        found: dict[str, Any] = self._typed(parent, key, dict, "an object", {})
        return found

    def strings(self, parent: dict[str, Any], key: str) -> tuple[str, ...]:
        found = self._typed(parent, key, list, "a list of strings", [])
        if not all(isinstance(item, str) and "\0" not in item for item in found):
            raise bad_image(self._what, f"{key} is not a list of strings")
        return tuple(found)

    def ports(self, parent: dict[str, Any]) -> tuple[str, ...]:
        """The single ports, as "80/tcp", of all ports and ranges of them."""
        found: dict[str, None] = {}
        count = 0
        for text in sorted(self.mapping(parent, "ExposedPorts")):
            numbers, protocol = self._range(text)
            count += len(numbers)
            if count > _MOST_EXPOSED:
                raise bad_image(self._what, f"ExposedPorts holds more than the {_MOST_EXPOSED} ports that there are")
            found.update((f"{number}/{protocol}", None) for number in numbers)
        return tuple(found)

    def _range(self, text: str) -> tuple[range, str]:
        match = re.fullmatch(_EXPOSED, text, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 0 < first <= last <= _MOST_PORT:
            raise bad_image(self._what, f"ExposedPorts holds {quote(text[:80])}, which is no port like 80/tcp")
        return range(first, last + 1), match[3] or "tcp"

    def labels(self, parent: dict[str, Any]) -> dict[str, str]:
        return {key: "" if value is None else str(value) for key, value in self.mapping(parent, "Labels").items()}

    def health(self, parent: dict[str, Any]) -> HealthConfig | None:
        found = self.mapping(parent, "Healthcheck")
        if not found:
            return None
        return HealthConfig(
            test=self.strings(found, "Test"),
            interval=self._seconds(found, "Interval"),
            timeout=self._seconds(found, "Timeout"),
            start_period=self._seconds(found, "StartPeriod"),
            start_interval=self._seconds(found, "StartInterval"),
            retries=self._number(found, "Retries"),
        )

    def _seconds(self, parent: dict[str, Any], key: str) -> float | None:
        found = self._number(parent, key)
        return found / _NANOSECONDS if found else None

    def _number(self, parent: dict[str, Any], key: str) -> int | None:
        # Zero means "inherit", as if it were absent.
        found = int(self._typed(parent, key, int, "a number", 0))
        if not 0 <= found <= _MOST_NUMBER:
            raise bad_image(self._what, f"{key} is not a number from 0 to {_MOST_NUMBER}")
        return found or None

    def _typed(self, parent: dict[str, Any], key: str, kind: Any, name: str, empty: Any) -> Any:
        found = parent.get(key)
        if found is None:
            return empty
        if not isinstance(found, kind) or (isinstance(found, str) and "\0" in found):
            raise bad_image(self._what, f"{key} is not {name}")
        return found
