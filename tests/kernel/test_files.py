"""The composites of engine.kernel.files that several processes and threads may run at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from reconciler.engine.kernel import files


def test_writers_of_one_file_take_turns(tmp_path):
    """Each reader sees one writer's content, whole; nothing is left beside it, also not what a killed writer left."""
    path = tmp_path / "script"
    (tmp_path / ".script.new").write_bytes(b"x" * 200_000)
    contents = [bytes([letter]) * 100_000 for letter in b"abcdefgh"]

    def write(data):
        for _ in range(20):
            files.replace_file(path, data, durable=False)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert os.listdir(tmp_path) == ["script"]
