"""What a registry wants to see before it gives: challenges, basic credentials, bearer tokens.

Credentials go to the registry that they are for and to the token server that it names, and to nobody else. Only this
room may import it. Sources: RFC 9110 (11.6), distribution's token and oauth2 specifications.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from reconciler.engine.images.registry import credentials
from reconciler.engine.images.registry.wire import Site, WireError
from reconciler.kits.frozen import Frozen
from reconciler.kits.text import printable

if TYPE_CHECKING:
    from reconciler.engine.images.registry.credentials import Credentials
    from reconciler.engine.images.registry.wire import Answer, Wire

_MOST_TOKEN = 1 << 20
_LEAST_LIFE = 60.0
"""Seconds that a token lives where its server does not say (the specification's default)."""
_EARLY = 5.0
_CLIENT = "reconciler"

_PAIR = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))\s*(?:,|$)')


class Challenge(Frozen):
    """One way to be let in: `scheme` in lower case, and its parameters."""

    scheme: str
    parameters: dict[str, str]


class Denied(Exception):  # noqa: N818 - what the answer is
    """The credentials, or that there are none, are not enough; `str()` is what the server said."""


def challenges(headers: list[str]) -> list[Challenge]:
    """What WWW-Authenticate says; several challenges may be in one header."""
    found: list[Challenge] = []
    for header in headers:
        rest = header[:8192].strip()
        while scheme := re.match(r"([A-Za-z][A-Za-z0-9_-]*)(?:\s+|$)", rest):
            rest = rest[scheme.end() :]
            parameters: dict[str, str] = {}
            while pair := _PAIR.match(rest):
                value = re.sub(r"\\(.)", r"\1", pair[2]) if pair[2] is not None else pair[3]
                parameters.setdefault(pair[1].lower(), value)
                rest = rest[pair.end() :].lstrip()
            found.append(Challenge(scheme[1].lower(), parameters))
    return found


class Authority:
    """The header Authorization for one registry and one repository; safe to use from several threads.

    `given` are credentials to try instead of those that are stored.
    """

    def __init__(self, wire: Wire, registry: str, scope: str, given: Credentials | None = None) -> None:
        self._wire = wire
        self._registry = registry
        self._scope = scope
        self._given = given
        self._guard = threading.Lock()
        self._header = ""
        self._ends = 0.0
        self._challenge: tuple[Challenge, Site] | None = None

    def header(self) -> str:
        """What to send, "" as long as nothing was asked for; a token that is about to end is exchanged before."""
        with self._guard:
            if self._challenge and self._ends and time.monotonic() > self._ends:
                self._renew(*self._challenge)
            return self._header

    def answer(self, refused: Answer, sent: str) -> None:
        """Get ready for what a 401 asks for; `sent` was the header of that request. Whoever calls it counts the tries.

        Raises Denied where there is nothing (else) to show; WireError.
        """
        with self._guard:
            if sent != self._header:
                return  # somebody else was here with the same
            site = Site.of(refused.url)
            for challenge in sorted(
                challenges(refused.headers("WWW-Authenticate")), key=lambda c: c.scheme != "bearer"
            ):
                if challenge.scheme == "bearer":
                    self._renew(challenge, site)
                    return
                if challenge.scheme == "basic":
                    if sent.startswith("Basic "):
                        break
                    self._be_basic()
                    return
            raise Denied("")

    def _credentials(self) -> Credentials | None:
        return self._given or credentials.find(self._registry)

    def _be_basic(self) -> None:
        found = self._credentials()
        if not found or not found.username:
            raise Denied("")
        self._header, self._ends = _basic(found), 0.0

    def _renew(self, challenge: Challenge, site: Site) -> None:
        self._challenge = (challenge, site)
        found = self._credentials()
        if found and found.registry_token:
            if self._header == f"Bearer {found.registry_token}":
                raise Denied("")
            self._header, self._ends = f"Bearer {found.registry_token}", 0.0
            return
        began = time.monotonic()
        token, life = self._fetch(challenge, site, found)
        self._header, self._ends = f"Bearer {token}", began + max(_EARLY, life - _EARLY)

    def _fetch(self, challenge: Challenge, site: Site, found: Credentials | None) -> tuple[str, float]:
        realm = challenge.parameters.get("realm", "")
        server = Site.of(realm)
        if site.scheme == "https" and server.scheme != "https":
            raise WireError(f"{site} sends us to a token server without TLS ({server})", passing=False)
        scope = self._scope or challenge.parameters.get("scope", "")
        query = [(key, value) for key, value in (("service", challenge.parameters.get("service", "")),) if value]
        query += [("scope", part) for part in scope.split() if part]
        if found and found.identity_token:
            form = [("grant_type", "refresh_token"), ("client_id", _CLIENT), ("refresh_token", found.identity_token)]
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            body = urlencode([*form, ("service", challenge.parameters.get("service", "")), ("scope", scope)]).encode()
            answer = self._wire.request("POST", realm, kind, body=body)
        else:
            headers = {}
            if found and found.username:
                headers["Authorization"] = _basic(found)
                query.append(("account", found.username))
            parts = urlsplit(realm)
            joined = "&".join(part for part in (parts.query, urlencode(query)) if part)
            answer = self._wire.request("GET", parts._replace(query=joined, fragment="").geturl(), headers)
        with answer:
            data = answer.read(_MOST_TOKEN)
            if answer.status in (400, 401, 403):
                raise Denied(said(data))
            if answer.status != 200:
                raise WireError(f"the token server {server} answers {answer.status}", passing=answer.status >= 429)
        return _token(data, server)


def _token(data: bytes, server: Site) -> tuple[str, float]:
    """The token and how long it lives, in seconds."""
    try:
        document = json.loads(data)
        token = document.get("token") or document.get("access_token")
        life = float(document.get("expires_in") or _LEAST_LIFE)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        token, life = None, _LEAST_LIFE
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise WireError(f"the token server {server} answers without a token", passing=False)
    return token, min(max(life, 0.0), 86400.0)


def _basic(found: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{found.username}:{found.password}".encode()).decode()


def said(data: bytes) -> str:
    """What a registry says of an error, "code: message" of the first one; "" where it is nothing that can be read."""
    try:
        document = json.loads(data)
        if isinstance(document, dict) and isinstance(document.get("errors"), list):
            first = document["errors"][0]
            code = str(first.get("code", "")).lower().replace("_", " ")
            message = str(first.get("message", ""))
            return printable(f"{code}: {message}"[:200]) if message else printable(code[:100])
        text = document.get("details") or document.get("message") or document.get("error") or ""
        return printable(str(text)[:200])
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
        return ""
