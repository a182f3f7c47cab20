"""Which of several images fits: operating system, architecture and variant, of this machine or as somebody asks.

Only names, and what the kernel says of emulators: it reads neither archives nor registries.
Source: OCI image-spec, image-index.md (platform); containerd's platforms package (which variants run which).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.engine.kernel import files
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import printable, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MACHINES = {
    "x86_64": ("amd64", "386"),
    "aarch64": ("arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"),
    "armv7l": ("arm/v7", "arm/v6", "arm/v5"),
    "armv6l": ("arm/v6", "arm/v5"),
    "i686": ("386",),
    "ppc64le": ("ppc64le",),
    "riscv64": ("riscv64",),
    "s390x": ("s390x",),
    "loongarch64": ("loong64",),
}
"""uname's machine in the words of images (Go's GOARCH), best first; what such a machine runs besides."""

_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm", "armel": "arm/v6"}
_USUAL = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
"""The variant that is meant where none is said."""


class Platform(NamedTuple):
    """Operating system, architecture and variant as Go calls them; "" for what is not said."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    @property
    def plain(self) -> Platform:
        """The same without a variant that goes without saying."""
        return self._replace(variant="") if self.variant == _USUAL.get(self.architecture) else self


class Wanted(NamedTuple):
    """What would do, best first; `said` is how somebody asked for it, "" for whatever this machine runs."""

    any_of: tuple[Platform, ...]
    said: str = ""


def of_machine() -> Wanted:
    """What this machine runs."""
    machine = os.uname().machine
    found = []
    for name in _MACHINES.get(machine, (machine,)):
        architecture, _, variant = name.partition("/")
        found.append(Platform("linux", architecture, variant).plain)
    return Wanted(tuple(found))


def wanted(text: str) -> Wanted:
    """What `--platform` asks for: "linux/arm64", "linux/arm/v7", "arm64"; "" for this machine's.

    Raises `ReconcilerError` with code "bad-platform".
    """
    if not text:
        return of_machine()
    parts = text.lower().split("/")
    if len(parts) == 1:
        parts = ["linux", *_ALIASES.get(parts[0], parts[0]).split("/")]
    elif len(parts) == 2:
        parts = [parts[0], *_ALIASES.get(parts[1], parts[1]).split("/")]
    if len(parts) not in (2, 3) or not all(part.replace("_", "").isalnum() for part in parts):
        raise ReconcilerError(
            f"{quote(text)} is not a platform", code="bad-platform", hint="write it like linux/amd64 or linux/arm/v7"
        )
    return Wanted((Platform(*parts).plain,), text)


def of_descriptor(descriptor: dict[str, Any]) -> Platform:
    """What an index says of a manifest; nothing said fits anything (its configuration is looked at later)."""
    platform = descriptor.get("platform")
    if not isinstance(platform, dict):
        return Platform("linux", "")
    return Platform(*(str(platform.get(key, "")) for key in ("os", "architecture", "variant"))).plain


def is_attestation(descriptor: dict[str, Any]) -> bool:
    """Whether it is what a build says of itself, and no image."""
    return annotations_of(descriptor).get("vnd.docker.reference.type") == "attestation-manifest"


def annotations_of(descriptor: dict[str, Any]) -> dict[str, Any]:
    """A descriptor's annotations, none where it has none."""
    found = descriptor.get("annotations")
    return found if isinstance(found, dict) else {}


def parse(text: str) -> Platform:
    """The inverse of `str`."""
    return Platform(*text.split("/", 2)) if "/" in text else Platform(text, "")


def runs_here(platform: Platform) -> bool:
    """Whether this machine runs images for it: by itself, or by an emulator that binfmt_misc has."""
    return rank(platform, of_machine()) is not None or (platform.os == "linux" and _is_emulated(platform.architecture))


_HANDLERS = "/proc/sys/fs/binfmt_misc"
_ELF_MACHINES = {
    "386": (1, 1, 3), "amd64": (2, 1, 62), "arm": (1, 1, 40), "arm64": (2, 1, 183), "ppc64le": (2, 1, 21),
    "riscv64": (2, 1, 243), "s390x": (2, 2, 22), "loong64": (2, 1, 258), "mips64le": (2, 1, 8), "mips64": (2, 2, 8),
    "mipsle": (1, 1, 8), "mips": (1, 2, 8),
}  # fmt: skip
"""Class (32 or 64 bits), byte order (1 little, 2 big) and machine in an ELF header (elf(5))."""


def _is_emulated(architecture: str) -> bool:
    """Whether some handler takes such programs; one without F would look for its emulator inside the container."""
    if architecture not in _ELF_MACHINES:
        return False
    bits, order, machine = _ELF_MACHINES[architecture]
    numbers = b"".join(number.to_bytes(2, "little" if order == 1 else "big") for number in (2, machine))
    header = b"\x7fELF" + bytes((bits, order, 1)) + bytes(9) + numbers
    try:
        names = [name for name in os.listdir(_HANDLERS) if name not in ("register", "status")]
    except OSError:
        return False
    return any(_takes(os.path.join(_HANDLERS, name), header) for name in names)


def _takes(path: str, header: bytes) -> bool:
    facts = dict(line.partition(" ")[::2] for line in files.read_text(path).splitlines())
    if "enabled" not in facts or facts.get("offset", "0") != "0" or "F" not in facts.get("flags:", ""):
        return False
    try:
        magic = bytes.fromhex(facts.get("magic", ""))
        mask = bytes.fromhex(facts["mask"]) if "mask" in facts else b"\xff" * len(magic)
    except ValueError:
        return False
    return bool(magic) and all(h & m == g & m for h, m, g in zip(header, mask, magic, strict=False))


def check(asked: str, image: str | None, reference: str) -> tuple[str, str] | None:
    """What is wrong (message, hint) with a container that wants an image for the platform `asked`, "" for any.

    `image` is the platform of the one that is here, None where there is none yet.
    """
    actual = parse(image) if image else None
    target = wanted(asked).any_of[0] if asked else actual
    if target is None:
        return None
    if not runs_here(target):
        return (
            f"image {reference} would have to run for {target}, and this machine runs "
            + ", ".join(map(str, of_machine().any_of)),
            "use an image for this machine, or install an emulator: apt-get install qemu-user-static binfmt-support",
        )
    if asked and actual and rank(actual, wanted(asked)) is None:
        fetch = f"fetch it: reconciler pull --platform {target} {reference}"
        return f"image {reference} is here for {actual}, not for {target}", fetch
    return None


def rank(offered: Platform, asked: Wanted) -> int | None:
    """How well a platform fits, 0 best; an unknown architecture fits least, None not at all."""
    offered = offered.plain
    if not offered.architecture:
        return len(asked.any_of) if offered.os == asked.any_of[0].os else None
    for number, platform in enumerate(asked.any_of):
        same = offered[:2] == platform[:2]
        if same and (offered.variant == platform.variant or not offered.variant):
            return number
    return None


def choose(descriptors: Sequence[dict[str, Any]], asked: Wanted, label: str) -> dict[str, Any]:
    """The descriptor of an index that fits best; raises `ReconcilerError` with code "platform" where none does."""
    best: tuple[int, dict[str, Any]] | None = None
    for descriptor in descriptors:
        fits = rank(of_descriptor(descriptor), asked)
        if fits is not None and (best is None or fits < best[0]):
            best = (fits, descriptor)
    if best is None:
        raise wrong(label, map(of_descriptor, descriptors), asked)
    return best[1]


def wrong(label: str, there: Iterable[Platform], asked: Wanted) -> ReconcilerError:
    """The error for an image that is there for other platforms only."""
    shown = ", ".join(sorted({printable(str(platform)) for platform in there}))
    ours = asked.said or f"this machine's {asked.any_of[0]}"
    return ReconcilerError(f"{label}: the image is for {shown}, not for {ours}", code="platform")
