"""Image references by the registries' grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.references import parse

DIGEST = "sha256:" + "0123456789abcdef" * 4
REFERENCES = [
    ("mariadb", "docker.io/library/mariadb:latest", "mariadb:latest"),
    ("mariadb:10.11", "docker.io/library/mariadb:10.11", "mariadb:10.11"),
    ("library/mariadb", "docker.io/library/mariadb:latest", "mariadb:latest"),
    ("docker.io/mariadb", "docker.io/library/mariadb:latest", "mariadb:latest"),
    ("index.docker.io/team/app:1", "docker.io/team/app:1", "team/app:1"),
    ("docker.io/library/team/app", "docker.io/library/team/app:latest", "library/team/app:latest"),
    ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
    ("localhost:5000/app:v_1", "localhost:5000/app:v_1", "localhost:5000/app:v_1"),
    ("[::1]:5000/a/b__c-d.e", "[::1]:5000/a/b__c-d.e:latest", "[::1]:5000/a/b__c-d.e:latest"),
    ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
    (f"app@{DIGEST}", f"docker.io/library/app@{DIGEST}", f"app@{DIGEST}"),
    (f"app:1@{DIGEST}", f"docker.io/library/app:1@{DIGEST}", f"app:1@{DIGEST}"),
    ("app:5000", "docker.io/library/app:5000", "app:5000"),
]


@pytest.mark.parametrize(("text", "canonical", "familiar"), REFERENCES)
def test_short_forms_stand_for_full_names(text, canonical, familiar):
    reference = parse(text)
    assert (reference.canonical, reference.familiar) == (canonical, familiar)


BAD_REFERENCES = ["", "App", "a:", "a:-b", "a:" + "b" * 129, "a@b", "a@sha256:" + "g" * 64, "a@sha256:" + "a" * 63]
BAD_REFERENCES += [
    "a/",
    "/a",
    "a//b",
    "a___b",
    "a..b",
    "-a",
    "a-",
    "a b",
    "a\n",
    "é",
    "a" * 256,
    "b" * 64,
    "host_x.com/a",
]


@pytest.mark.parametrize("text", BAD_REFERENCES)
def test_what_the_grammar_does_not_have_is_refused(text):
    with pytest.raises(ReconcilerError, match="bad image reference"):
        parse(text)


@given(st.text("aB0.:/@-_", max_size=20))
def test_both_forms_mean_the_same_image(text):
    try:
        reference = parse(text)
    except ReconcilerError:
        return
    assert parse(reference.canonical) == reference
    assert parse(reference.familiar) == reference
