"""What surrounds every verb: help, usage, errors, exit codes, and what is not imported."""

import os
import subprocess
import sys

import pytest
from machines import Shelf

from reconciler.cli.catalogue import MODULES, overview
from reconciler.cli.shell import paint
from reconciler.kits.errors import Problems, ReconcilerError
from reconciler.kits.source import Position


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb_in_eighty_columns(call, argv):
    ran = call(None, *argv)
    assert (ran.code, ran.err) == (0, "")
    assert [verb for verb in MODULES if f"\n  {verb} " not in ran.out] == []
    assert max(map(len, ran.out.splitlines())) <= 80


@pytest.mark.parametrize("verb", sorted(MODULES))
def test_help_of_each_verb(call, verb):
    ran = call(None, verb, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: reconciler {verb} ")
    assert call(None, "help", verb).out == ran.out


def test_no_verb_is_wrong_usage_and_shows_help(call):
    ran = call(None)
    assert (ran.code, ran.out, ran.err) == (125, "", overview() + "\n")


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["aply", "x"], 'there is no verb "aply"', "did you mean reconciler apply?"),
        (["frobnicate"], 'there is no verb "frobnicate"', "reconciler --help lists them"),
        (["up"], 'there is no verb "up"', "reconciler apply SPEC brings a stack up"),
        (["create", "web"], 'there is no verb "create"', "containers come from a spec"),
        (["push"], 'there is no verb "push"', "there is nothing that pushes images: reconciler save"),
        (["xq"], 'there is no verb "xq"', "reconciler --help lists them"),
        (["logs", "--details", "web"], "unknown option --details", "see reconciler logs --help"),
        (["ps", "-x"], "unknown option -x", "see reconciler ps --help"),
        (["stop", "--tiem", "1", "web"], "unknown option --tiem", "did you mean --time?"),
        (["ps", "--fliter", "x"], "unknown option --fliter", "did you mean --filter?"),
        (["ps", "--al"], "unknown option --al", "did you mean --all?"),
        (["ps", "web"], '"web" is one argument too many', "see reconciler ps --help"),
        (["port"], "the following arguments are required: CONTAINER", "see reconciler port --help"),
        (["stop", "-t", "-1", "web"], "-1 is less than 0", "see reconciler stop --help"),
        (["stop", "-t", "soon", "web"], "argument -t/--time/--timeout: invalid", "see reconciler stop --help"),
        (["volume"], "the following arguments are required: VERB", "see reconciler volume --help"),
        (["volume", "lss"], 'reconciler volume: there is no verb "lss"', "did you mean reconciler volume ls?"),
        (["system", "frob"], 'there is no verb "frob"', "reconciler system has info, check, prune"),
        (["system", "info", "--jsn"], "reconciler system info: unknown option --jsn", "did you mean --json?"),
        (["volume", "ls", "--all"], "reconciler volume ls: unknown option --all", "see reconciler volume ls --help"),
        (["volume", "create", "a", "b"], 'reconciler volume create: "b" is one argument too many', "create --help"),
        (["volume", "ls", "--runtime", "nosuch"], 'no runtime is called "nosuch"', "there are embedded"),
        (["cp"], "the following arguments are required: SOURCE, TARGET", "see reconciler cp --help"),
        (["down", "-v", "shop"], "reconciler down: unknown option -v", "write --volumes: it deletes"),
        (["inspect", "--type", "network", "x"], "invalid choice: 'network'", "see reconciler inspect --help"),
        (["prune"], 'there is no verb "prune"', "reconciler system prune makes room"),
        (["volume", "rm"], "reconciler volume rm: the following arguments are required", "volume rm --help"),
        (["--nosuch", "ps"], "unknown option --nosuch before the verb", "see reconciler --help"),
        (["--runtime", "nosuch", "ps"], 'no runtime is called "nosuch"', "there are embedded"),
        (["ps", "--runtime", "nosuch"], 'no runtime is called "nosuch"', "there are embedded"),
    ],
)
def test_wrong_usage_is_125_and_says_what_is_right(call, argv, message, hint):
    ran = call(None, *argv)
    assert (ran.code, ran.out) == (125, "")
    assert ran.err.startswith("error: ")
    assert message in ran.err.splitlines()[0]
    assert ran.err.splitlines()[1].startswith("  hint: ")
    assert hint in ran.err.splitlines()[1]


class Broken(Shelf):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def containers(self):
        raise self.error


def test_an_error_shows_place_line_and_hint_and_no_control_characters(call):
    place = Position("evil\x1b]0;x.yaml", 3, 5)
    error = ReconcilerError(
        "unknown key \x1b[2Jimgae", position=place, excerpt="    imgae: x", hint="image?", exit_code=4
    )
    ran = call(Broken(error), "ps")
    assert ran.err == (
        "error: evil\\x1b]0;x.yaml:3:5: unknown key \\x1b[2Jimgae\n        imgae: x\n        ^\n  hint: image?\n"
    )
    assert ran.code == 4


def test_each_of_several_problems_is_an_error_of_its_own(call):
    ran = call(Broken(Problems([ReconcilerError("one", hint="a"), ReconcilerError("two")])), "ps")
    assert ran.err == "error: one\n  hint: a\nerror: two\n"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (PermissionError(13, "Permission denied", "/var/lib/x"), 1, "error: /var/lib/x: Permission denied\n"),
        (
            OSError(28, "No space left on device", "/x"),
            1,
            "error: the disk is full: /x could not be written\n  hint: make room",
        ),
        (ValueError("boom"), 1, "error: this is a fault of reconciler itself: ValueError: boom\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_is_raised_becomes_words_and_an_exit_code(call, error, code, text):
    ran = call(Broken(error), "ps")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(text)
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("argv", [["--debug", "ps"], ["ps", "--debug"]])
def test_debug_shows_the_traceback_too(call, argv):
    ran = call(Broken(ReconcilerError("boom")), *argv)
    assert "Traceback" in ran.err
    assert ran.err.endswith("error: boom\n")


def test_without_root_it_says_so(call, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ran = call(None, "ps")
    assert ran.code == 1
    assert "reconciler ps needs root" in ran.err


def test_a_reader_that_goes_away_is_no_error():
    script = "import sys\nfrom reconciler.cli import main\nmain.overview = lambda: 'x' * 200000\nmain.entry()"
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([sys.executable, "-c", script, "--help"], stdout=theirs, stderr=subprocess.PIPE, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


def test_version(call, program):
    assert program("--version").out.startswith("reconciler 0.")
    ran = call(None, "version")
    assert ran.out.splitlines()[0].split() == ["reconciler:", program("--version").out.split()[1]]


def test_colour_only_where_it_is_wanted(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert paint("x", "31", Terminal()) == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint("x", "31", Terminal()) == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert paint("x", "31", Terminal()) == "x"


def loaded(*argv, machine="None"):
    script = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        f"before = set(sys.modules)\nfrom reconciler.cli.main import main\n"
        f"code = main({list(argv)!r}, {machine})\n"
        "assert code == 0, code\n"
        "print('modules:', *sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


HEAVY = {"pydantic", "pydantic_core", "asyncio", "pyroute2", "rich", "structlog", "yaml", "concurrent", "ssl", "shutil"}


def test_help_imports_nothing_but_the_table():
    modules = loaded("--help")
    assert {name for name in modules if name.startswith("reconciler.")} == {
        "reconciler.cli",
        "reconciler.cli.catalogue",
        "reconciler.cli.main",
        "reconciler.cli.shell",
        "reconciler.kits",
        "reconciler.kits.errors",
    }
    assert modules & (HEAVY | {"argparse", "dataclasses", "inspect", "json", "importlib", "threading"}) == set()


@pytest.mark.parametrize("argv", [["version"], ["ps", "--help"], ["apply", "--help"], ["ps", "-a"]])
def test_light_verbs_import_nothing_heavy(argv):
    machine = "__import__('machines').Shelf()" if argv == ["ps", "-a"] else "None"
    assert {name.partition(".")[0] for name in loaded(*argv, machine=machine)} & HEAVY == set()


def test_closed_standard_streams_are_no_fault(tmp_path):
    command = [sys.executable, "-c", "from reconciler.cli.main import entry; entry()"]
    shell = '"$@" <&- >&- 2>"$ERR"; echo "code $?"'
    for argv, code, text in ((["validate", "-"], 1, "standard input is closed"), (["--version"], 0, "")):
        env = os.environ | {"ERR": str(tmp_path / "err")}
        done = subprocess.run(
            ["sh", "-c", shell, "sh", *command, *argv], capture_output=True, text=True, env=env, check=True
        )
        assert done.stdout == f"code {code}\n"
        assert text in (tmp_path / "err").read_text()
        assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.parametrize("argv", [["--version"], ["--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_on_a_full_disk_is_told_as_that(argv, unbuffered):
    command = [sys.executable, "-c", "from reconciler.cli.main import entry; entry()", *argv]
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=env, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: standard output could not be written: No space left on device\n"
