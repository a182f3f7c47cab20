"""Image references: the grammar of registry/repository:tag@digest, and the names that short forms stand for.

Only names: it does not know what a registry or a store holds. Anyone may import it.
Source: the grammar of github.com/distribution/reference (reference.go, normalize.go).
"""

from __future__ import annotations

import re
from functools import lru_cache

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_OFFICIAL = "library/"
_LEGACY_REGISTRY = "index.docker.io"
_LONGEST_REPOSITORY = 255
_DIGEST_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REGISTRY = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"


class Reference(Frozen):
    """An image's full name. `tag` is "" only when there is a `digest` and no tag was given; `digest` is "" without one."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository: docker.io/library/mariadb."""
        return f"{self.registry}/{self.repository}"

    @property
    def canonical(self) -> str:
        """The whole name, nothing left out: docker.io/library/mariadb:10.11."""
        return self.name + self._suffix

    @property
    def familiar(self) -> str:
        """The shortest name that means the same, tag included: mariadb:10.11."""
        if self.registry != DEFAULT_REGISTRY:
            return self.canonical
        rest = self.repository.removeprefix(_OFFICIAL)
        return (self.repository if "/" in rest else rest) + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.canonical


@lru_cache(maxsize=256)
def parse(text: str) -> Reference:
    """The reference that `text` means, as Docker reads it.

    Raises `ReconcilerError` (code "bad-reference") that says which part is wrong.
    """
    if not text:
        raise _bad(text, "it is empty")
    if re.fullmatch(r"[a-f0-9]{64}", text):
        raise _bad(text, "64 hexadecimal digits are an image id, not a name", "name the image as repository:tag")
    name, _, digest = text.partition("@")
    if "@" in text:
        _check_digest(text, digest)
    registry, rest = _split_registry(text, name)
    repository, colon, tag = rest.partition(":")
    _check_repository(text, repository)
    if colon and not re.fullmatch(_TAG, tag):
        raise _bad(text, *_tag_fault(tag))
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = _OFFICIAL + repository
    if len(registry) + 1 + len(repository) > _LONGEST_REPOSITORY:
        raise _bad(text, f"the name is longer than {_LONGEST_REPOSITORY} characters")
    if not tag and not digest:
        tag = DEFAULT_TAG
    return Reference(registry, repository, tag, digest)


def _bad(text: str, why: str, hint: str = "") -> ReconcilerError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return ReconcilerError(
        f"bad image reference {shown!r}: {why}",
        code="bad-reference",
        hint=hint or "an image is named [registry[:port]/]repository[:tag][@digest], e.g. mariadb:10.11",
    )


def _split_registry(text: str, name: str) -> tuple[str, str]:
    """Split off the registry: what stands before the first slash and looks like a host, else Docker Hub."""
    first, slash, rest = name.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not is_host:
        return DEFAULT_REGISTRY, name
    if "://" in name:
        raise _bad(text, "it is a URL", "leave out the scheme: registry.example.com/team/app:1.0")
    if not re.fullmatch(_REGISTRY, first):
        raise _bad(text, f"{first!r} is not a registry's host name, with or without a port")
    return (DEFAULT_REGISTRY if first == _LEGACY_REGISTRY else first), rest


def _check_repository(text: str, repository: str) -> None:
    for part in repository.split("/"):
        if re.fullmatch(_COMPONENT, part):
            continue
        if not part:
            raise _bad(text, "a part of the repository's name is empty")
        if part != part.lower() and re.fullmatch(_COMPONENT, part.lower()):
            raise _bad(
                text,
                "a repository's name must be lower-case",
                f"did you mean {text.replace(repository, repository.lower(), 1)!r}?",
            )
        raise _bad(text, f"{part!r} may hold only a-z and 0-9, with single '.', '_', '__' or dashes in between")


def _tag_fault(tag: str) -> tuple[str, str]:
    if not tag:
        return "there is no tag after the colon", "leave out the colon or name a tag, e.g. ':latest'"
    if len(tag) > 128:
        return "the tag is longer than 128 characters", ""
    return f"the tag {tag!r} may hold only letters, digits, '_', '.' and '-', and begins with none of '.' and '-'", ""


def _check_digest(text: str, digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    if not re.fullmatch(_DIGEST, digest) or algorithm not in _DIGEST_LENGTHS:
        raise _bad(text, f"{digest!r} is not a digest", "a digest is sha256: and 64 hexadecimal digits")
    if len(value) != _DIGEST_LENGTHS[algorithm] or value != value.lower():
        wanted = _DIGEST_LENGTHS[algorithm]
        raise _bad(text, f"a {algorithm} digest has {wanted} lower-case hexadecimal digits, this one has {len(value)}")
