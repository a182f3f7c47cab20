"""One repository of one registry: manifests and blobs, by the OCI distribution protocol.

Here is what it means when a registry says no, and when it is worth to ask again. Nothing that comes is believed but by
its digest. Not for choosing among what an index offers (`manifests`). Only this room may import it.
Source: OCI distribution-spec v1.1 (pull).
"""

from __future__ import annotations

import email.utils
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote as encoded

from reconciler.engine.images import documents
from reconciler.engine.images.configuration import MOST_BYTES, bad_image, digest_of, is_digest
from reconciler.engine.images.documents import INDEX_TYPES, MANIFEST_TYPES
from reconciler.engine.images.registry import proxies
from reconciler.engine.images.registry.authority import Authority, Denied, said
from reconciler.engine.images.registry.wire import Site, WireError
from reconciler.kits.backoff import retry_delay
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.references import DEFAULT_REGISTRY
from reconciler.kits.text import printable
from reconciler.kits.units import human_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.engine.images.registry.credentials import Credentials
    from reconciler.engine.images.registry.wire import Answer, Wire
    from reconciler.kits.configuration import Configuration
    from reconciler.kits.references import Reference

_ACCEPT = {"Accept": ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))}

_HUB = "https://registry-1.docker.io"
_BUSY = (429, 500, 502, 503, 504)
_TRIES = 5
"""In a row without anything gained; who gets a byte begins anew."""
_LONGEST_WAIT = 120.0
"""Seconds that are waited because a registry asks for it; it may ask for hours."""
_UNAUTHORIZED_TRIES = 3


def _unnoticed(_why: str, _seconds: float) -> None:
    return None


class Endpoint(Frozen):
    """Where a repository is served: `base` is an address without a slash at its end.

    `registry` is whose credentials count; `tries_http`: plain HTTP will do where TLS is not spoken.
    """

    base: str
    registry: str
    tries_http: bool = False


def endpoints(reference: Reference, configuration: Configuration) -> tuple[Endpoint, ...]:
    """Where to look for an image: the mirrors of its registry in their order, then the registry."""
    found = []
    for mirror in configuration.registry(reference.registry).mirrors:
        site = Site.of(mirror)
        found.append(Endpoint(mirror, str(site)))
    return (*found, origin(reference.registry, configuration))


def origin(registry: str, configuration: Configuration) -> Endpoint:
    """Where the registry itself is."""
    if registry == DEFAULT_REGISTRY:
        return Endpoint(_HUB, registry)
    if configuration.registry(registry).insecure:
        return Endpoint(f"http://{registry}", registry)
    host = Site.of(f"https://{registry}").host
    return Endpoint(f"https://{registry}", registry, tries_http=proxies.is_loopback(host))


class Document(Frozen):
    """A manifest or index, byte for byte."""

    data: bytes
    digest: str
    media_type: str


class Repository:
    """`name` is the path in the registry, `label` what the user calls the image. Safe to use from several threads."""

    def __init__(self, wire: Wire, endpoint: Endpoint, name: str, label: str, given: Credentials | None = None) -> None:
        self._wire = wire
        self._base = endpoint.base
        self._tries_http = endpoint.tries_http
        self._registry = endpoint.registry
        self._name = name
        self._label = label
        self._met = False
        self._guard = threading.Lock()
        self._authority = Authority(wire, endpoint.registry, f"repository:{name}:pull" if name else "", given)

    @property
    def site(self) -> Site:
        return Site.of(self._base)

    def ping(self) -> None:
        """See that the registry is one and lets us in; raises as `manifest`."""
        with self._get("GET", "/v2/") as answer:
            answer.read(MOST_BYTES)
            if answer.status != 200:
                raise self._failure(answer, b"")

    def digest(self, reference: str) -> str:
        """What a tag stands for now, without fetching it; raises as `manifest`."""
        with self._get("HEAD", f"/v2/{self._name}/manifests/{encoded(reference)}", _ACCEPT) as answer:
            found = answer.header("Docker-Content-Digest")
            if answer.status == 200 and is_digest(found):
                return found
        return self.manifest(reference).digest

    def manifest(self, reference: str) -> Document:
        """The manifest or index under a tag or digest.

        Raises `ReconcilerError`: "not-found", "denied", "unreachable", "registry" (nonsense), "bad-image".
        """
        answer, data = self._read(f"/v2/{self._name}/manifests/{encoded(reference, safe=':')}", _ACCEPT)
        digest = digest_of(data)
        claimed = reference if ":" in reference else answer.header("Docker-Content-Digest")
        if claimed.startswith("sha256:") and claimed != digest:
            raise documents.wrong_digest(f"{self._label}: manifest", printable(claimed[:80]), digest)
        return Document(data, digest, answer.header("Content-Type").partition(";")[0].strip())

    def document(self, digest: str, size: int, what: str) -> bytes:
        """A small blob, checked; raises as `manifest`."""
        if size > MOST_BYTES:
            raise bad_image(what, f"{size} bytes are more than it can sensibly be")
        _, data = self._read(f"/v2/{self._name}/blobs/{digest}", {})
        documents.check_digest(what, digest, digest_of(data))
        return data

    def blob(self, digest: str, offset: int, waiting: Callable[[str, float], None]) -> Answer:
        """The answer with a blob from `offset` on: 206, or 200 for all of it; raises as `manifest`."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        answer = self._get("GET", f"/v2/{self._name}/blobs/{digest}", headers, waiting)
        if answer.status in (200, 206):
            return answer
        with answer:
            data = answer.read(MOST_BYTES)
        raise self._failure(answer, data)

    def _read(self, path: str, headers: Mapping[str, str]) -> tuple[Answer, bytes]:
        """A whole small answer, asked for again when it breaks off."""
        tries = 0
        while True:
            tries += 1
            try:
                with self._get("GET", path, headers) as answer:
                    data = answer.read(MOST_BYTES)
            except WireError as error:
                if not error.passing or tries >= _TRIES:
                    raise self._unreachable(error) from error
                self._wire.watch.sleep(retry_delay(tries))
                continue
            if answer.status != 200:
                raise self._failure(answer, data)
            return answer, data

    def _get(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        waiting: Callable[[str, float], None] = _unnoticed,
    ) -> Answer:
        """An answer that is worth to be looked at: it is tried again while the registry is busy or away for a moment."""
        tries = 0
        while True:
            tries += 1
            try:
                answer = self._authorized(method, path, headers or {})
            except WireError as error:
                if self._falls_back(error):
                    continue
                if not (error.passing and (self._met or not error.away)) or tries >= _TRIES:
                    raise self._unreachable(error) from error
                delay, why = retry_delay(tries), str(error)
            else:
                self._met = True
                if answer.status not in _BUSY:
                    return answer
                delay = self._asked_to_wait(answer) or retry_delay(tries)
                why = f"{self.site} answers {_status(answer.status)}"
                answer.close()
                if tries >= _TRIES or delay > min(_LONGEST_WAIT, self._wire.watch.left):
                    raise self._busy(why, delay)
            waiting(why, delay)
            self._wire.watch.sleep(delay)

    def _authorized(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        for _ in range(_UNAUTHORIZED_TRIES):
            sent, base = "", self._base
            try:
                sent = self._authority.header()
                authorization = {"Authorization": sent} if sent else {}
                answer = self._wire.request(method, base + path, {**headers, **authorization})
                if answer.status != 401:
                    return answer
                try:
                    data = answer.read(MOST_BYTES)
                    self._see_that_it_is_ours(answer, Site.of(base), data)
                    self._authority.answer(answer, sent)
                finally:
                    answer.close()
            except Denied as error:
                raise self._denied(str(error) or (said(data) if not sent else "")) from None
        raise self._denied(said(data))

    def _see_that_it_is_ours(self, refused: Answer, own: Site, data: bytes) -> None:
        """Nobody whom a registry redirects to may ask for its credentials: such a challenge is a failure."""
        site = Site.of(refused.url)
        if site == own:
            return
        text = said(data)
        raise ReconcilerError(
            f"{self._label}: {own} redirects to {site}, which answers {_status(refused.status)}"
            + (f" ({text})" if text else ""),
            code="registry",
            hint="whom a registry redirects to is not shown its credentials",
        )

    def _falls_back(self, error: WireError) -> bool:
        """Whether to go on without TLS from now on."""
        with self._guard:
            if not (self._tries_http and (error.tls or error.away)) or self._met:
                return False
            self._tries_http = False
            self._base = "http://" + self._base.removeprefix("https://")
            return True

    def _asked_to_wait(self, answer: Answer) -> float:
        """Seconds that Retry-After says, as a number or a date; 0.0 for nothing."""
        text = answer.header("Retry-After").strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()) if text else 0.0
        except (ValueError, TypeError, OverflowError):
            return 0.0

    # What a registry's no means

    def _failure(self, answer: Answer, data: bytes) -> ReconcilerError:
        text = said(data)
        if answer.status == 404:
            if "name" in text.partition(":")[0] or not self._name:
                return ReconcilerError(
                    f"{self._label}: {self.site} has no such repository ({text or 'not found'})",
                    code="not-found",
                    hint="check the name; one without a registry is Docker Hub's",
                )
            return ReconcilerError(
                f"manifest for {self._label} not found: {text or 'manifest unknown'}",
                code="not-found",
                hint="check the name and the tag",
            )
        if answer.status in (401, 403):
            return self._denied(text)
        return ReconcilerError(
            f"{self._label}: {self.site} answers {_status(answer.status)}" + (f" ({text})" if text else ""),
            code="registry",
        )

    def _denied(self, text: str) -> ReconcilerError:
        server = "" if self._registry == DEFAULT_REGISTRY else f" {self._registry}"
        if not self._name:
            return ReconcilerError(
                f"{self.site} does not let us in: unauthorized: {text or 'incorrect username or password'}",
                code="denied",
            )
        return ReconcilerError(
            f"pull access denied for {self._label}, repository does not exist or may require 'reconciler login{server}'"
            + (f": {text}" if text else ""),
            code="denied",
        )

    def _unreachable(self, error: WireError) -> ReconcilerError:
        hint = "check the network and the name; behind a proxy set HTTPS_PROXY; reconciler load FILE needs no registry"
        if error.tls:
            hint = f"a registry without TLS is named in config.yaml: registries: {{{self.site}: {{insecure: true}}}}"
        elif error.hint:
            hint = error.hint
        text = str(error)
        if not text.startswith(
            f"{self._label} "
        ):  # of a registry itself it may be the site, which the text begins with
            text = f"{self._label}: {text}"
        return ReconcilerError(text, code="unreachable", hint=hint)

    def _busy(self, why: str, delay: float) -> ReconcilerError:
        late = delay > _LONGEST_WAIT
        return ReconcilerError(
            f"{self._label}: {why}" + (f" and asks to wait {human_duration(delay).lower()}" if late else ""),
            code="busy",
            hint="it limits how much one may fetch: try again later, or log in" if "429" in why else "try again later",
        )


def _status(status: int) -> str:
    import http  # noqa: PLC0415 - on an error's way out

    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
