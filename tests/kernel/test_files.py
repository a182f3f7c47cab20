"""The composites of engine.kernel.files that several processes and threads may run at once."""

from __future__ import annotations

import os
import subprocess
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


def test_folders_are_spread_on_file_systems_that_know_of_it(tmp_path):
    files.spread_folders(tmp_path)
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True
    ).stdout.strip()
    shown = subprocess.run(["lsattr", "-d", tmp_path], capture_output=True, text=True, check=False).stdout.split(" ")[0]
    assert ("T" in shown) == (kind == "ext2/ext3")
    files.spread_folders("/proc")
