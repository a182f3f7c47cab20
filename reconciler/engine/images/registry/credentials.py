"""Who one is at a registry: Docker's config.json and its credential helpers, read and written.

So `docker login` and `reconciler login` serve each other. Not for what is made of them on the wire (`authority`). Only
this room may import it. Sources: docker/cli's config file; the protocol of docker-credential-helpers.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import Any

from reconciler.engine.kernel import files, programs
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen
from reconciler.kits.references import DEFAULT_REGISTRY
from reconciler.kits.text import printable

HUB = "https://index.docker.io/v1/"
"""What Docker Hub is called in the file."""

_MOST_BYTES = 4 << 20
_HELPER_SECONDS = 60.0
_MOST_SAID = 300
_TOKEN_USER = "<token>"  # noqa: S105 - how helpers mark an identity token
_NONE_STORED = "credentials not found"


class Credentials(Frozen):
    """A user name and a password, or an identity token to be changed for others, or a token that is used as it is."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


def key_of(registry: str) -> str:
    """What a registry is called in the file."""
    return HUB if registry == DEFAULT_REGISTRY else registry


def config_file() -> str:
    """DOCKER_CONFIG/config.json, else ~/.docker/config.json."""
    folder = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
    return os.path.join(folder, "config.json")


def find(registry: str) -> Credentials | None:
    """What is stored for a registry; None for nothing.

    Raises `ReconcilerError` with code "credentials": a file that can't be read, a helper that fails.
    """
    path = config_file()
    document = _read(path)
    key = key_of(registry)
    if helper := _helper(document, key):
        found = _ask(helper, key)
        if found is not None:
            return found
    entries = document.get("auths")
    if not isinstance(entries, dict):
        return None
    for name in (key, *(name for name in entries if _host_of(name) == _host_of(key))):
        if isinstance(entries.get(name), dict):
            return _decoded(entries[name], name, path)
    return None


def usable(found: Credentials, where: str) -> Credentials:
    """The same, if it can be sent at all: text of UTF-8, and a token that fits a header; `where` names it in the error."""
    texts = (found.username, found.password, found.identity_token)
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        raise _fault(f"{where} is not UTF-8")
    if not all("!" <= character <= "~" for character in found.registry_token):
        raise _fault(f"{where}: registrytoken is no token")
    return found


def store(registry: str, username: str, password: str) -> str:
    """Keep a user name and a password, by the helper that is set up or in the file; where they are: a path, or a helper."""
    path = config_file()
    document = _read(path)
    key = key_of(registry)
    if helper := _helper(document, key):
        _run(helper, "store", json.dumps({"ServerURL": key, "Username": username, "Secret": password}))
        return _program(helper)
    entries = document.get("auths")
    entries = dict(entries) if isinstance(entries, dict) else {}
    entries[key] = {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}
    _write(path, {**document, "auths": entries})
    return path


def forget(registry: str) -> bool:
    """Remove what is stored for a registry; whether there was something."""
    path = config_file()
    document = _read(path)
    key = key_of(registry)
    known = False
    if helper := _helper(document, key):
        known = _ask(helper, key) is not None
        if known:
            _run(helper, "erase", key)
    entries = document.get("auths")
    entries = entries if isinstance(entries, dict) else {}
    gone = [name for name in entries if _host_of(name) == _host_of(key)]
    if gone:
        _write(path, {**document, "auths": {name: entries[name] for name in entries if name not in gone}})
    return known or bool(gone)


def _host_of(name: str) -> str:
    """The host in a key of the file, which older releases wrote as an address with a version."""
    host = name.partition("://")[2] or name
    return host.partition("/")[0]


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _fault(f"{path} can't be read: {error.strerror}") from error
    try:
        document = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise _fault(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _fault(f"{path} is not a JSON object")
    return document


def _write(path: str, document: dict[str, Any]) -> None:
    """In the place of the file that a link leads to; only its owner may read it, whoever could before."""
    path = os.path.realpath(path)
    try:
        files.make_folders(os.path.dirname(path))
        files.replace_file(path, (json.dumps(document, indent="\t") + "\n").encode(), 0o600)
    except OSError as error:
        raise _fault(f"{path} can't be written: {error.strerror}") from error


def _decoded(entry: dict[str, Any], name: str, path: str) -> Credentials | None:
    text = entry.get("auth") or ""
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if text:
        try:
            pair = base64.b64decode(text, validate=True).decode().rstrip("\0")
        except (ValueError, TypeError, binascii.Error):
            raise _fault(f"{path}: what is stored for {printable(name)} can't be decoded") from None
        username, _, password = pair.partition(":")
    found = Credentials(
        username, password, str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    )
    return usable(found, f"{path}: what is stored for {printable(name)}") if found != Credentials() else None


def _helper(document: dict[str, Any], key: str) -> str:
    """The helper for a registry, "" for none."""
    helpers = document.get("credHelpers")
    name = helpers.get(key) or helpers.get(_host_of(key)) if isinstance(helpers, dict) else ""
    name = name or document.get("credsStore") or ""
    if not isinstance(name, str) or "/" in name:
        raise _fault(f"{config_file()} names a credential helper that can't be one")
    return name


def _program(helper: str) -> str:
    return f"docker-credential-{helper}"


def _ask(helper: str, key: str) -> Credentials | None:
    try:
        found = json.loads(_run(helper, "get", key) or "null")
        if found is None:
            return None
        username, secret = found["Username"], found["Secret"]
    except (ValueError, TypeError, KeyError):
        raise _fault(f"{_program(helper)} answers with what is not JSON with Username and Secret") from None
    token = username == _TOKEN_USER
    given = Credentials(identity_token=str(secret)) if token else Credentials(str(username), str(secret))
    return usable(given, f"what {_program(helper)} answers") if secret else None


def _run(helper: str, command: str, text: str) -> str:
    """What the helper says; "" where it has nothing for us."""
    program = _program(helper)
    try:
        done = programs.run([program, command], data=text.encode(), timeout=_HELPER_SECONDS)
    except FileNotFoundError:
        raise _fault(
            f"{config_file()} names the credential helper {program}, which is not installed",
            "install it, or remove credsStore and credHelpers from that file",
        ) from None
    except OSError as error:
        raise _fault(f"{program} can't be run: {error.strerror}") from error
    except programs.TimeoutExpired:
        raise _fault(f"{program} does not answer within {_HELPER_SECONDS:.0f} s") from None
    if done.code:
        said = (done.out.strip() or done.err.strip())[:_MOST_SAID]
        if command == "get" and _NONE_STORED in said:
            return ""
        raise _fault(f"{program} {command} failed: {printable(said) or f'exit code {done.code}'}")
    return done.out


def _fault(message: str, hint: str = "") -> ReconcilerError:
    return ReconcilerError(message, code="credentials", hint=hint)
