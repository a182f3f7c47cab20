"""Whatever strangers named, said or wrote: no verb that shows it lets it drive a terminal, or add a line of its own."""

from __future__ import annotations

import contextlib
import io
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from machines import Shelf

from reconciler.cli.main import main
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.text import printable_log
from reconciler.model.observed import PortBinding
from reconciler.runtimes.console import ContainerSummary, ImageSummary, LogRecord, VolumeSummary

HOSTILE = "\x1b\n\r\x07\x08\x9b\x9d\x00\t\u202e\u2066\u2028\u200b\ud800"
text = st.text(st.sampled_from(HOSTILE + "a[/=:\\\"' é"), max_size=12)
COLOUR = re.compile("\x1b\\[[0-9;:]*m")
ID = "4f1d4c0de5a1" + "0" * 52


def run(machine, *argv):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(argv, machine)
    return out.getvalue(), err.getvalue()


def check(shown):
    for line in shown.split("\n"):
        assert line.isprintable(), repr(line)


containers = st.builds(
    ContainerSummary,
    id=st.just(ID),
    name=text,
    image=text,
    command=st.lists(text, max_size=3).map(tuple),
    state=st.sampled_from(["running", "exited", "created"]),
    created_at=st.just(1.0),
    ports=st.just((PortBinding(80, "tcp", "127.0.0.1", 8080),)),
    stack=text,
    key=text,
    labels=st.dictionaries(text, text, max_size=2),
    address=text,
)
images = st.builds(
    ImageSummary,
    reference=st.sampled_from(["", "mariadb:10.11"]),  # names are checked before they are kept
    id=st.just("sha256:" + ID),
    created_at=st.just(1.0),
    size=st.just(1),
    digest=text,
    origin=text,
)
volumes = st.builds(
    VolumeSummary,
    name=text,
    anonymous=st.booleans(),
    stack=text,
    users=st.lists(text, max_size=2).map(tuple),
    created_at=st.just(1.0),
    path=text,
)
LISTINGS = (
    (("ps", "-a"), "containers"),
    (("ps", "-a", "--no-trunc"), "containers"),
    (("images",), "images"),
    (("images", "--no-trunc", "--digests"), "images"),
    (("volume", "ls"), "volumes"),
    (("volume", "ls", "-q"), "volumes"),
)


@settings(max_examples=60)
@given(st.lists(containers, max_size=2), st.lists(images, max_size=2), st.lists(volumes, max_size=2))
def test_listings_have_a_line_for_each_thing_and_no_control_characters(some, pictures, data):
    shelf = Shelf(some, pictures, data)
    counts = {"containers": len(some), "images": len(pictures), "volumes": len(data)}
    for argv, what in LISTINGS:
        shown, said = run(shelf, *argv)
        check(shown + said)
        assert shown.count("\n") == counts[what] + ("-q" not in argv), (argv, shown)
    for argv in (("ps", "-a", "--json"), ("images", "--json"), ("volume", "ls", "--json")):
        shown, _ = run(shelf, *argv)
        check(shown)
        assert shown.isascii()
        json.loads(shown)


@settings(max_examples=60)
@given(text, text, st.dictionaries(text, text, max_size=2), text)
def test_one_thing_and_what_is_wrong_with_it_are_shown_without_control_characters(name, value, labels, message):
    class Faulty(Shelf):
        def inspect(self, name, kind=""):
            if name == "bad":
                raise ReconcilerError(message, hint=message)
            return super().inspect(name, kind)

    thing = {"Name": name, "Config": {"Labels": labels, "Env": [value], "Cmd": [value, value]}}
    shown, said = run(Faulty(objects={"x": thing}), "inspect", "x", "bad", "--show-secrets")
    check(shown + said)
    assert json.loads(shown)[0]["Config"]["Env"] == [value]


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=20) | text.map(lambda t: t.encode("utf-8", "surrogatepass")), max_size=3))
def test_a_log_on_a_terminal_keeps_its_colours_and_nothing_else(written):
    records = [LogRecord("stdout", data.replace(b"\n", b""), "2026-01-01T00:00:00Z") for data in written]
    for record in records:
        shown = printable_log(record.data.decode("utf-8", "replace"))
        assert COLOUR.sub("", shown).replace("\t", "").isprintable(), repr(shown)
