from __future__ import annotations

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "images"))

import registrylab


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A registry of the test's own, and a configuration that knows it."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr("reconciler.kits.backoff.RETRY_FIRST", 0.005)
    monkeypatch.setattr("reconciler.kits.backoff.RETRY_LAST", 0.02)
    with registrylab.running(registrylab.Hub()) as made:
        monkeypatch.setenv("RECONCILER_CONFIG", registrylab.configured(tmp_path, made))
        yield made


@pytest.fixture
def other(hub):  # noqa: ARG001 - the configuration is its
    """Another one."""
    with registrylab.running(registrylab.Hub()) as made:
        yield made


@pytest.fixture
def images(tmp_path):
    with registrylab.opened_images(tmp_path / "root") as catalog:
        yield catalog
