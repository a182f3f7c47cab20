"""One line of a check: what was looked at, how it stands, and what to do about it."""

from __future__ import annotations

from reconciler.kits.frozen import Frozen

OK = "ok"
WARNING = "warning"
MISSING = "missing"


class Finding(Frozen):
    """`state` is OK, WARNING (something works less well, or soon not) or MISSING (containers can't run as they should)."""

    subject: str
    state: str
    message: str
    remedy: str = ""


def install(package: str) -> str:
    """How to get a Debian package."""
    return f"apt-get install {package}"
