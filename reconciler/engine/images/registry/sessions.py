"""Logging in to registries and out of them. Only `catalog.Images` calls it."""

from __future__ import annotations

from reconciler.engine.images.catalog import never
from reconciler.engine.images.registry import credentials
from reconciler.engine.images.registry.client import Repository, origin
from reconciler.engine.images.registry.watching import Watch
from reconciler.engine.images.registry.wire import Wire
from reconciler.kits import configuration

_LONGEST = 60.0
"""Seconds that a registry has to say yes or no."""


def login(registry: str, username: str, password: str) -> str:
    """Try a user name and a password, then keep them; where: a file's path, or a credential helper's name.

    Raises `ReconcilerError`: "denied", "unreachable", "registry", "credentials".
    """
    settings = configuration.load()
    given = credentials.usable(credentials.Credentials(username, password), "the user name or the password")
    with Watch(never, _LONGEST) as watch:
        wire = Wire(settings, watch)
        try:
            Repository(wire, origin(registry, settings), "", registry, given).ping()
        finally:
            wire.close()
    return credentials.store(registry, username, password)


def logout(registry: str) -> bool:
    """Forget what is kept for a registry; whether there was something."""
    return credentials.forget(registry)
