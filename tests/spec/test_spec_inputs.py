"""A resolved spec is known to hold until something that went into it changes, and asking costs no YAML."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from specbench import HEAD, MemoryTree

from reconciler.kits.errors import ReconcilerError
from reconciler.sources.files import FileTree, specs_in
from reconciler.spec.inputs import Inputs, unchanged
from reconciler.spec.resolve import load_stack

SPEC = (
    HEAD
    + "containers:\n  web: {image: '${IMAGE}', hostname: '${HOST:-web}', env_file: [a.env, {path: b.env, required: false}]}\n"
)
ENVIRONMENT = {"IMAGE": "nginx", "OTHER": "x"}


CHANGES = {
    "the spec": ({"spec.yaml": SPEC + "# more"}, {}),
    "an env file": ({"a.env": "DB_PASSWORD=other"}, {}),
    "an env file goes": ({"a.env": None}, {}),
    "an optional file appears": ({"b.env": "B=1"}, {}),
    ".env appears": ({".env": "HOST=other"}, {}),
    "a variable": ({}, {"IMAGE": "apache"}),
    "a variable goes": ({}, {"IMAGE": None}),
    "an unset variable becomes empty": ({}, {"HOST": ""}),
}
"""What changes: files, then variables; None takes one away."""


def changed(before, changes):
    return {key: value for key, value in (before | changes).items() if value is not None}


@pytest.fixture
def tree():
    return MemoryTree(SPEC, **{"a.env": "DB_PASSWORD=hunter2\n"})


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_noticed(tree, change):
    inputs = load_stack(tree, ENVIRONMENT, salt=b"salt").inputs
    again = tree.again()
    assert unchanged(inputs, again, ENVIRONMENT | {"OTHER": "changed"}, salt=b"salt")
    files, variables = CHANGES[change]
    again.files = changed(again.files, {name: text and text.encode() for name, text in files.items()})
    assert not unchanged(inputs, again, changed(ENVIRONMENT, variables), salt=b"salt")


def test_the_same_spec_in_another_folder_is_another_spec(tree):
    inputs = load_stack(tree, ENVIRONMENT).inputs
    again = tree.again()
    again.origin = "/elsewhere/spec.yaml"
    assert not unchanged(inputs, again, ENVIRONMENT)


def test_nothing_readable_gets_into_inputs_and_the_salt_matters(tree):
    inputs = load_stack(tree, ENVIRONMENT | {"IMAGE": "private.example/app"}, salt=b"one").inputs
    text = json.dumps(inputs.encode())
    assert "hunter2" not in text
    assert "private.example" not in text
    assert Inputs.decode(json.loads(text)) == inputs
    other = load_stack(tree.again(), ENVIRONMENT | {"IMAGE": "private.example/app"}, salt=b"two").inputs
    assert not set(filter(None, inputs.files.values())) & set(filter(None, other.files.values()))


def test_asking_imports_no_yaml():
    code = "import sys, reconciler.spec.inputs, reconciler.sources.files, reconciler.model.codec\n"
    code += "print(sorted({'yaml', 'pydantic', 'pydantic_core', 'typing_extensions'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestFiles:
    def test_names_positions_and_relative_mounts(self, tmp_path, monkeypatch):
        (tmp_path / "sub").mkdir()
        spec = HEAD + "containers: {web: {image: nginx, volumes: ['./x:/x'], env_file: ../web.env}}\n"
        (tmp_path / "sub" / "shop.yaml").write_text(spec)
        (tmp_path / "web.env").write_text("A=b\n")
        monkeypatch.chdir(tmp_path)
        stack = load_stack("sub/shop.yaml", {}).stack
        assert (stack.source, stack.origin) == ("sub/shop.yaml", str(tmp_path / "sub" / "shop.yaml"))
        assert stack.containers["web"].volumes[0].source == str(tmp_path / "sub" / "x")
        assert str(stack.position_of("containers", "web", "environment", "A")) == "web.env:1:1"
        assert str(stack.position_of("containers", "web", "ports", 3)) == "sub/shop.yaml:4:14"

    def test_standard_input_stands_in_the_working_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / ".env").write_text("IMAGE=nginx\n")
        spec = HEAD + "containers: {web: {image: '${IMAGE}', volumes: ['./x:/x']}}\n"
        stack = load_stack(FileTree("-", spec.encode), {}).stack
        assert stack.containers["web"].image == "nginx"
        assert stack.containers["web"].volumes[0].source == str(tmp_path / "x")
        assert str(stack.position_of("name")) == "standard input:3:7"
        assert stack.origin == "-"

    def test_a_link_to_a_spec_is_that_spec_but_stands_where_the_link_is(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "real.yaml").write_text(HEAD + "containers: {web: {image: nginx, volumes: ['./x:/x']}}\n")
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "link.yaml").symlink_to("../real.yaml")
        stack = load_stack("sub/link.yaml", {}).stack
        assert (stack.source, stack.origin) == ("sub/link.yaml", str(tmp_path / "real.yaml"))
        assert stack.containers["web"].volumes[0].source == str(tmp_path / "sub" / "x")

    def test_a_missing_file_names_the_nearest(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "wordpress.yaml").write_text("")
        with pytest.raises(ReconcilerError, match=r"there is no file 'wordpres\.yaml'") as caught:
            load_stack("wordpres.yaml", {})
        assert caught.value.hint == "did you mean 'wordpress.yaml'?"

    def test_a_folder_names_what_is_in_it(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "specs").mkdir()
        for name in ("b.yml", "a.yaml", ".hidden.yaml", "notes.txt"):
            (tmp_path / "specs" / name).write_text("")
        assert specs_in("specs") == ["a.yaml", "b.yml"]
        for path in ("specs", "specs/"):
            with pytest.raises(ReconcilerError, match="'specs' is a folder") as caught:
                load_stack(path, {})
            assert caught.value.hint == "name one of its files: specs/a.yaml, specs/b.yml"

    def test_a_file_too_large_to_be_a_spec(self, tmp_path):
        (tmp_path / "big.yaml").write_bytes(b"#" * (5 << 20))
        with pytest.raises(ReconcilerError, match="larger than 4 MiB"):
            load_stack(str(tmp_path / "big.yaml"), {})
