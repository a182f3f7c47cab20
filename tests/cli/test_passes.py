"""validate, plan, apply and down over a simulated machine."""

import json
import os
import pty
import re
import signal
import subprocess
import sys

import pytest

from reconciler.cli.verbs import down
from reconciler.kits.errors import ReconcilerError
from reconciler.loop.resolve import read
from reconciler.model.observed import RUNNING
from reconciler.runtimes.simulated.runtime import Simulated
from reconciler.state.locks import holder_of

SPEC = """\
apiVersion: reconciler/v1
kind: Stack
name: shop
containers:
  db:
    image: base
    environment: {DB_PASSWORD: hunter2}
    volumes: ["data:/data"]
  web:
    image: app
    links: [db]
volumes:
  data: {}
"""
DRIVE = [sys.executable, os.path.join(os.path.dirname(__file__), "drive.py")]


@pytest.fixture(autouse=True)
def _spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(SPEC)


@pytest.fixture
def machine():
    return Simulated(["app", "base"])


def states(machine):
    return {c.key: c.state for c in machine.world.containers.values()}


def without_times(text):
    return re.sub(r"\(\d+\.\d\ds\)", "(0.00s)", text)


def test_a_container_is_made_anew_on_request_and_no_other(call, machine):
    assert call(machine, "apply", "shop.yaml").code == 0
    before = {c.key: c.id for c in machine.world.containers.values()}
    ran = call(machine, "plan", "--replace", "web", "shop.yaml")
    assert ran.code == 0
    assert "- stop   container web  replaced: its replacement was asked for\n" in ran.out
    assert call(machine, "apply", "--replace", "web", "shop.yaml").code == 0
    after = {c.key: c.id for c in machine.world.containers.values()}
    assert after["db"] == before["db"]
    assert after["web"] != before["web"]
    assert call(machine, "apply", "shop.yaml").out.startswith("nothing to do")
    ran = call(machine, "apply", "--replace", "wbe", "shop.yaml")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == ("error: stack shop has no container 'wbe' that could be replaced\n  hint: did you mean web?\n")
    assert {c.key: c.id for c in machine.world.containers.values()} == after


@pytest.fixture
def puller():
    """A machine that has nothing, and a registry that has all."""
    return Simulated(registry=["app", "base"])


def test_apply_pulls_before_all_else_and_says_when_the_rest_has_changed(call, puller):
    ran = call(puller, "plan", "shop.yaml")
    assert "      known after pull: image id, exposed ports, declared volumes\n" in ran.out
    steps = json.loads(call(puller, "plan", "--json", "shop.yaml").out)["steps"]
    known = {step["name"]: step.get("known_after_pull") for step in steps if step["verb"] == "create"}
    assert known["web"] == ["image id", "exposed ports", "declared volumes"]
    assert known["data"] is None
    ran = call(puller, "apply", "shop.yaml")
    assert (ran.code, ran.err) == (0, "")
    lines = without_times(ran.out).splitlines()
    pulled = [lines.index(f"pulled image {name} (0.00s)") for name in ("app", "base")]
    assert max(pulled) < lines.index("created db (0.00s)")
    assert "rest has changed" not in ran.out
    assert call(puller, "apply", "shop.yaml").out.startswith("nothing to do")

    puller.publish("app", "sha256:app", "sha256:only-another-platform")
    assert call(puller, "apply", "shop.yaml").out.startswith("nothing to do"), "nobody asked for it"
    ran = call(puller, "apply", "--pull", "always", "shop.yaml")
    assert "digest: sha256:app-manifest -> sha256:only-another" in ran.out
    assert ran.out.endswith("with what was pulled nothing else is to do\n")

    puller.publish("app", "sha256:newer")
    ran = call(puller, "apply", "--pull", "always", "--json", "shop.yaml")
    document = json.loads(ran.out)
    assert document["done"] == [step["number"] for step in document["plan"]["steps"]]
    assert document["plan"]["steps"][0]["verb"] == "pull"
    assert puller.world.find("shop", "web").image_id == "sha256:newer"


def test_a_pull_that_fails_is_told_and_nothing_has_been_touched(call, puller):
    assert call(puller, "apply", "shop.yaml").code == 0
    before = {c.id: c.state for c in puller.world.containers.values()}
    puller.publish("app", "sha256:newer")
    puller.faults.fail_on["pull image app"] = "connection reset"
    ran = call(puller, "apply", "--pull", "always", "shop.yaml")
    assert (ran.code, ran.err) == (1, "error: can't pull image app: connection reset\n")
    assert {c.id: c.state for c in puller.world.containers.values()} == before
    puller.world.unreachable = "no route to registry"
    ran = call(puller, "plan", "--pull", "always", "shop.yaml")
    assert ran.code == 1
    assert "no route to registry\n  hint: --pull missing takes the image that is here" in ran.err


CHECKED = SPEC.replace("image: base", "image: base\n    healthcheck: {test: 'true'}").replace(
    "links: [db]", "links: [db]\n    depends_on: {db: {condition: service_healthy}}"
)


def test_apply_waits_and_says_for_whom_and_what_for(call, machine, tmp_path):
    (tmp_path / "shop.yaml").write_text(CHECKED)
    ran = call(machine, "apply", "--wait", "shop.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert ". wait   container db   until it is healthy, before web starts\n" in ran.out
    assert ". wait   container web  until it is up and healthy, or done\n" in ran.out
    order = re.findall(r"^(started \w+|\w+ is \w+) \(", ran.out, re.MULTILINE)
    assert order == ["started db", "db is healthy", "started web", "web is up"]
    assert call(machine, "apply", "--wait", "shop.yaml").out.startswith("nothing to do")
    machine.world.get("shop", "db").log = ["can not reach the moon"]
    machine.sicken("shop", "db")
    machine.sick.add("db")
    assert call(machine, "apply", "shop.yaml").out == (
        "nothing to do: stack shop is as it should be\nnote: db is unhealthy\n"
    )
    ran = call(machine, "apply", "--wait-timeout", "2m", "shop.yaml")
    assert ran.code == 4
    assert "Plan: 1 container to wait for.\n" in ran.out
    assert "failed to wait for db (" in ran.out
    assert ran.err.endswith("it is unhealthy; its log ends with\n    | can not reach the moon\n")
    ran = call(machine, "apply", "--wait", "--json", "shop.yaml")
    assert ran.code == 4
    document = json.loads(ran.out)
    assert [step["verb"] for step in document["plan"]["steps"]] == ["wait"]
    assert document["failed"][0]["error"].endswith("can not reach the moon")
    ran = call(machine, "apply", "--wait-timeout", "soon", "shop.yaml")
    assert (ran.code, "is not a duration" in ran.err) == (125, True)


def test_validate_says_what_is_wrong_everywhere(call, tmp_path):
    (tmp_path / "bad.yaml").write_text(SPEC.replace("links:", "linsk:").replace("image: base", "imgae: base"))
    ran = call(None, "validate", "shop.yaml", "bad.yaml", "nosuch.yaml")
    assert ran.code == 1
    assert ran.out == "shop.yaml: ok, 2 containers\n"
    heads = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert [head.split(": ")[1] for head in heads[:-1]] == ["bad.yaml:5:3", "bad.yaml:6:5", "bad.yaml:11:5"]
    assert "'linsk'" in heads[2]
    assert "'nosuch.yaml'" in heads[3]
    documents = json.loads(call(None, "validate", "--json", "shop.yaml", "bad.yaml").out)
    assert [(d["ok"], d["containers"]) for d in documents] == [(True, 2), (False, 0)]
    assert documents[1]["problems"][0]["line"] == 5
    assert call(None, "validate", "shop.yaml").code == 0


def test_plan_changes_nothing_and_tells_by_its_exit_code(call, machine, tmp_path):
    ran = call(machine, "plan", "shop.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert "+ create container web" in ran.out
    assert call(machine, "plan", "--detailed-exitcode", "shop.yaml").code == 2
    assert [step["verb"] for step in json.loads(call(machine, "plan", "--json", "shop.yaml").out)["steps"]].count(
        "start"
    ) == 2
    assert machine.trace == []
    assert sorted(os.listdir(tmp_path)) == ["shop.yaml"]
    call(machine, "apply", "shop.yaml")
    after = call(machine, "plan", "--detailed-exitcode", "shop.yaml")
    assert (after.code, after.out) == (0, "Stack shop from shop.yaml: nothing to do.\n")


def test_apply_shows_the_plan_and_each_step_and_then_has_nothing_to_do(call, machine):
    first = call(machine, "apply", "shop.yaml")
    assert (first.code, first.err) == (0, "")
    plan, _, steps = without_times(first.out).partition("\n\ncreated")
    assert plan.startswith("Stack shop from shop.yaml:\n\n+ create ")
    assert sorted(("created" + steps).splitlines()) == [
        "created db (0.00s)",
        "created volume data (0.00s)",
        "created web (0.00s)",
        "prepared db (0.00s)",
        "prepared web (0.00s)",
        "started db (0.00s)",
        "started web (0.00s)",
    ]
    assert set(states(machine).values()) == {RUNNING}
    again = call(machine, "apply", "shop.yaml")
    assert (again.code, again.out, again.err) == (0, "nothing to do: stack shop is as it should be\n", "")


def test_apply_quiet_and_json(call, machine):
    assert call(machine, "apply", "--quiet", "shop.yaml").out == ""
    machine.remove_by_hand("shop", "web")
    ran = call(machine, "apply", "--json", "shop.yaml")
    document = json.loads(ran.out)
    assert document["ok"] is True
    assert document["done"] == [step["number"] for step in document["plan"]["steps"]]
    assert document["plan"]["steps"][0]["verb"] == "create"


def test_a_failed_step_is_told_in_full_and_the_next_apply_goes_on(call, machine):
    machine.faults.fail_on = {"start container web": "the disk is \x1b[31mfull"}
    ran = call(machine, "apply", "shop.yaml")
    assert ran.code == 1
    assert "failed to start web" in ran.out
    assert ran.err == "error: can't start container web: the disk is \\x1b[31mfull\n"
    machine.faults.fail_on = {}
    assert call(machine, "apply", "shop.yaml").code == 0
    assert set(states(machine).values()) == {RUNNING}


@pytest.mark.parametrize(
    ("error", "text", "hint"),
    [
        (KeyError("x"), "this is a fault of reconciler itself: KeyError: 'x'", "--debug"),
        (OSError(28, "No space left on device", "/srv/x"), "the disk is full: /srv/x could not be written", "df"),
    ],
)
def test_what_is_no_fault_of_the_users_is_not_told_as_one(call, machine, monkeypatch, error, text, hint):
    def perform(*_):
        raise error

    monkeypatch.setattr(machine, "perform", perform)
    lines = call(machine, "apply", "shop.yaml").err.splitlines()
    assert re.fullmatch(r"error: can't create (volume|container) \w+: " + re.escape(text), lines[0])
    assert hint in lines[1]


@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_json_of_what_can_not_be_planned(call, machine, tmp_path, verb):
    (tmp_path / "bad.yaml").write_text(SPEC.replace("links:", "linsk:"))
    ran = call(machine, verb, "--json", "bad.yaml")
    assert ran.code == 1
    assert [(p["file"], p["line"], p["column"]) for p in json.loads(ran.out)["problems"]] == [("bad.yaml", 11, 5)]
    assert ran.err.startswith("error: bad.yaml:11:5: ")
    (tmp_path / "bad.yaml").write_text(SPEC.replace("image: app", "image: nosuch"))
    problems = json.loads(call(machine, verb, "--json", "bad.yaml").out)["problems"]
    assert [(p["code"], p["line"]) for p in problems] == [("no-image", 10)]


def test_a_container_that_ends_at_once_is_a_failure_with_its_log(call, machine):
    machine.jobs = {"web": 3}
    machine.culprit = lambda stack, key: f"{stack}/{key} says:\nno \x1b[2Jdatabase"
    ran = call(machine, "apply", "shop.yaml")
    assert ran.code == 1
    assert ran.err == (
        "error: container web ended at once with exit code 3; its log ends with\n"
        "    | shop/web says:\n    | no \\x1b[2Jdatabase\n"
    )


def test_a_job_that_ends_well_is_none(call, machine):
    machine.jobs = {"web": 0}
    assert call(machine, "apply", "shop.yaml").code == 0


def test_down_removes_containers_and_names_the_volumes_that_stay(call, machine):
    call(machine, "apply", "shop.yaml")
    ran = call(machine, "down", "shop.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("kept 1 volume: shop_data\n")
    assert states(machine) == {}
    assert list(machine.world.volumes) == ["shop_data"]
    again = call(machine, "down", "shop")
    assert (again.code, again.out) == (0, "nothing to do: stack shop has no containers\nkept 1 volume: shop_data\n")


def test_down_by_a_name_that_nothing_bears(call, machine):
    call(machine, "apply", "shop.yaml")
    ran = call(machine, "down", "shpo")
    assert (ran.code, ran.out) == (1, "")
    assert 'there is no stack "shpo"' in ran.err
    assert set(states(machine).values()) == {RUNNING}


def test_down_volumes_deletes_only_what_was_confirmed(call, machine, monkeypatch):
    call(machine, "apply", "shop.yaml")
    machine.world.volumes["shop_data"].content["/x"] = "a" * 1200
    refused = call(machine, "down", "--volumes", "shop.yaml")
    assert (refused.code, refused.out) == (125, "")
    assert "confirm it with --yes" in refused.err

    class Terminal:
        def __init__(self, answer):
            self.answer = answer

        def isatty(self):
            return True

        def readline(self):
            return self.answer

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for answer in ("", "y\n", "no\n"):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        ran = call(machine, "down", "--volumes", "shop.yaml")
        assert ran.code == 1
        assert "This deletes 1 volume with all data (sizes are of all files together):\n" in ran.err
        assert "\n  shop_data  1.2kB  used by db\n" in ran.err
        assert set(states(machine).values()) == {RUNNING}
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n"))
    assert call(machine, "down", "--volumes", "shop.yaml").code == 0
    assert (states(machine), machine.world.volumes) == ({}, {})


def test_down_volumes_with_yes(call, machine):
    call(machine, "apply", "shop.yaml")
    ran = call(machine, "down", "--volumes", "--yes", "shop")
    assert ran.code == 0
    assert "kept" not in ran.out
    assert machine.world.volumes == {}


def test_a_size_that_takes_too_long_to_find_out_is_not_waited_for(call, machine, monkeypatch):
    call(machine, "apply", "shop.yaml")
    monkeypatch.setattr(down, "MEASURING", 0.0)
    assert "shop_data  not measured in time  used by db" in call(machine, "down", "--volumes", "-y", "shop").err


def test_what_a_spec_protects_is_deleted_by_nothing_until_it_says_otherwise(call, machine, tmp_path):
    protected = SPEC.replace("data: {}", "data: {protect: true}")
    call(machine, "apply", "shop.yaml")
    (tmp_path / "shop.yaml").write_text(protected)
    ran = call(machine, "down", "--volumes", "-y", "shop.yaml")
    assert ran.code == 1, "it is not applied, and the spec says so all the same"
    assert "error: shop.yaml:13:19: volume shop_data is protected: it can't be deleted" in ran.err
    ran = call(machine, "apply", "shop.yaml")
    assert "~ update volume data  changed in place\n      protect: false -> true  (shop.yaml:13:19)\n" in ran.out
    assert "Plan: 1 volume to change in place.\n" in ran.out
    for target in ("shop", "shop.yaml"):
        ran = call(machine, "down", "--volumes", "-y", target)
        assert (ran.code, "is protected" in ran.err, "protect: false" in ran.err) == (1, True, True)
        assert set(states(machine).values()) == {RUNNING}
    assert f"by {tmp_path}/shop.yaml" in call(machine, "down", "--volumes", "-y", "shop").err
    (tmp_path / "shop.yaml").write_text(SPEC)
    assert "apply it first" in call(machine, "down", "--volumes", "-y", "shop.yaml").err
    assert call(machine, "apply", "shop.yaml").code == 0
    assert call(machine, "down", "--volumes", "-y", "shop.yaml").code == 0
    assert machine.world.volumes == {}


def test_another_file_s_stack_is_refused_unless_taken_over(call, machine, tmp_path):
    call(machine, "apply", "shop.yaml")
    (tmp_path / "copy.yaml").write_text(SPEC)
    for verb in ("plan", "apply", "down"):
        ran = call(machine, verb, "copy.yaml")
        assert (ran.code, "--take-over" in ran.err) == (1, True)
    assert call(machine, "apply", "--take-over", "copy.yaml").code == 0


def driven(*argv, **environment):
    return subprocess.Popen(
        [*DRIVE, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def test_ctrl_c_ends_at_the_next_safe_point():
    with driven("apply", "shop.yaml", HOLD="start container db") as process:
        assert process.stderr.readline() == "holding\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert "stopping at the next safe point; once more quits at once" in err
    assert "started db" in out
    assert "started web" not in out
    assert err.endswith("error: interrupted with 1 of 7 steps left\n  hint: the next apply goes on from here\n")


def test_a_closed_terminal_ends_at_the_next_safe_point_however_often_it_says_so():
    with driven("apply", "shop.yaml", HOLD="start container db", HOLD_GIVES_UP="1") as process:
        assert process.stderr.readline() == "holding\n"
        process.stdout.close()
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        err = process.stderr.read()
    assert process.returncode == 130
    assert err.endswith("error: interrupted with 2 of 7 steps left\n  hint: the next apply goes on from here\n")


def test_nohup_is_respected():
    command = ["nohup", *DRIVE, "apply", "shop.yaml"]
    environment = os.environ | {"HOLD": "start container db"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr.readline() == "holding\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert process.returncode == 130
    assert err.count("stopping at the next safe point") == 1


def test_what_was_interrupted_did_not_fail():
    with driven("apply", "shop.yaml", HOLD="start container db", HOLD_GIVES_UP="1") as process:
        assert process.stderr.readline() == "holding\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    assert "interrupted while starting db" in out
    assert "failed" not in out


@pytest.mark.parametrize("how", ["pipe", "pipes", "full"])
def test_a_reader_that_goes_away_does_not_end_a_pass(tmp_path, how):
    """The reader is gone before the first step begins: every line of the pass fails to be written."""
    ours, theirs = os.pipe()
    with open("/dev/full", "wb") as full:
        out = full if how == "full" else theirs
        os.close(ours)
        done = subprocess.run(
            [*DRIVE, "apply", "shop.yaml"],
            stdout=out,
            stderr=out if how == "pipes" else subprocess.PIPE,
            env=os.environ | {"WORLD": str(tmp_path / "world")},
            check=False,
        )
    os.close(theirs)
    assert done.returncode == 0
    assert (tmp_path / "world").read_text().split() == ["db=running", "web=running"]
    lost = b"standard output could not be written: No space left on device; the pass went on without it\n"
    assert (done.stderr or b"") == (lost if how == "full" else b"")


def test_a_terminal_that_goes_away_under_the_spinners_does_not_end_a_pass(tmp_path):
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm-256color", "WORLD": str(tmp_path / "world"), "SLOW": "0.3"}
    with subprocess.Popen(
        [*DRIVE, "apply", "shop.yaml"], stdout=theirs, stderr=subprocess.PIPE, env=os.environ | environment
    ) as process:
        os.close(theirs)
        seen = b""
        while b"creating" not in seen:
            seen += os.read(ours, 65536)
        os.close(ours)
        told = process.stderr.read()
    assert process.returncode == 0
    assert (tmp_path / "world").read_text().split() == ["db=running", "web=running"]
    assert told == b"standard output could not be written: Input/output error; the pass went on without it\n"


def test_a_second_ctrl_c_quits_at_once():
    with driven("apply", "shop.yaml", HOLD="start container db", HOLD_ON="1") as process:
        assert process.stderr.readline() == "holding\n"
        process.send_signal(signal.SIGINT)
        while "stopping" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130


def test_who_comes_second_waits_or_is_told_by_whom_the_stack_is_held():
    with driven("apply", "shop.yaml", HOLD="start container db") as first:
        assert first.stderr.readline() == "holding\n"
        assert holder_of("shop").pid == first.pid
        with driven("apply", "--no-wait", "shop.yaml") as hasty:
            out, err = hasty.communicate()
        assert (hasty.returncode, out) == (5, "")
        assert re.fullmatch(
            rf"error: stack shop is held by pid {first.pid} \(reconciler apply shop.yaml\) since [-\d]+ [:\d]+\n"
            r"  hint: leave out --no-wait to wait for it\n",
            err,
        )
        with driven("down", "shop") as ignorant, driven("down", "shop.yaml") as patient:
            assert "there is no stack" in ignorant.communicate()[1]
            assert patient.stderr.readline().startswith(
                f"waiting for stack shop, held by pid {first.pid} (reconciler apply"
            )
            first.send_signal(signal.SIGINT)
            first.communicate()
            assert patient.communicate()[0].startswith("nothing to do")
            assert patient.returncode == 0
    assert holder_of("shop") is None


@pytest.mark.parametrize(("old", "new"), [("name: shop", "name: store"), ("hunter2", "changed")])
def test_what_waited_for_a_stack_applies_the_spec_as_it_is_by_then(tmp_path, old, new):
    with driven("apply", "shop.yaml", HOLD="start container db") as first:
        assert first.stderr.readline() == "holding\n"
        with driven("apply", "--json", "shop.yaml") as second:
            assert second.stderr.readline().startswith("waiting for stack shop")
            (tmp_path / "shop.yaml").write_text(SPEC.replace(old, new).replace("links: [db]", "links: [db:sql]"))
            first.send_signal(signal.SIGINT)
            first.communicate()
            plan = json.loads(second.communicate()[0])["plan"]
    assert plan["stack"] == ("store" if "store" in new else "shop")
    assert second.returncode == 0
    locks = os.listdir(tmp_path / "run" / "locks")
    assert ("stack-store.lock" in locks) == ("store" in new)


def test_ctrl_c_while_waiting_for_a_stack():
    with driven("apply", "shop.yaml", HOLD="start container db") as first:
        assert first.stderr.readline() == "holding\n"
        with driven("apply", "shop.yaml") as second:
            assert second.stderr.readline().startswith("waiting for stack shop")
            second.send_signal(signal.SIGINT)
            assert second.communicate() == ("", "")
            assert second.returncode == 130
        first.send_signal(signal.SIGINT)
        first.communicate()


def test_a_terminal_sees_what_takes_long(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    ours, theirs = pty.openpty()
    environment = os.environ | {"HOLD": "start container db"}
    with subprocess.Popen(
        [*DRIVE, "apply", "shop.yaml"], stdout=theirs, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(theirs)
        assert process.stderr.readline() == b"holding\n"
        seen = b""
        while b"starting db" not in seen:
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
        except OSError:  # the other side is closed
            pass
        process.stderr.read()
    os.close(ours)
    assert process.returncode == 130
    assert b"\x1b[32mcreated\x1b[0m db (" in seen
    assert b"\x1b[32m+ create container db" in seen
    assert b"\x1b[32mstarted\x1b[0m db (" in seen


def test_apply_with_nothing_to_do_imports_nothing_heavy(tmp_path):
    script = (
        "import sys\nfrom reconciler.cli.main import main\n"
        "from reconciler.runtimes.simulated.runtime import Simulated\n"
        "machine = Simulated(['app', 'base'])\n"
        "assert main(['apply', '--quiet', 'shop.yaml'], machine) == 0\n"
        "known = set(sys.modules)\n"
        "for name in known:\n"
        "    if name.partition('.')[0] in ('yaml', 'pydantic', 'pydantic_core') or name.startswith(('reconciler.spec.', 'reconciler.executor.t')):\n"
        "        del sys.modules[name]\n"
        "assert main(['apply', 'shop.yaml'], machine) == 0\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    out = done.stdout.splitlines()
    assert out[0].startswith("nothing to do")
    modules = set(out[-1].split())
    tops = {name.partition(".")[0] for name in modules}
    assert (
        tops & {"pydantic", "pydantic_core", "yaml", "asyncio", "pyroute2", "rich", "structlog", "concurrent"} == set()
    )
    assert not {"reconciler.spec.resolve", "reconciler.executor.threads"} & modules


BLAMED = """\
apiVersion: reconciler/v1
kind: Stack
name: shop
containers:
  db:
    image: base
  web:
    image: app
    command: [serve, --password, hunter2]
    user: nobody
    links: [db, "db:other"]
    volumes: ["data:/data", "./x:/data/x", "./y:/y"]
    ports: ["8080:80", "127.0.0.5:8081:81", "9000-9010:90"]
  tool:
    image: app
    user: root
    volumes_from: [db, web]
volumes: {data: {}}
"""


@pytest.mark.parametrize(
    ("key", "code", "message", "place"),
    [
        ("web", "no-such-command", "container {name} can't run", "9:5"),
        ("web", "no-command", "there is no command", "9:5"),
        ("web", "user", "unable to find user nobody", "10:11"),
        ("tool", "not-executable", "it is not an executable file", "15:12"),
        ("tool", "volumes-from", "takes its volumes from {name}, and there is no such container", "17:24"),
        ("web", "working-dir", "the working folder /data can't be made", "8:12"),
        ("web", "mount", "the host path to be mounted at /data/x is not there: /srv/x", "12:29"),
        ("web", "mount", "the host folder {here}/y can't be made", "12:44"),
        ("web", "mount", "/somewhere can't be mounted", "12:5"),
        ("web", "port-taken", "host port 8080/tcp is in use by pid 8081", "13:13"),
        ("web", "port-taken", "host port 127.0.0.5:8081/tcp is already allocated to container 8080", "13:24"),
        ("web", "port-taken", "no host port from 9000 to 9010 is free for 90/tcp", "13:45"),
        ("web", "no-such-address", "127.0.0.5 is not an address of this host", "13:24"),
        ("tool", "link", "it has no links", ""),
        ("web", "disk-full", "the disk is full", ""),
    ],
)
def test_a_failed_step_names_the_place_in_the_spec_that_is_at_fault(
    call, machine, monkeypatch, tmp_path, key, code, message, place
):
    (tmp_path / "blamed.yaml").write_text(BLAMED)
    text = message.format(here=tmp_path, name=read("blamed.yaml").containers["web"].name)
    perform = machine.perform

    def failing(action, context):
        if f"{action.verb} {action.subject}" == f"create container {key}":
            raise ReconcilerError(text, code=code, hint="so it is")
        return perform(action, context)

    monkeypatch.setattr(machine, "perform", failing)
    ran = call(machine, "apply", "blamed.yaml")
    assert ran.code == 1
    head, *lines = ran.err.splitlines()
    told = f"can't create container {key}: {text}"
    assert head == f"error: {f'blamed.yaml:{place}: ' if place else ''}{told}"
    number, _, column = place.partition(":")
    shown = [BLAMED.splitlines()[int(number) - 1], " " * (int(column) - 1) + "^"] if place else []
    assert lines[:-1] == ["    " + line for line in shown if "hunter2" not in "".join(shown)]
    assert lines[-1] == "  hint: so it is"


def test_a_stack_from_standard_input_is_the_same_everywhere(tmp_path):
    script = (
        "import os, sys\nfrom reconciler.cli.main import main\n"
        "from reconciler.runtimes.simulated.runtime import Simulated\n"
        "machine = Simulated(['app', 'base'])\n"
        "for folder in sys.argv[1:]:\n"
        "    os.chdir(folder)\n"
        "    sys.stdin.seek(0)\n"
        "    assert main(['apply', '-q', '-'], machine) == 0\n"
        "sys.stdin.seek(0)\n"
        "assert main(['validate', '-'], machine) == 0\n"
    )
    (tmp_path / "sub").mkdir()
    with open(tmp_path / "shop.yaml", "rb") as spec:
        command = [sys.executable, "-c", script, str(tmp_path), str(tmp_path / "sub")]
        done = subprocess.run(command, stdin=spec, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "standard input: ok, 2 containers\n", "")


def test_a_link_to_the_spec_is_no_other_file(call, machine, tmp_path):
    assert call(machine, "apply", "shop.yaml").code == 0
    (tmp_path / "link.yaml").symlink_to("shop.yaml")
    ran = call(machine, "apply", "link.yaml")
    assert (ran.code, ran.err) == (0, "")
