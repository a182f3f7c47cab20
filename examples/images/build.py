#!/usr/bin/env python3
"""Builds the images that the demo, the tests and the benchmarks run, from Debian packages, into build/images/.

    examples/images/build.py             what is missing or whose recipe has changed
    examples/images/build.py tiny        only that one
    examples/images/build.py --force     all of them again, with Debian's newest packages

Same recipe and same package versions: same bytes. Several builds at a time do not disturb each other.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import archive
import busybox
import commands
import debian
import layers
import recipe
from commands import BuildError, say

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCH = 1_767_225_600  # 2026-01-01: newer modification times in an image become this one
OUTPUT = os.path.join(recipe.HERE, "..", "..", "build", "images")


class Builder:
    """One run: what is fresh, and a scratch folder beside the images for what is made."""

    def __init__(self, output: str, scratch: str, *, epoch: int, force: bool) -> None:
        self.output = output
        self.scratch = scratch
        self.epoch = epoch
        self.force = force
        self.recipes = recipe.load()
        self.made: set[str] = set()

    def target(self, name: str) -> str:
        return os.path.join(self.output, name + ".tar")

    def log(self, name: str) -> str:
        return os.path.join(self.output, name + ".log")

    def record(self, name: str) -> dict[str, Any]:
        """What was recorded beside the image when it was made; empty when there is none to use."""
        try:
            with open(self.target(name) + ".json", encoding="utf-8") as file:
                record = json.load(file)
        except (OSError, ValueError):
            return {}
        return record if os.path.exists(self.target(name)) else {}

    def fresh(self, name: str) -> bool:
        made = self.recipes[name]
        record = self.record(name)
        if (self.force and name not in self.made) or record.get("recipe") != made.digest(self.epoch):
            return False
        return made.base is None or (self.fresh(made.base) and self.record(made.base)["layer"] == record["base"])

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """This image is ours to build until the end of the block, among all builders."""
        with open(os.path.join(self.output, f".{name}.lock"), "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(name, "another build of it is under way: waiting")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def build(self, names: list[str]) -> None:
        """Builds those of `names` that are not fresh, bases first, the others side by side."""
        stale = [name for name in names if not self.fresh(name)]
        bases = {base for name in stale if (base := self.recipes[name].base)}
        trees: dict[str, tuple[str, Future[None]]] = {}
        with ThreadPoolExecutor(max_workers=8) as pool:
            tasks = [pool.submit(self.make_tiny, name) for name in stale if self.recipes[name].kind == "busybox"]
            try:
                if any(self.recipes[name].kind == "debian" for name in stale):
                    debian.prepare_machine(self.output)
                for name in sorted(bases | {name for name in stale if self.is_base(name)}):
                    trees[name] = self.make_base(name, pool)
                    tasks.append(trees[name][1])
                tasks += [
                    pool.submit(self.make_on_top, name, *trees[base])
                    for name in stale
                    if (base := self.recipes[name].base)
                ]
                done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
                for task in done:
                    task.result()
            except BaseException:
                commands.end_all()
                raise

    def is_base(self, name: str) -> bool:
        return self.recipes[name].kind == "debian" and self.recipes[name].base is None

    def make_tiny(self, name: str) -> None:
        with self.turn(name):
            if self.fresh(name):
                return
            tree = os.path.join(self.scratch, name)
            self.start(name)
            busybox.tree(tree, log=self.log(name))
            self.finish(name, tree, None)

    def make_base(self, name: str, pool: ThreadPoolExecutor) -> tuple[str, Future[None]]:
        """The base's tree, which images can be built on at once, and its archive, which is still being written."""
        tree = os.path.join(self.scratch, name)
        turn = contextlib.ExitStack()
        turn.enter_context(self.turn(name))
        if self.fresh(name):
            turn.close()
            self.unpack_base(name, tree)
            return tree, pool.submit(lambda: None)
        with contextlib.ExitStack() as guard:
            guard.push(turn)
            self.start(name)
            debian.bootstrap(self.recipes[name], tree, log=self.log(name), epoch=self.epoch)
            guard.pop_all()

        def write() -> None:
            with turn:
                self.finish(name, tree, None)

        return tree, pool.submit(write)

    def unpack_base(self, name: str, tree: str) -> None:
        layer = self.layer(name)
        os.mkdir(tree, 0o755)
        with open(layer.path, "rb") as file:
            file.seek(layer.offset)
            with tarfile.open(fileobj=file, mode="r|") as tar:
                # Our own archive. Debian 12's Python has no filters yet, newer ones warn without.
                trusted = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
                tar.extractall(tree, numeric_owner=True, **trusted)

    def make_on_top(self, name: str, base: str, base_written: Future[None]) -> None:
        made = self.recipes[name]
        with self.turn(name):
            if self.fresh(name):  # another builder made it while we waited
                return
            upper = os.path.join(self.scratch, name)
            self.start(name)
            debian.install(made, base, upper, log=self.log(name), epoch=self.epoch)
            base_written.result()
            self.finish(name, upper, made.base)

    def layer(self, name: str) -> archive.Layer:
        return archive.find_layer(self.target(name), self.record(name)["layer"], self.recipes[name].created_by)

    def start(self, name: str) -> None:
        say(name, "building " + ", ".join(self.recipes[name].tags))
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.log(name))

    def finish(self, name: str, tree: str, base: str | None) -> None:
        """Tree or upper directory to archive, beside the old one, then in its place."""
        made = self.recipes[name]
        path = os.path.join(self.scratch, name + ".layer")
        digest, size = layers.write_layer(tree, path, epoch=self.epoch, base=base is None)
        below = [self.layer(base)] if base else []
        new = os.path.join(self.scratch, name + ".tar")
        top = archive.Layer(digest, size, path, created_by=made.created_by)
        archive.write_archive(new, tags=made.tags, config=made.config, layers=[*below, top], epoch=self.epoch)
        record = {"recipe": made.digest(self.epoch), "layer": digest, "base": below[0].digest if below else None}
        with open(new + ".json", "w", encoding="utf-8") as file:
            json.dump(record, file)
        # Without its record, an image counts as not built: no moment in which an old record describes the new image.
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.target(name) + ".json")
        os.replace(new, self.target(name))
        os.replace(new + ".json", self.target(name) + ".json")
        self.made.add(name)
        os.remove(path)
        say(name, f"done, {os.path.getsize(self.target(name)) / 1e6:.0f} MB in {os.path.relpath(self.target(name))}")


@contextlib.contextmanager
def scratch_folder(output: str) -> Iterator[str]:
    """A folder that is gone afterwards. Those of builders that were killed are removed, too: nobody holds their lock."""
    os.makedirs(output, exist_ok=True)
    with open(os.path.join(output, ".lock"), "w", encoding="utf-8") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for name in os.listdir(output):
            if name.startswith(".work-"):
                with (
                    contextlib.suppress(BlockingIOError),
                    open(os.path.join(output, name, "lock"), "a", encoding="utf-8") as held,
                ):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove(os.path.join(output, name))
        folder = tempfile.mkdtemp(prefix=".work-", dir=output)
        os.chmod(folder, 0o755)
        mine = open(os.path.join(folder, "lock"), "w", encoding="utf-8")  # noqa: SIM115  # held as long as we live
        fcntl.flock(mine, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        remove(folder)
        mine.close()


def remove(folder: str) -> None:
    """Killed programs need a moment until they write no more."""
    for _ in range(50):
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
            return
        time.sleep(0.1)
    shutil.rmtree(folder)


def main() -> int:
    known = recipe.load()
    parser = argparse.ArgumentParser(
        description="Builds container images from Debian packages into build/images.", allow_abbrev=False
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(known)}; all of them by default")
    parser.add_argument("--force", action="store_true", help="also when the recipe has not changed")
    parser.add_argument("--output", default=OUTPUT, metavar="FOLDER", help="instead of build/images")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.images) - set(known)):
        parser.error(f"no such image: {', '.join(unknown)} (there are {', '.join(known)})")
    names = arguments.images or list(known)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH)
    output = os.path.realpath(arguments.output)
    os.umask(0o022)
    commands.end_on_signals()
    builder = Builder(output, "", epoch=epoch, force=arguments.force)
    if all(builder.fresh(name) for name in names):
        print(f"images are up to date: {', '.join(names)}")
        return 0
    try:
        with scratch_folder(output) as folder:
            builder.scratch = folder
            builder.build(names)
    except KeyboardInterrupt:
        print("interrupted: nothing is left behind, finished images are kept", file=sys.stderr)
        return 130
    except BuildError as error:
        print(f"an image could not be built:\n{error}", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"an image could not be built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
