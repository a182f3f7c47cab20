"""What is known of containers' health, where everybody may read it: a file a container, under RUN.

Its first line is "STATUS GENERATION STREAK", all that `ps` reads; the rest is JSON. It is about one run of the container,
and stays until the next one begins: who asks why a container was restarted finds the answer.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from reconciler.engine.kernel import files
from reconciler.kits.frozen import as_document

if TYPE_CHECKING:
    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.health.verdict import Verdict
    from reconciler.engine.paths import Paths


def path_of(paths: Paths, container_id: str) -> str:
    return os.path.join(paths.health, container_id)


def write(paths: Paths, container_id: str, generation: int, verdict: Verdict) -> None:
    """Keep a verdict about the run with this number."""
    text = f"{verdict.status} {generation} {verdict.streak}\n{json.dumps(as_document(verdict.log))}\n"
    path = path_of(paths, container_id)
    try:
        files.replace_file(path, text.encode("utf-8", "surrogatepass"), durable=False)
    except FileNotFoundError:
        files.make_folders(paths.health)
        files.replace_file(path, text.encode("utf-8", "surrogatepass"), durable=False)


def forget(paths: Paths, container_id: str) -> None:
    """There is nothing to be known any more."""
    files.remove_file(path_of(paths, container_id))


def status(paths: Paths, record: Record) -> str:
    """Starting, healthy or unhealthy; "" of a container whose present run is not checked. For one that runs."""
    try:
        with open(path_of(paths, record.id), "rb") as file:
            word, generation, _ = file.readline(64).split()
            return word.decode("ascii") if int(generation) == record.generation else ""
    except (OSError, ValueError):
        return ""


def read(paths: Paths, record: Record) -> Verdict | None:
    """All that is known of the container's present run, or of its last; None where that was not checked."""
    from reconciler.engine.containers.health.verdict import Result, Verdict  # noqa: PLC0415 - `status` needs none of it

    try:
        with open(path_of(paths, record.id), "rb") as file:
            word, generation, streak = file.readline(64).split()
            if int(generation) != record.generation:
                return None
            log = json.loads(file.read())
            return Verdict(word.decode("ascii"), int(streak), tuple([Result(**one) for one in log]))
    except (OSError, ValueError, TypeError):
        return None
