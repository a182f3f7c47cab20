"""Health checks in running containers: who waits for them, how locked in they are, what they can't do, and what follows."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from support import world
from support.machine import duration, paced, until

from reconciler.engine.containers import helpers, runtime
from reconciler.engine.containers.health import journal, prober, upkeep
from reconciler.engine.containers.health.probe import PART
from reconciler.engine.containers.health.verdict import Result
from reconciler.engine.containers.runtime import find_program
from reconciler.engine.kernel import cgroups, processes, programs
from reconciler.loop.converge import Manner, PassReporter, converge
from reconciler.runtimes.console import ExecOptions

pytestmark = pytest.mark.kernel

SLEEP = {"image": "tiny", "command": ["sleep", "1000"], "stop_grace_period": "0s"}
TOUCHED = "test -e /ok || { echo it is not there; false; }"


def checked(test, **more):
    return {"test": test, "interval": duration(0.2), "retries": 2, **more}


def health(machine, name):
    record = machine.record(name)
    return machine.engine.containers.health(record, machine.engine.containers.status(record))


def found(machine, name):
    return journal.read(machine.paths, machine.record(name))


def probers(machine):
    return [pid for pid, line in world.processes_of(machine.paths).items() if "health.prober" in line]


def prober_of(machine):
    """The process that holds the prober's lock, 0 where none does: others are just looking whether they are needed."""
    return world.holder_of(machine.paths.prober_lock)


def streak(machine, name):
    """Failures in a row; -1 while its present run has just begun."""
    verdict = found(machine, name)
    return verdict.streak if verdict else -1


def said(machine, name):
    """What came of the oldest probe that is known, once there is one."""
    return until(lambda: (verdict := found(machine, name)) and verdict.log and verdict.log[0])


def test_apply_waits_for_health_and_finished_work_before_it_goes_on(machine):
    document = {
        "containers": {
            "db": {**SLEEP, "command": ["sh", "-c", "sleep 1; touch /ok; exec sleep 1000"], "healthcheck": {"test": TOUCHED}},
            "job": {**SLEEP, "command": ["sh", "-c", "sleep 0.2"], "depends_on": {"db": {"condition": "service_healthy"}}},
            "web": {
                **SLEEP,
                "depends_on": {"db": {"condition": "service_healthy"}, "job": {"condition": "service_completed_successfully"}},
                "healthcheck": {"test": ["CMD", "true"], "interval": "10m"},
            },
        }
    }  # fmt: skip
    lines = machine.apply(document, "--wait").out.splitlines()
    order = [line.rpartition(" (")[0] for line in lines if line.endswith("s)")]
    assert order[-6:] == ["started db", "db is healthy", "started job", "job is done", "started web", "web is healthy"]
    assert "(healthy)" in machine.cli("ps").out
    well = machine.cli("ps", "-q", "--filter", "health=healthy").out.split()
    assert sorted(well) == sorted(machine.record(name).id[:12] for name in ("web", "db"))
    assert machine.apply(document, "--wait").out.startswith("nothing to do")
    shown = json.loads(machine.cli("inspect", "db").out)[0]
    assert shown["State"]["Health"]["Status"] == "healthy"
    assert shown["State"]["Health"]["FailingStreak"] == 0
    last = shown["State"]["Health"]["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (0, "")
    assert last["Start"] < last["End"]
    assert shown["Config"]["Healthcheck"] == {"Test": ["CMD-SHELL", TOUCHED]}
    machine.cli("down", "stack")
    until(lambda: not probers(machine))


def test_who_waits_in_vain_is_told_why(machine):
    says = ["sh", "-c", "echo can not reach the moon; exec sleep 1000"]
    document = {
        "containers": {
            "db": {**SLEEP, "command": says, "healthcheck": checked("echo no; exit 7")},
            "web": {**SLEEP, "depends_on": {"db": {"condition": "service_healthy"}}},
        }
    }
    ran = machine.apply(document, code=4)
    assert ran.err == (
        "error: container db is unhealthy; its last probe failed, with exit code 7 and said\n    | no\n"
        "  its log ends with\n    | can not reach the moon\n"
    )
    assert {c.name for c in machine.console.containers()} == {"db"}
    slow = {"containers": {"db": {**SLEEP, "healthcheck": checked(["CMD", "false"], start_period="10m")}}}
    machine.apply(slow)
    said(machine, "db")
    ran = machine.apply(slow, "--wait", "--wait-timeout", duration(1), code=4)
    assert "container db is not healthy in time; its last probe failed, with exit code 1 and said nothing" in ran.err
    failing = {"containers": {"db": {**SLEEP, "command": ["sh", "-c", f"sleep {paced(0.3)}; exit 3"]}}}
    failing["containers"]["web"] = {**SLEEP, "depends_on": {"db": {"condition": "service_completed_successfully"}}}
    assert "container db has ended with exit code 3; it wrote nothing" in machine.apply(failing, code=4).err
    unchecked = {"containers": {"db": SLEEP, "web": {**SLEEP, "depends_on": {"db": {"condition": "service_healthy"}}}}}
    ran = machine.apply(unchecked, code=1)
    assert re.search(
        r"stack.yaml:\d+:\d+: container web waits for service_healthy of db, which has no health check", ran.err
    )


@pytest.mark.parametrize("program", ["crun", "runc"])
def test_a_probe_is_locked_in_as_exec_is(machine, monkeypatch, capfd, program):
    if program == "runc":
        monkeypatch.setattr(runtime, "find_program", lambda name: "" if name == "crun" else find_program(name))
    what = (
        "id; pwd; echo $A; umask; ulimit -n; cat /proc/1/comm; ls /proc/self/fd 2>/dev/null;"
        "grep -E '^(Cap|Seccomp|NoNew|Groups)' /proc/self/status;"
        "for ns in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$ns; done;"
        "grep -E ':(memory|pids|devices):' /proc/self/cgroup; cat /proc/self/oom_score_adj;"
        "cat /proc/self/attr/current 2>&1;"
        "unshare -m true 2>/dev/null && echo unshared; mknod /x b 8 0 2>/dev/null && cat /x 2>/dev/null && echo a device; :"
    )
    box = {**SLEEP, "user": "1000:100", "working_dir": "/tmp", "environment": {"A": "b c"}}
    config = {"containers": {"box": {**box, "healthcheck": {"test": ["CMD", "sh", "-c", what]}}, "root": SLEEP}}
    config["containers"]["root"] = {**SLEEP, "healthcheck": {"test": what}}
    path = machine.spec(config)
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    done = converge(path, machine.runtime, Manner("test"), PassReporter())
    assert done.error() is None
    capfd.readouterr()
    for name in ("box", "root"):
        assert machine.console.exec(name, ExecOptions(("sh", "-c", what))) == 0
        probe = said(machine, name)
        assert (probe.code, probe.output) == (0, capfd.readouterr().out)
        assert "Seccomp:\t2\n" in probe.output
        assert "unshared" not in probe.output
        assert "a device" not in probe.output
    assert "uid=1000(user) gid=100" in said(machine, "box").output


def image_has_check(machine, **check):
    """Have the image in the store have this check, as if it had come with it."""
    with machine.engine.store.write() as connection:
        connection.execute("UPDATE images SET config = json_set(config, '$.health', json(?))", [json.dumps(check)])
    machine.restart()


def pauses(machine, name):
    """Seconds between the probes that are known."""
    return [after.start - before.end for before, after in itertools.pairwise(found(machine, name).log)]


def test_one_that_starts_is_probed_as_often_as_its_spec_or_its_image_says(machine):
    """Where nobody says anything no pause is shorter than half a second, and none of the first few near a minute."""
    check = {"test": ["CMD", "false"], "start_period": "10m", "interval": "10m"}
    machine.apply({"containers": {"unsaid": {**SLEEP, "healthcheck": check}}})
    until(lambda: len(pauses(machine, "unsaid")) > 1)
    assert min(pauses(machine, "unsaid")) >= 0.5
    assert "StartInterval" not in json.loads(machine.cli("inspect", "unsaid").out)[0]["Config"]["Healthcheck"]

    image_has_check(machine, test=["CMD", "false"], interval=600.0, start_period=600.0, start_interval=60.0)
    document = {
        "seldom": {**check, "start_interval": "1m30s"},
        "image": {"retries": 2},
        "often": {**check, "start_interval": "50ms"},
    }
    machine.apply({"containers": {name: {**SLEEP, "healthcheck": one} for name, one in document.items()}})
    seen = {name: json.loads(machine.cli("inspect", name).out)[0]["Config"]["Healthcheck"] for name in document}
    shown = {name: one["StartInterval"] for name, one in seen.items()}
    assert shown == {"often": 50_000_000, "seldom": 90_000_000_000, "image": 60_000_000_000}
    until(lambda: min(pauses(machine, "often"), default=10.0) < paced(0.4))
    last = max(machine.record(name).started for name in document)
    until(lambda: found(machine, "often").log[-1].start > last + 1.5)
    assert [found(machine, name).log for name in ("seldom", "image")] == [(), ()]


def test_what_a_probe_leaves_running_ends_with_it(machine):
    hangs = "setsid sleep 777 & echo waiting; sleep 888"
    detaches = "setsid sleep 666 >/dev/null 2>&1 & echo done"
    bomb = "b() { b | b & }; while :; do b; done"
    limit = duration(2)
    machine.apply(
        {
            "containers": {
                "hangs": {**SLEEP, "healthcheck": checked(hangs, timeout=limit)},
                "detaches": {**SLEEP, "healthcheck": checked(detaches, interval="10m")},
                "bomb": {**SLEEP, "pids_limit": 40, "healthcheck": checked(bomb, timeout=limit)},
            }
        }
    )
    hung = said(machine, "hangs")
    assert (hung.code, hung.output) == (-1, f"Health check exceeded timeout ({limit}): waiting\n")
    assert said(machine, "detaches").code == 0
    # Of the shell in the first probe, of our own fork in later ones: the first process does not reap what has ended.
    assert "resource temporarily unavailable" in said(machine, "bomb").output.lower()
    until(lambda: health(machine, "hangs") == health(machine, "bomb") == "unhealthy")
    for name in ("detaches", "hangs", "bomb"):  # between two probes there is nothing but the container's own
        own = machine.record(name)
        until(lambda own=own: probed(machine, own) == {own.pid})


def probed(machine, record):
    """The processes of a container and of its probe."""
    group = f"{machine.paths.cgroup}/{record.id}"
    return cgroups.members(group) | cgroups.members(f"{group}/{PART}")


def test_probes_that_can_not_be_run_or_say_too_much(machine):
    flood = "head -c 50000000 /dev/zero | tr '\\0' x; echo end"
    machine.apply(
        {
            "containers": {
                "missing": {**SLEEP, "healthcheck": checked(["CMD", "nosuch", "thing"])},
                "lost": {**SLEEP, "healthcheck": checked(["CMD", "/no/such"])},
                "no-program": {**SLEEP, "healthcheck": checked(["CMD", "/etc/passwd"])},
                "flood": {**SLEEP, "healthcheck": checked(flood)},
            }
        }
    )
    assert said(machine, "missing").output == 'exec: "nosuch": executable file not found in $PATH'
    assert said(machine, "lost").output == 'exec: "/no/such": no such file or directory'
    assert said(machine, "no-program").output == 'exec: "/etc/passwd": permission denied'
    assert said(machine, "missing").code == -1
    much = said(machine, "flood")
    assert (much.code, much.output) == (0, "x" * 4096 + "...")
    until(lambda: health(machine, "missing") == "unhealthy")
    # An image is hostile: a check of one that makes no sense is a check that fails, and says why.
    image_has_check(machine, test=["curl", "x"])
    machine.apply({"containers": {"odd": {**SLEEP, "healthcheck": {"interval": duration(0.1), "retries": 1}}}})
    assert "the image's health check begins with 'curl'" in said(machine, "odd").output
    until(lambda: health(machine, "odd") == "unhealthy")


def test_a_check_that_is_named_like_a_process_stops_nobodys_checks(machine):
    """What a hostile image calls its command comes back in an error, beside the number of the process that it would be."""
    names = {f"odd{number}": f"x\n{pid}\ny" for number, pid in enumerate((1, os.getpid()))}
    odd = {name: {**SLEEP, "healthcheck": checked(["CMD", command])} for name, command in names.items()}
    machine.apply({"containers": {**odd, "well": {**SLEEP, "healthcheck": checked("date")}}})
    for name, command in names.items():
        until(lambda name=name: health(machine, name) == "unhealthy")
        assert said(machine, name).output == f'exec: "{command}": executable file not found in $PATH'
    last = said(machine, "well").start
    until(lambda: found(machine, "well").log[-1].start > last)
    assert not os.path.exists(os.path.join(machine.run, "after.log"))


def test_a_probe_has_the_filter_of_its_container_also_where_that_is_loaded_with_flags(machine):
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    with open(os.path.join(machine.folder, "profile.json"), "w", encoding="utf-8") as file:
        json.dump(profile, file)
    what = "grep Seccomp: /proc/self/status; mkdir /x 2>&1; mkdir -p /y 2>&1; :"
    box = {**SLEEP, "security_opt": ["seccomp=profile.json"], "healthcheck": checked(what, interval="10m")}
    machine.apply({"containers": {"box": box}})
    probe = said(machine, "box")
    assert probe.code == 0
    assert probe.output.startswith("Seccomp:\t2\n")
    assert probe.output.count("Operation not supported") == 2
    assert machine.exec("box", "sh", "-c", what) == probe.output


def test_whoever_comes_by_next_starts_a_prober_that_was_killed(machine):
    path = machine.spec({"containers": {"a": {**SLEEP, "healthcheck": checked(TOUCHED, retries=1)}}})
    machine.cli("apply", path)
    until(lambda: health(machine, "a") == "unhealthy")
    for look in (("ps",), ("apply", path), ("ps", "-a")):
        pid = until(lambda: prober_of(machine))
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: prober_of(machine) != pid)
        log = found(machine, "a").log
        assert health(machine, "a") == "unhealthy", "what is known is kept"
        machine.cli(*look)
        until(lambda log=log: found(machine, "a").log[-1].start > log[-1].end)
    machine.exec("a", "touch", "/ok")
    until(lambda: health(machine, "a") == "healthy")
    assert found(machine, "a").streak == 0


@pytest.mark.parametrize("code", [(helpers._CODE, "keep"), (upkeep._CODE,)], ids=["keeper", "prober"])
def test_the_last_to_leave_takes_the_group_along(machine, code):
    """Also where whoever has removed the last container has given up waiting for it."""
    text, *task = code
    program = [sys.executable, "-I", "-c", text, *task, machine.root, machine.run]
    done = programs.spawn_sealed(program)
    until(lambda: not os.path.exists(f"/proc/{done.pid}") or processes.process_state(done.pid) == "Z", 60)
    assert world.groups_of(machine.paths) == []


def test_the_keeper_waits_for_a_prober_that_it_has_started(machine):
    """Its log keeps the keeper there, which sees that there is no prober, and outlives the one that it starts then."""
    logs = {"logging": {"options": {"max-size": "1m"}}}
    machine.apply({"containers": {"a": {**SLEEP, **logs, "healthcheck": checked("date")}}})
    keeper = until(lambda: world.holder_of(machine.paths.keeper_lock))
    for _ in range(2):
        first = until(lambda: prober_of(machine))
        os.kill(first, signal.SIGKILL)

        def looks_and_starts_the_next(first=first):  # once no child of the killed one holds its lock any more
            helpers.wake_keeper(machine.paths)
            return prober_of(machine) not in (0, first)

        until(looks_and_starts_the_next)
    until(lambda: processes.first_child(keeper) == prober_of(machine))
    assert world.holder_of(machine.paths.keeper_lock) == keeper
    until(lambda: not world.zombies_of(machine.paths))


def test_two_probers_are_never_at_work(machine):
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": checked("sleep 0.1; echo $$ >>/probes")}}})
    until(lambda: found(machine, "a").log)
    first = until(lambda: prober_of(machine))
    assert prober.main([machine.root, machine.run]) == 0, "the second leaves"
    assert prober_of(machine) == first


def test_a_start_begins_anew_and_a_changed_check_does_not(machine):
    """Also where a start was cut off after it was written down: the number of the run is the same then."""
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": checked(["CMD", "true"], interval="10m")}}})
    until(lambda: health(machine, "a") == "healthy")
    record = machine.record("a")
    image = machine.engine.images.resolve(record.image)
    upkeep.begin(machine.paths, record, image, anew=False)
    assert health(machine, "a") == "healthy"
    upkeep.begin(machine.paths, record, image)
    assert health(machine, "a") == "starting"
    before = record.generation
    machine.cli("restart", "a")
    until(lambda: health(machine, "a") == "healthy")
    assert machine.record("a").generation == before + 1
    assert len(found(machine, "a").log) == 1


def test_a_paused_container_is_not_probed(machine):
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": checked("sleep 0.3; date", timeout=duration(3))}}})
    until(lambda: health(machine, "a") == "healthy")
    machine.cli("pause", "a")
    paused = time.time()
    rest = paced(3.5)  # more than timeout and interval together
    time.sleep(rest)
    log = found(machine, "a").log
    assert log[-1].start < paused
    assert health(machine, "a") == "healthy"
    machine.cli("unpause", "a")
    until(lambda: found(machine, "a").log[-1].start > paused + rest)
    assert {one.code for one in found(machine, "a").log} == {0}


def test_an_unhealthy_container_is_restarted_but_not_for_ever(machine):
    sick = {**SLEEP, "healthcheck": checked(TOUCHED, interval=duration(0.1), retries=1, on_unhealthy="restart:2")}
    document = {
        "containers": {
            "a": sick,
            "user": {**SLEEP, "links": ["a:friend"]},
            "other": {**SLEEP, "healthcheck": checked(TOUCHED)},
        }
    }
    machine.apply(document)
    first = machine.record("a")
    gone = until(
        lambda: (
            health(machine, "a") == "unhealthy"
            and (r := machine.record("a")).generation == first.generation + 2
            and streak(machine, "a") > 0
            and r
        )
    )
    assert (gone.health_restarts, gone.restarts, gone.ailing, gone.state) == (2, 2, False, "running")
    until(lambda: streak(machine, "a") > 3)
    assert machine.record("a").generation == gone.generation, "and it is left alone"
    assert machine.record("other").generation == 1
    assert machine.exec("user", "cat", "/etc/hosts").count(gone.address) == 1
    again = machine.apply(document)
    assert "it is unhealthy, and restarting it 2 times in a row did not help" in again.out
    until(lambda: (r := machine.record("a")).health_restarts == 2 and not r.ailing and streak(machine, "a") > 1)
    machine.exec("a", "touch", "/ok")
    until(lambda: health(machine, "a") == "healthy")
    well = until(lambda: (r := machine.record("a")).health_restarts == 0 and r)
    machine.exec("a", "rm", "/ok")
    until(lambda: machine.record("a").generation == well.generation + 1 and machine.record("a").health_restarts == 1)
    machine.cli("stop", "a")
    record = machine.record("a")
    assert (record.state, record.wanted) == ("exited", "stopped")


def test_a_prober_that_is_killed_while_it_ends_a_container_has_that_done_by_the_next(machine):
    deaf = {
        **SLEEP,
        "stop_grace_period": duration(2),
        "command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
    }
    check = checked(["CMD", "false"], retries=1, on_unhealthy="restart:1")
    machine.apply({"containers": {"a": {**deaf, "healthcheck": check}}})
    before = until(lambda: (r := machine.record("a")).ailing and r)
    os.kill(until(lambda: prober_of(machine)), signal.SIGKILL)

    def ended_and_begun():  # a look starts the next prober, once no child of the killed one holds its lock any more
        machine.cli("ps")
        return machine.record("a").generation == before.generation + 1 and not machine.record("a").ailing

    until(ended_and_begun, 120)
    assert machine.record("a").health_restarts == 1


def test_a_restart_for_bad_health_is_told_as_such(machine, monkeypatch):
    """By the apply that started it, and by what looks at it meanwhile; not as if it had ended by itself."""
    check = checked("test ! -e /sick || { echo no database; exit 1; }", retries=1, on_unhealthy="restart")
    path = machine.spec({"containers": {"a": {**SLEEP, "restart": "no", "healthcheck": check}}})
    settled, listed = machine.runtime.settled, []

    def once_it_has_been_ended(stack, keys, deadline):
        with machine.engine.lifecycle.lock(machine.record("a").id):  # and can't be started again yet
            machine.exec("a", "touch", "/sick")
            until(lambda: machine.state("a") == "exited")
            listed.extend(json.loads(machine.cli("ps", "-a", "--json").out))
            return settled(stack, keys, deadline)

    monkeypatch.setattr(machine.runtime, "settled", once_it_has_been_ended)
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    done = converge(path, machine.runtime, Manner("test"), PassReporter())
    assert str(done.error()) == (
        "container a is unhealthy and is restarted because of that, once so far;"
        " its last probe said 'no database'; it wrote nothing"
    )
    assert [one["error"] for one in listed] == ["unhealthy, and restarted because of that, once so far"]
    again = re.compile(r"unhealthy, and restarted because of that, \d+ times in a row so far")
    until(lambda: again.fullmatch(machine.console.container("a").error))


def test_the_pieces_of_a_line_are_one_in_the_excerpt_of_a_log(machine):
    document = {
        "containers": {"a": {"image": "tiny", "command": ["sh", "-c", "printf one; sleep 0.2; echo two; exit 3"]}}
    }
    machine.apply(document, code=None)
    until(lambda: machine.state("a") == "exited")
    assert b" P one" in Path(machine.paths.log(machine.record("a").id)).read_bytes()
    assert machine.runtime.culprit("stack", "a") == "onetwo"


def test_what_is_known_of_a_container_goes_with_it_whenever_its_remover_is_killed(machine):
    """Nothing of it is left before it is forgotten but its lock; and that goes with the next that is removed."""
    machine.apply({"containers": {name: {**SLEEP, "healthcheck": checked("date")} for name in ("a", "b")}})
    kept, gone = machine.record("a").id, machine.record("b").id
    until(lambda: found(machine, "a").log)
    others = [os.path.join(machine.paths.locks, gone), os.path.join(machine.paths.health, gone)]
    machine.cli("rm", "-f", "b")
    assert not any(os.path.exists(path) for path in others)
    for path in others:
        open(path, "w", encoding="ascii").close()
    machine.engine.tidy()
    assert not any(os.path.exists(path) for path in others)
    assert health(machine, "a") == "healthy"
    assert set(os.listdir(machine.paths.locks)) >= {kept, "prober"}


def test_a_changed_check_counts_at_once(machine):
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": checked(["CMD", "false"], interval="10m")}}})
    until(lambda: found(machine, "a").log)
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": checked("date >>/probes", interval=duration(0.1))}}})
    until(lambda: health(machine, "a") == "healthy")
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": {"disable": True}}}})
    until(lambda: not prober_of(machine), 60)
    assert health(machine, "a") == "", "what a probe at work had to say is not kept any more"
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": {"disable": True}, "labels": {"x": "y"}}}})
    assert not prober_of(machine), "nobody has anything to probe"


def test_what_a_probe_says_after_its_check_was_switched_off_is_not_kept(machine):
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": checked("date", interval="10m")}}})
    until(lambda: health(machine, "a") == "healthy")
    late = prober.Prober(machine.engine)
    late.look()
    (patient,) = late._patients.values()
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": {"disable": True}}}})
    now = time.time()
    late._note(patient, Result(now, now, 0, "it was at work meanwhile"))
    assert health(machine, "a") == ""
    assert not late._patients


def test_nobody_gets_to_write_to_the_program_of_the_prober(machine):
    """A container can have `/proc/self/exe` executed, and hold on to what that stands for (CVE-2019-5736)."""
    machine.apply({"containers": {"a": {**SLEEP, "healthcheck": checked(["CMD", "/proc/self/exe", "--version"])}}})
    pid = until(lambda: prober_of(machine))
    held = os.open(f"/proc/{pid}/exe", os.O_PATH)
    said(machine, "a")
    machine.cli("rm", "-f", "a")
    until(lambda: not probers(machine))
    with pytest.raises(OSError, match="Read-only file system"):
        os.chmod(f"/proc/self/fd/{held}", 0o755)  # opening it for writing would fail while any Python runs
    os.close(held)


def test_many_threads_that_wait_do_not_disturb_each_other(machine):
    names = [f"c{number}" for number in range(6)]
    check = {"healthcheck": checked("sleep 0.1"), "depends_on": {}}
    document = {"containers": {name: {**SLEEP, **check} for name in names}}
    document["containers"]["last"] = {**SLEEP, "depends_on": {name: {"condition": "service_healthy"} for name in names}}
    lines = machine.apply(document).out.splitlines()
    assert sum("is healthy (" in line for line in lines) == len(names)
    assert [line.partition(" (")[0] for line in lines][-1] == "started last"
    assert threading.active_count() < 20
