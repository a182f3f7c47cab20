"""The resolved-spec cache: the same stack as reading the spec, never an old one, and no secret in it."""

import hashlib
import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.loop import resolve as resolving
from reconciler.loop.resolve import read, resolve
from reconciler.state import hiding, spec_cache
from reconciler.state.hiding import NowhereError, Sources, hide, reveal

SPEC = """\
apiVersion: reconciler/v1
kind: Stack
name: shop
containers:
  db:
    image: base:${TAG:-1}
    command: ["serve", "-p${DB_PASSWORD}", "--db=shop"]
    environment:
      MYSQL_ROOT_PASSWORD: "hunter2"
      BACKUP: "http://u:s3cr3t@backup.example.org/"
      PLAIN: visible
    env_file: [db.env]
"""


@pytest.fixture(autouse=True)
def spec(tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("RECONCILER_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("DB_PASSWORD", "swordfish")
    monkeypatch.delenv("TAG", raising=False)
    folder = tmp_path / "specs"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "shop.yaml").write_text(SPEC)
    (folder / "db.env").write_text("API_TOKEN=t0p-t0ken\n")
    return folder / "shop.yaml"


@pytest.fixture
def unreadable(monkeypatch):
    """Reading YAML is an error from now on: what still comes, comes from the cache."""

    def forbid():
        def fail(*_, **__):
            raise AssertionError("the spec was read")

        monkeypatch.setattr("reconciler.spec.resolve.load_stack", fail)

    return forbid


def cached():
    folder = os.path.join(os.environ["RECONCILER_ROOT"], "state", "specs")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".json")]


def test_the_cached_stack_is_the_one_that_was_read(unreadable):
    first = resolve("shop.yaml")
    unreadable()
    assert resolve("shop.yaml") == first
    environment = first.containers["db"].environment
    assert (environment["MYSQL_ROOT_PASSWORD"], environment["API_TOKEN"]) == ("hunter2", "t0p-t0ken")


def test_no_secret_and_no_bare_digest_is_in_the_cache():
    resolve("shop.yaml")
    (path,) = cached()
    with open(path) as file:
        text = file.read()
    assert "visible" in text
    for secret in ("hunter2", "swordfish", "s3cr3t", "t0p-t0ken"):
        assert secret not in text
        assert hashlib.sha256(secret.encode()).hexdigest() not in text
    assert hashlib.sha256(SPEC.encode()).hexdigest() not in text
    for name in (path, os.path.join(os.path.dirname(path), "key")):
        assert stat.S_IMODE(os.stat(name).st_mode) == 0o600


def test_a_secret_that_stands_nowhere_literally_is_not_cached(spec):
    spec.write_text(SPEC.replace('"hunter2"', r'"hunt\x65r2"'))
    assert resolve("shop.yaml").containers["db"].environment["MYSQL_ROOT_PASSWORD"] == "hunter2"
    assert cached() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda spec, _: spec.write_text(SPEC.replace("visible", "changed")),
        lambda spec, _: (spec.parent / "db.env").write_text("API_TOKEN=other\n"),
        lambda spec, _: (spec.parent / ".env").write_text("TAG=2\n"),
        lambda _, env: env.setenv("DB_PASSWORD", "salmon"),
        lambda _, env: env.setenv("TAG", "3"),
        lambda _, env: env.setattr("reconciler.spec.inputs.__version__", "99"),
    ],
)
def test_whatever_went_in_and_has_changed_makes_it_read_again(spec, monkeypatch, change):
    resolve("shop.yaml")
    change(spec, monkeypatch)
    assert resolve("shop.yaml") == read("shop.yaml")


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"inputs": 3}', b"\xff\xfe", b'{"inputs": {}, "stack": {}}'])
def test_a_damaged_cache_is_read_past_and_mended(unreadable, damage):
    expected = resolve("shop.yaml")
    with open(cached()[0], "wb") as file:
        file.write(damage)
    assert resolve("shop.yaml") == expected
    unreadable()
    assert resolve("shop.yaml") == expected


def test_every_cut_of_a_cached_document_is_ignored():
    expected = resolve("shop.yaml")
    path = cached()[0]
    with open(path) as file:
        whole = json.load(file)
    for key in whole["stack"]:
        with open(path, "w") as file:
            json.dump(whole | {"stack": {k: v for k, v in whole["stack"].items() if k != key}}, file)
        assert resolve("shop.yaml") == expected


def test_one_file_read_through_links_in_two_folders_is_two_stacks(tmp_path, spec, monkeypatch):
    spec.write_text(SPEC + "    volumes: ['./data:/data']\n")
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "shop.yaml").symlink_to(spec)
        (folder / "db.env").write_text("API_TOKEN=t0p-t0ken\n")
        monkeypatch.chdir(folder)
        stack = resolve("shop.yaml")
        assert stack.origin == str(spec)
        assert stack.containers["db"].volumes[0].source == str(folder / "data")


def test_looking_writes_nothing(tmp_path):
    resolve("shop.yaml", remember=False)
    assert not (tmp_path / "root").exists()


def test_another_root_s_key_opens_nothing():
    resolve("shop.yaml")
    key = os.path.join(os.path.dirname(cached()[0]), "key")
    with open(key, "wb") as file:
        file.write(b"x" * 32)
    cache = spec_cache.SpecCache()
    assert cache.load(resolving.FileTree("shop.yaml"), os.environ) is None


def test_the_cache_is_bounded_and_the_oldest_goes(spec, monkeypatch):
    monkeypatch.setattr(spec_cache, "MOST", 3)
    written = []
    for number in range(5):
        (spec.parent / f"{number}.yaml").write_text(SPEC)
        resolve(f"{number}.yaml")
        (new,) = set(cached()) - set(written)
        os.utime(new, (number, number))
        written.append(new)
    assert set(cached()) == set(written[2:])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab:$", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(values, st.sets(st.text("ab:", min_size=1, max_size=3), max_size=4), st.data())
def test_hidden_values_come_back_whole_and_hold_no_secret(value, secrets, data):
    names = [f"V{number}" for number in range(len(secrets))]
    in_file = data.draw(st.booleans())
    sources = (
        Sources({"f": "|".join(sorted(secrets)).encode()}, {})
        if in_file
        else Sources({}, dict(zip(names, sorted(secrets), strict=True)))
    )
    hidden = hide(value, secrets, sources)
    assert reveal(json.loads(json.dumps(hidden)), sources) == value
    for text in _strings(hidden):
        assert [secret for secret in secrets if secret in text] == []


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and hiding._MARK in value:
        yield from (part for part in value[hiding._MARK] if isinstance(part, str))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def test_what_can_not_be_hidden_is_an_error():
    with pytest.raises(NowhereError):
        hide("a secret", {"secret"}, Sources({"f": b"s-e-c-r-e-t"}, {"V": "secrets"}))
    with pytest.raises(NowhereError):
        hide({"$hidden": "x"}, {"y"}, Sources({}, {"V": "y"}))
    assert hide({"$hidden": "x"}, set(), Sources({}, {})) == {"$hidden": "x"}
