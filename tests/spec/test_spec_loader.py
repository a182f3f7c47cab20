"""Whatever stands in a file, what comes out is a stack or an error with a position, never another exception."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from specbench import HEAD, resolve

from reconciler.kits.errors import Problems, ReconcilerError
from reconciler.spec.findings import Findings
from reconciler.spec.loader import decode, load
from reconciler.spec.nodes import Mapping, Scalar, Sequence, Source
from reconciler.spec.scalars import resolve as resolve_scalar

SPICES = [
    "apiVersion: reconciler/v1\n",
    "kind: Stack\n",
    "name: a\n",
    "containers:\n",
    "  web:\n",
    "    image: nginx\n",
]
SPICES += [
    "    ports: [",
    "]",
    "{",
    "}",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "$",
    "${",
    "}",
    ":-",
    '"',
    "'",
    "|\n",
    ": ",
]
SPICES += [
    "    environment:\n",
    "      A: ",
    "    volumes:\n",
    "      - ",
    "volumes:\n",
    "  db:\n",
    "\t",
    "\n",
    "# ",
    "a",
    "0",
]


def settle(spec):
    """Errors that come of a spec; whatever else is raised fails the test."""
    try:
        resolve(spec, {"A": "b"})
    except Problems as error:
        return error.problems
    except ReconcilerError as error:
        return (error,)
    return ()


def assert_clear(errors):
    assert all(each.message and each.position and str(each) for each in errors[:50])


@given(st.binary(max_size=300))
def test_bytes_never_crash_it(data):
    assert_clear(settle(data))


@given(st.text(max_size=300))
def test_text_never_crashes_it(text):
    assert_clear(settle(text))


@given(st.lists(st.one_of(st.sampled_from(SPICES), st.text(max_size=3)), max_size=40))
def test_fragments_of_specs_never_crash_it(pieces):
    assert_clear(settle("".join(pieces)))


def plain_value(node):
    if isinstance(node, Mapping):
        return {key: plain_value(value) for key, value in node.items()}
    if isinstance(node, Sequence):
        return [plain_value(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.value


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff"), max_size=20)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS.filter(bool), inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS.filter(lambda key: key not in ("", "<<")), VALUES, min_size=1, max_size=4))
def test_what_is_dumped_as_json_is_read_back(value):
    """JSON is YAML 1.2: the same values, also for texts that YAML 1.1 takes for numbers or dates."""
    text = json.dumps(value, ensure_ascii=False)
    findings = Findings()
    try:
        root = load(decode("x", text.encode()), findings)
    except ReconcilerError:
        # libyaml limits a key in a flow map to 1024 characters and one line, which JSON does not
        with pytest.raises(yaml.YAMLError):
            yaml.compose(text, Loader=yaml.CSafeLoader)
        return
    findings.check()
    assert plain_value(root) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            (word, word)
            for word in [
                "no",
                "on",
                "off",
                "yes",
                "y",
                "N",
                "22:22",
                "1_000",
                "0644",
                "00",
                "08",
                "2026-11-24",
                "0b1",
                "1.2.3",
                "+",
                "-",
                ".",
                "1e",
                "0x",
                ".5.",
            ]
        ],
        *[("true", True), ("False", False), ("TRUE", True), ("~", None), ("", None), ("Null", None), ("nULL", "nULL")],
        *[("0", 0), ("-1", -1), ("+12", 12), ("0o17", 15), ("0x1F", 31), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0)],
        *[("-.inf", float("-inf")), ("1.10", 1.1), ("9" * 5000, "9" * 5000)],
    ],
)
def test_plain_scalars_follow_yaml_1_2(text, value):
    result = resolve_scalar(text)
    assert (result, type(result)) == (value, type(value))


def test_aliases_in_a_chain_cannot_nest_deeper_than_what_is_written_out():
    links = "".join(f"x-{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 300))
    with pytest.raises(ReconcilerError, match="nested deeper than 64 levels"):
        resolve(HEAD + "x-0: &a0 [x]\n" + links)


def test_many_containers_in_a_row_are_no_problem():
    rows = "".join(f"  c{n}: {{image: x, links: [c{n + 1}]}}\n" for n in range(3000))
    stack = resolve(HEAD + "containers:\n" + rows + "  c3000: {image: x}\n").stack
    assert len(stack.containers) == 3001


def test_many_mistakes_are_cut_short():
    rows = "".join(f"  c{n}: {{}}\n" for n in range(80))
    with pytest.raises(Problems, match="and 30 more problems"):
        resolve(HEAD + "containers:\n" + rows)


def test_reading_a_spec_imports_neither_pydantic_nor_its_core():
    code = (
        "import sys; from reconciler.spec.resolve import load_stack\n"
        "load_stack('specs/wordpress.yaml', {})\n"
        "heavy = {'pydantic', 'pydantic_core', 'asyncio', 'pyroute2', 'rich', 'pathlib', 'difflib', 'subprocess'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_reading_a_spec_loads_only_the_parts_of_pyyaml_that_parse_and_the_rest_fits_later():
    run_python("""
import sys
from reconciler.spec import libyaml
from reconciler.spec.resolve import load_stack
load_stack('specs/wordpress.yaml', {})
assert 'yaml._yaml' in sys.modules
assert not {'yaml.reader', 'yaml.constructor', 'yaml.resolver', 'yaml.loader', 'yaml.cyaml'} & set(sys.modules)
import yaml
assert yaml.load('{a: [1, 2]}', Loader=yaml.CSafeLoader) == yaml.safe_load('{a: [1, 2]}') == {'a': [1, 2]}
assert yaml.error.YAMLError is yaml.YAMLError is libyaml.YAMLError
for loader in yaml.SafeLoader, yaml.CSafeLoader:
    try:
        yaml.load('[', Loader=loader)
    except yaml.parser.ParserError:
        continue
    raise AssertionError(loader)
import yaml.reader
assert issubclass(yaml.reader.ReaderError, libyaml.YAMLError)
""")


def test_pyyaml_without_libyaml_reads_specs_too():
    run_python("""
import sys
sys.modules['yaml._yaml'] = None
from reconciler.spec import libyaml
from reconciler.spec.resolve import load_stack
assert libyaml.Parser.__name__ == 'SafeLoader'
assert set(load_stack('specs/wordpress.yaml', {}).stack.containers) == {'wordpress', 'wordpressdb'}
""")


@pytest.mark.parametrize(
    "text",
    ["[\n" * 1200, "{a: " * 1200, "- " * 1200, "".join(" " * n + "k:\n" for n in range(1200)) + " " * 1200 + "x"],
    ids=["lists", "maps", "dashes", "indented"],
)
def test_nesting_beyond_the_parsers_own_limit_is_told_as_nesting(text):
    with pytest.raises(ReconcilerError, match="nested deeper than 64 levels") as caught:
        load(decode("spec.yaml", text.encode()), Findings())
    begins = [at for at, character in enumerate(text) if character in "[{-k"]
    before = text[: begins[64]]
    assert f"spec.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number", "shown"),
    [
        ("environment:\n  API_TOKEN:\n  - hunter2\n", 3, False),
        ("environment:\n  API_TOKEN:\n\n    # why\n    - [hunter2]\n", 5, False),
        ("environment:\n  API_TOKEN: |\n    a\n    hunter2\n", 4, False),
        ("environment:\n  'API_TOKEN':\n    deep:\n      er: hunter2\n", 4, False),
        ("environment:\n- API_TOKEN:\n    hunter2\n", 3, False),
        ("environment:\n  API_TOKEN: x\n  USER: me\n", 3, True),
        ("environment:\n  API_TOKEN:\n  - x\nnext:\n- me\n", 5, True),
        ("secrets:\n  web:\n    file: me\n", 3, True),
    ],
)
def test_no_line_of_a_secrets_value_is_shown(text, number, shown):
    source = Source("x", text)
    assert bool(source.excerpt(number, 3)) == shown


def test_the_rest_of_pyyaml_is_loaded_once_and_whole_for_threads_that_want_it_at_once():
    said = run_python("""
import sys, threading
import reconciler.spec.libyaml
import yaml

names = ["MarkedYAMLError", "safe_load", "SafeDumper", "YAMLObjectMetaclass"] * 4
together, wrong = threading.Barrier(len(names)), []
sys.setswitchinterval(1e-5)

def look(name):
    together.wait()
    try:
        getattr(yaml, name)
    except Exception as error:
        wrong.append(repr(error))

threads = [threading.Thread(target=look, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(wrong, yaml.safe_load("[1]"), hasattr(yaml, "nothing"))
""")
    assert said == "[] [1] False\n"
