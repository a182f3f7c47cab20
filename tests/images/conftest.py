from __future__ import annotations

import pytest
from imagelab import images_at


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "root")


@pytest.fixture
def images(root):
    catalog = images_at(root)
    yield catalog
    catalog._store.close()
