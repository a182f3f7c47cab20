"""The verbs that act on containers, images and volumes: what they pass on, print and return."""

import io
import json
import os
import pty
import socket
import subprocess
import sys
import threading

import pytest
from machines import Shelf

from reconciler.kits.errors import ReconcilerError
from reconciler.runtimes.console import ContainerSummary, LogRecord, RemovedImages, UnusedImages, VolumeSummary


def shelf(*names, **more):
    containers = [ContainerSummary("a" * 64, name, "i", ("x",), "running", 1.0) for name in names or ("web", "db")]
    return Shelf(containers, volumes=[VolumeSummary("spare", False, "", (), 1.0)], **more)


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "kill", "pause", "unpause", "rm"])
def test_each_name_is_tried_and_the_errors_come_at_the_end(call, verb):
    machine = shelf()
    ran = call(machine, verb, "web", "nosuch", "db", "neither")
    assert ran.out == "web\ndb\n"
    assert ran.err == "error: no such container: nosuch\nerror: no such container: neither\n"
    assert ran.code == 1
    assert sorted(c[1] for c in machine.calls) == ["db", "web"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["stop", "-t", "0", "web"], ("stop", "web", 0)),
        (["stop", "web"], ("stop", "web", None)),
        (["stop", "--time", "7", "web"], ("stop", "web", 7)),
        (["restart", "-t", "0", "web"], ("restart", "web", 0)),
        (["pause", "web"], ("pause", "web")),
        (["unpause", "web"], ("unpause", "web")),
        (["wait", "web"], ("wait", "web", "not-running")),
        (["wait", "--condition", "removed", "web"], ("wait", "web", "removed")),
        (["kill", "-s", "TERM", "web"], ("kill", "web", "TERM")),
        (["kill", "web"], ("kill", "web", "KILL")),
        (["rm", "-fv", "web"], ("remove", "web", ("force", True), ("volumes", True))),
        (["rm", "web"], ("remove", "web", ("force", False), ("volumes", False))),
        (["volume", "create", "data"], ("create_volume", "data")),
        (["volume", "rm", "spare"], ("remove_volume", "spare")),
        (["import", "root.tar", "base:1"], ("import_image", "root.tar", "base:1")),
        (["rmi", "base:1"], ("remove_image", "base:1", ("force", False))),
        (["image", "rm", "-f", "base:1"], ("remove_image", "base:1", ("force", True))),
        (["tag", "base:1", "mine"], ("tag", "base:1", "mine")),
        (["image", "tag", "base:1", "mine"], ("tag", "base:1", "mine")),
        (["save", "base:1", "mine", "-o", "x.tar"], ("save", ["base:1", "mine"], "x.tar", "docker")),
        (["save", "base"], ("save", ["base"], "-", "docker")),
        (["image", "save", "--format", "oci", "base"], ("save", ["base"], "-", "oci")),
        (["image", "import", "root.tar", "base:1"], ("import_image", "root.tar", "base:1")),
        (["image", "prune", "-f"], ("prune_images", UnusedImages())),
        (["image", "prune", "-af"], ("prune_images", UnusedImages(tagged=True))),
        (
            ["image", "prune", "-f", "--filter", "label=a", "--filter", "label!=b=c=d", "--filter", "until=1700000000"],
            ("prune_images", UnusedImages(until=1.7e9, labels=(("a", None, True), ("b", "c=d", False)))),
        ),
    ],
)
def test_options_reach_the_machine(call, argv, expected):
    machine = shelf()
    assert call(machine, *argv).code == 0
    assert machine.calls == [expected]


def test_wait_prints_codes_in_the_order_of_the_names_and_unknown_ones_as_such(call):
    machine = shelf("web", "db", "odd")
    codes = {"web": 3, "db": 0, "odd": None}
    machine.wait = lambda name, _condition: machine.container(name) and codes[name]
    ran = call(machine, "wait", "web", "nosuch", "db", "odd")
    assert (ran.code, ran.out, ran.err) == (1, "3\n0\n-1\n", "error: no such container: nosuch\n")


def test_grace_periods_of_several_do_not_add_up(call):
    machine = shelf()
    both = threading.Barrier(2, timeout=30)
    machine.stop = lambda _name, _timeout: both.wait()
    ran = call(machine, "stop", "web", "db")
    assert (ran.code, ran.out) == (0, "web\ndb\n")


def of_stack():
    states = {"web": "running", "db": "paused", "job": "exited"}
    return Shelf(
        [
            ContainerSummary(key * 21, f"blog-{key}", "i", ("x",), s, 1.0, stack="blog", key=key)
            for key, s in states.items()
        ]
    )


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (["pause", "--stack", "blog"], ["blog-web"]),
        (["unpause", "--stack", "blog"], ["blog-db"]),
        (["kill", "--stack", "blog"], ["blog-db", "blog-web"]),
        (["kill", "--stack", "blog", "web"], ["blog-web"]),
        (["wait", "--stack", "blog", "job"], ["blog-job"]),
        (["rm", "-f", "--stack", "blog"], ["blog-db", "blog-job", "blog-web"]),
    ],
)
def test_a_whole_stack_or_some_of_its_keys(call, argv, names):
    machine = of_stack()
    assert call(machine, *argv).code == 0
    assert sorted(c[1] for c in machine.calls) == names


def test_a_stack_or_key_that_is_not_there(call):
    ran = call(of_stack(), "pause", "--stack", "nosuch")
    assert (ran.code, ran.out) == (1, "")
    assert 'there is no stack "nosuch"' in ran.err
    ran = call(of_stack(), "rm", "--stack", "blog", "nosuch")
    assert (ran.code, ran.out) == (1, "")
    assert "No such container: blog/nosuch" in ran.err
    assert "blog has db, job, web" in ran.err


@pytest.mark.parametrize("verb", ["start", "stop", "restart", "kill", "pause", "unpause", "wait", "rm"])
def test_no_name_at_all_is_wrong_usage(call, verb):
    ran = call(shelf(), verb)
    assert ran.code == 125
    assert f"reconciler {verb} requires at least 1 argument" in ran.err


def test_rm_force_of_a_missing_container_says_so_and_is_no_failure(call):
    ran = call(shelf(), "rm", "-f", "nosuch", "web")
    assert (ran.code, ran.out, ran.err) == (0, "web\n", "error: no such container: nosuch\n")


def test_volume_rm_of_a_missing_volume_fails_but_for_force(call):
    assert call(shelf(), "volume", "rm", "nosuch").code == 1
    forced = call(shelf(), "volume", "rm", "-f", "nosuch")
    assert (forced.code, forced.out, forced.err) == (0, "nosuch\n", "")


def test_load_says_what_it_brought_with_hostile_names_escaped(call):
    machine = shelf()
    ran = call(machine, "load", "-i", "images.tar")
    assert ran.out == "Loaded image: mariadb:10.11\nLoaded image: a\\x1b[2Jb:1\n"
    assert machine.calls[0][:2] == ("load", "images.tar")


def test_load_notes_the_origin_it_is_told(call):
    machine = shelf()
    assert call(machine, "image", "load", "-q", "--origin", "built here", "x.tar").code == 0
    assert machine.calls[0][-1] == "built here"


def test_rmi_says_what_has_gone_and_force_forgives_missing_ones(call):
    ran = call(shelf(), "rmi", "base:1", "nosuch", "a\x1b[2J:1")
    assert ran.out == "Untagged: base:1\nDeleted: sha256:abc\nUntagged: a\\x1b[2J:1\nDeleted: sha256:abc\n"
    assert (ran.code, ran.err) == (1, "error: no such image: nosuch\n")
    forced = call(shelf(), "rmi", "-f", "nosuch")
    assert (forced.code, forced.out, forced.err) == (0, "", "error: no such image: nosuch\n")


_QUESTION = "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
_PRUNED = "Deleted Images:\nuntagged: <none>\ndeleted: sha256:abc\n\nTotal reclaimed space: 12.3MB\n"


@pytest.mark.parametrize(
    ("answer", "shown"),
    [("y\n", _PRUNED), ("Y\n", _PRUNED), ("yes\n", ""), ("\n", "")],
)
def test_image_prune_asks_first(call, monkeypatch, answer, shown):
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    machine = shelf()
    ran = call(machine, "image", "prune")
    assert (ran.code, ran.out) == (0, _QUESTION + (shown or "Total reclaimed space: 0B\n"))
    assert bool(machine.calls) == bool(shown)


@pytest.mark.parametrize("noun", ["image", "container", "volume", "system"])
@pytest.mark.parametrize("stdin", [None, io.StringIO("")])
def test_prune_is_refused_where_there_is_nobody_to_ask(call, monkeypatch, noun, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    machine = littered()
    ran = call(machine, noun, "prune")
    assert (ran.code, machine.calls) == (125, [])
    assert ran.out.endswith("? [y/N] \n")
    assert ran.err == ("error: nothing was removed: standard input gives no answer\n  hint: confirm it with --force\n")


def test_image_prune_of_nothing_says_only_that(call):
    machine = shelf()
    machine.pruned = RemovedImages()
    assert call(machine, "image", "prune", "-f").out == "Total reclaimed space: 0B\n"
    monk = call(machine, "image", "prune", "-f", "--filter", "dangling=true")
    assert (monk.code, monk.err.splitlines()[0]) == (125, 'error: invalid filter "dangling"')
    for wrong in ("until", "until=", "until=yesterday"):
        assert call(machine, "image", "prune", "-f", "--filter", wrong).code == 125


def littered():
    """Stopped containers and unused volumes, of stacks and not, labelled and not; and what must stay."""
    made = [
        ("up", "running", "", {}),
        ("job", "exited", "blog", {"keep": "1"}),
        ("new", "created", "", {}),
        ("half", "dead", "", {}),
        ("loop", "restarting", "", {}),
        ("still", "paused", "", {}),
    ]
    containers = [
        ContainerSummary(f"id-{name}", name, "i", ("x",), state, 5.0 * n, stack=stack, key=name, labels=labels)
        for n, (name, state, stack, labels) in enumerate(made, 1)
    ]
    volumes = [
        VolumeSummary("data", False, "blog", (), 1.0),
        VolumeSummary("a" * 64, True, "blog", (), 2.0, "", {"keep": "1"}),
        VolumeSummary("b" * 64, True, "", ("web",), 3.0),
        VolumeSummary("evil\x1b[2J", True, "", (), 4.0),
    ]
    return Shelf(containers, volumes=volumes)


ASK = "Are you sure you want to continue? [y/N] "
STACK_NOTE = "1 of them belongs to stacks (blog): the next apply makes them anew, and finished jobs run again."


@pytest.mark.parametrize("answer", ["y\n", "Y\n", "yes\n", "\n"])
def test_container_prune_takes_what_does_not_run_and_says_what_that_means(call, monkeypatch, answer):
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    machine = littered()
    ran = call(machine, "container", "prune")
    warning = f"WARNING! This will remove all stopped containers.\n{STACK_NOTE}\n{ASK}"
    if answer.strip().lower() == "y":
        assert ran.out == f"{warning}Deleted Containers:\nid-job\nid-new\nid-half\n\nTotal reclaimed space: 3kB\n"
    else:
        assert ran.out == f"{warning}Total reclaimed space: 0B\n"
        assert machine.calls == []
    assert ran.code == 0


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        (["label=keep"], ["job"]),
        (["label=keep=2"], []),
        (["label!=keep"], ["new", "half"]),
        (["until=1970-01-01T00:00:20Z"], ["job", "new"]),
        (["until=1970-01-01T00:00:20Z", "label!=keep"], ["new"]),
    ],
)
def test_prunes_are_filtered_by_labels_and_age(call, filters, gone):
    machine = littered()
    options = [word for text in filters for word in ("--filter", text)]
    assert call(machine, "container", "prune", "-f", *options).code == 0
    assert [c[1] for c in machine.calls] == [f"id-{name}" for name in gone]


def test_container_prune_leaves_what_has_been_started_or_removed_meanwhile(call):
    machine = littered()
    errors = {"id-job": "running", "id-new": "not-found"}

    def remove(name):
        if name in errors:
            raise ReconcilerError("no", code=errors[name])

    machine.remove = remove
    ran = call(machine, "container", "prune", "-f")
    assert (ran.code, ran.out) == (0, "Deleted Containers:\nid-half\n\nTotal reclaimed space: 1kB\n")


def test_volume_prune_takes_named_ones_only_when_it_is_said(call, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    asked = call(littered(), "volume", "prune")
    assert asked.out.startswith(
        "WARNING! This will remove anonymous local volumes not used by at least one container.\n"
    )
    assert "1 of them belongs to stacks (blog): the next apply would mount them again, with their data." in asked.out
    machine = littered()
    ran = call(machine, "volume", "prune", "-f")
    assert ran.out == f"Deleted Volumes:\n{'a' * 64}\nevil\\x1b[2J\n\nTotal reclaimed space: 40kB\n"
    assert ("remove_volume", "data") not in machine.calls
    everything = littered()
    assert "\ndata\n" in call(everything, "volume", "prune", "-af").out
    assert ("remove_volume", "b" * 64) not in everything.calls
    labelled = littered()
    call(labelled, "volume", "prune", "-f", "--filter", "label!=keep")
    assert labelled.calls == [("remove_volume", "evil\x1b[2J")]


def test_system_prune_names_all_that_goes_and_leaves_volumes_unless_told(call, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    asked = call(littered(), "system", "prune")
    assert asked.out == (
        "WARNING! This will remove:\n  - all stopped containers\n  - all dangling images\n\n"
        f"{ASK}Total reclaimed space: 0B\n"
    )
    machine = littered()
    ran = call(machine, "system", "prune", "-f")
    assert [c[0] for c in machine.calls] == ["remove"] * 3 + ["prune_images"]
    assert ran.out.endswith("Total reclaimed space: 12.3MB\n")
    whole = littered()
    call(whole, "system", "prune", "-af", "--volumes")
    assert {c[0] for c in whole.calls} == {"remove", "remove_volume", "prune_images"}
    assert ("remove_volume", "data") not in whole.calls
    assert whole.calls[-1] == ("prune_images", UnusedImages(tagged=True))


@pytest.mark.parametrize(
    ("argv", "same"),
    [(["stop", "-t", "3", "web"], ("stop", "web", 3)), (["rm", "-f", "web"], ("remove", "web"))],
)
def test_containers_as_a_noun(call, argv, same):
    machine = shelf()
    assert call(machine, "container", *argv).code == 0
    assert machine.calls[0][: len(same)] == same
    assert call(machine, "container", "ls").out == call(machine, "ps").out
    nothing = call(machine, "container", "stop")
    assert (nothing.code, "reconciler stop requires" in nothing.err) == (125, True)


def test_save_does_not_write_to_a_terminal(monkeypatch, call):
    monkeypatch.setattr("reconciler.cli.verbs.save.on_terminal", lambda _stream: True)
    machine = shelf()
    ran = call(machine, "save", "base:1")
    assert (ran.code, machine.calls) == (125, [])
    assert "cowardly refusing to save to a terminal" in ran.err
    assert call(machine, "save", "base:1", "-o", "x.tar").code == 0


@pytest.mark.parametrize(
    ("argv", "command", "more"),
    [
        (["web", "ls"], ("ls",), {}),
        (["web", "ls", "-l", "--debug", "--", "-it"], ("ls", "-l", "--debug", "--", "-it"), {}),
        (["web", "--", "ls"], ("ls",), {}),
        (["-u", "33:33", "-w", "/srv", "web", "id", "-u"], ("id", "-u"), {"user": "33:33", "working_dir": "/srv"}),
        (
            ["-i", "web", "mysql", "-u", "root", "-ppassword", "-e", "show databases"],
            ("mysql", "-u", "root", "-ppassword", "-e", "show databases"),
            {"interactive": True},
        ),
        (
            ["-td", "-e", "A=b=c", "--env", "EMPTY=", "web", "env"],
            ("env",),
            {"tty": True, "detach": True, "environment": ("A=b=c", "EMPTY=")},
        ),
        (["-e", "HERE", "-e", "NOT_HERE", "web", "env"], ("env",), {"environment": ("HERE=1",)}),
    ],
)
def test_exec_leaves_the_command_s_options_alone(call, monkeypatch, argv, command, more):
    monkeypatch.setenv("HERE", "1")
    monkeypatch.delenv("NOT_HERE", raising=False)
    machine = shelf()
    assert call(machine, "exec", *argv).code == 7
    ((_, name, options),) = machine.calls
    assert (name, options.command) == ("web", command)
    assert {key: getattr(options, key) for key in more} == more


def test_exec_with_a_terminal_that_is_not_there(call, monkeypatch):
    machine = shelf()
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        ran = call(machine, "exec", "-it", "web", "sh")
    assert (ran.code, machine.calls) == (1, [])
    assert "the input device is not a TTY" in ran.err


@pytest.mark.parametrize("argv", [["web"], ["-e", "=x", "web", "ls"], ["--nosuch", "web", "ls"], []])
def test_exec_wrong_usage(call, argv):
    machine = shelf()
    assert call(machine, "exec", *argv).code == 125
    assert machine.calls == []


RECORDS = [
    LogRecord("stdout", b"one", "2026-11-24T02:40:01.123456789Z"),
    LogRecord("stderr", b"\x1b[31mtwo\x1b[0m\xff\x1b[2J", "2026-11-24T02:40:02.000000000Z"),
    LogRecord("stdout", b"thr", "2026-11-24T02:40:03.000000000Z", partial=True),
    LogRecord("stdout", b"ee", "2026-11-24T02:40:03.000000000Z"),
]


def test_logs_go_to_the_streams_they_came_from_byte_for_byte():
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from test_verbs import *\n"
        "from reconciler.cli.main import main\n"
        "sys.exit(main(sys.argv[1:], shelf(logs=RECORDS)))"
    )
    command = [sys.executable, "-c", script, os.path.dirname(__file__), "logs", "web"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b"one\nthree\n"
    assert done.stderr == b"\x1b[31mtwo\x1b[0m\xff\x1b[2J\n"
    timed = subprocess.run([*command, "-t"], capture_output=True, check=True)
    assert timed.stdout == b"2026-11-24T02:40:01.123456789Z one\n2026-11-24T02:40:03.000000000Z three\n"
    on_terminal = _on_terminal(command)
    assert b"\x1b[31mtwo\x1b[0m\\xff\\x1b[2J" in on_terminal
    assert b"\x1b[2J" in _on_terminal([*command, "--raw"])


def _logs_command(records):
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from test_verbs import *\n"
        "from reconciler.cli.main import main\n"
        f"sys.exit(main(sys.argv[1:], shelf(logs={records})))"
    )
    return [sys.executable, "-c", script, os.path.dirname(__file__), "logs", "web"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_logs_keep_their_order_where_both_streams_go_to_one_place(unbuffered):
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        _logs_command("RECORDS"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, check=True
    )
    assert done.stdout == b"one\n\x1b[31mtwo\x1b[0m\xff\x1b[2J\nthree\n"


@pytest.mark.parametrize(("argv", "writes"), [([], 1), (["--follow"], 50)])
def test_logs_are_written_in_large_pieces_but_when_followed_at_once(argv, writes):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a packet for each write
    with ours, theirs:
        env = os.environ | {"PYTHONUNBUFFERED": "1"}
        subprocess.run([*_logs_command("RECORDS[:1] * 50"), *argv], stdout=theirs, env=env, check=True)
        theirs.close()
        packets = list(iter(lambda: ours.recv(65536), b""))
    assert b"".join(packets) == b"one\n" * 50
    assert len(packets) == writes


def test_start_brings_up_in_the_order_that_links_need(call):
    machine = shelf()
    running = []

    def start(name):
        machine.container(name)
        if name == "web" and "db" not in running:
            raise ReconcilerError("Cannot link to a non running container: /db", code="link")
        running.append(name)

    machine.start = start
    ran = call(machine, "start", "web", "nosuch", "db")
    assert (ran.code, ran.out) == (1, "db\nweb\n")
    assert ran.err == "error: no such container: nosuch\n"
    running.clear()
    alone = call(machine, "start", "web")
    assert (alone.code, alone.out, alone.err.count("Cannot link")) == (1, "", 1)


def _on_terminal(command):
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
    os.close(ours)
    assert process.returncode == 0
    return seen


def _read(fd):
    try:
        return os.read(fd, 65536)
    except OSError:  # the other side of a terminal was closed
        return b""


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], (False, None, None, None)),
        (["-f", "-n", "5"], (True, 5, None, None)),
        (["--tail", "all"], (False, None, None, None)),
        (["--since", "10m", "--until", "30"], (False, None, 1_800_000_000.0 - 600, 1_800_000_000.0 - 30)),
        (["--since", "2026-11-24T02:40:01.5Z"], (False, None, 1795488001.5, None)),
        (["--since", "1795488001"], (False, None, 1795488001.0, None)),
    ],
)
def test_logs_options(call, monkeypatch, argv, expected):
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    machine = shelf()
    assert call(machine, "logs", *argv, "web").code == 0
    ((_, _, options),) = machine.calls
    assert (options.follow, options.tail, options.since, options.until) == expected


@pytest.mark.parametrize("argv", [["-n", "x"], ["--since", "yesterday"], ["--until", "2026-13-01"]])
def test_logs_wrong_usage(call, argv):
    ran = call(shelf(), "logs", *argv, "web")
    assert ran.code == 125
    assert argv[-1] in ran.err


def test_inspect_masks_what_looks_secret_and_tells_what_is_missing(call):
    config = {
        "Env": ["MYSQL_ROOT_PASSWORD=hunter2", "PATH=/bin", "URL=http://u:pw@h/"],
        "Labels": {"api-token": "t0k3n"},
        "Cmd": ["serve", "--password", "hunter2", "http://u:pw@h/"],
        "Stack": {"key": "db", "Token": "shown"},
    }
    machine = shelf(objects={"web": {"Id": "a", "Config": config}})
    ran = call(machine, "inspect", "web", "nosuch")
    shown = json.loads(ran.out)[0]["Config"]
    assert shown["Env"] == ["MYSQL_ROOT_PASSWORD=***", "PATH=/bin", "URL=http://u:***@h/"]
    assert shown["Labels"] == {"api-token": "***"}
    assert shown["Cmd"] == ["serve", "--password", "***", "http://u:***@h/"]
    assert shown["Stack"] == config["Stack"]
    assert (ran.code, ran.err) == (1, "error: no such object: nosuch\n")
    assert json.loads(call(machine, "inspect", "--show-secrets", "web").out)[0]["Config"] == config
    typed = call(machine, "inspect", "--type", "volume", "nosuch")
    assert (typed.code, typed.out, typed.err) == (1, "[]\n", "error: no such volume: nosuch\n")
