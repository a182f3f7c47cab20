"""Kill a pull at any effect: the next one gets there, and nothing is left of the first."""

from __future__ import annotations

import os

import pytest
from imagelab import entry, folder, picture, tar
from registrylab import content, layer_of, opened_images
from support.crashes import Crasher

from reconciler.engine.kernel import effects

EVERYTHING = bool(os.environ.get("RECONCILER_TEST_TORTURE"))
STRIDE = 1 if EVERYTHING else 6


class Counter:
    def __init__(self):
        self.count = 0

    def before(self, _name, _arguments):
        self.count += 1

    def after(self, _name, _arguments):
        pass


def pull(root, name, watcher=None):
    before = effects.watch(watcher)
    try:
        with opened_images(root) as images:
            return images.pull(name)
    finally:
        effects.watch(before)


def killed(root, name, number, *, after):
    """Pull in a process that is killed at its effect `number`; whether it came so far."""
    child = os.fork()
    if not child:
        try:
            pull(root, name, Crasher(number, after=after))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) < 0


def whole(root, name):
    """All that is to be seen of a root with one image, but for times."""
    with opened_images(root) as images:
        image = images.resolve(name)
        folders = {"downloads", "staging"}
        left = {path: os.listdir(os.path.join(root, path)) for path in folders}
        assert {path: names for path, names in left.items() if names} == {}
        assert sorted(os.listdir(os.path.join(root, "layers"))) == sorted(image.layers)
        with images._store.read() as rows:
            counts = {
                table: rows.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("images", "layers", "tags", "digests")
            }
        layers = [picture(os.path.join(root, "layers", short), times=False) for short in image.layers]
        return content(images, name), counts, layers, sorted(os.listdir(images._paths.content))


@pytest.mark.kernel
@pytest.mark.parametrize("after", [False, True])
def test_a_pull_is_killed_at_an_effect_and_runs_again(hub, tmp_path, after):
    name = f"{hub.address}/app:1"
    hub.image(layers=[layer_of("low", 400_000), tar(entry("dir/bare", data=b"1")), tar(folder("x"), entry("x/y"))])
    counter = Counter()
    pull(str(tmp_path / "undisturbed"), name, counter)
    expected = whole(str(tmp_path / "undisturbed"), name)
    number = 1 + after
    met = 0
    while True:
        root = str(tmp_path / f"root{number}")
        if not killed(root, name, number, after=after):
            break
        pull(root, name)
        assert whole(root, name) == expected, f"killed {'after' if after else 'before'} effect {number}"
        met += 1
        number += STRIDE
    assert number > counter.count * 0.8, "it came to the last effects"
    assert met > 10
