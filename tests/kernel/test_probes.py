"""A probe and its prober where things go wrong that can't be brought about on every machine; here on a clock of our own."""

from __future__ import annotations

import errno
import os
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.containers.health import probe as probes
from reconciler.engine.containers.health import prober as probers
from reconciler.engine.containers.health.check import Check
from reconciler.engine.kernel import cgroups, inside, locks, processes
from reconciler.kits.errors import ReconcilerError

CHECK = Check(("true",), interval=1.0, timeout=10.0, start_period=0.0, start_interval=None, retries=1)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now

    monotonic = time


class Part:
    """A part of a control group that is empty when we say so."""

    def __init__(self):
        self.kills = 0
        self.is_empty = False
        self.error = None

    def kill(self, _inner):
        self.kills += 1
        if self.error:
            raise self.error
        return self.is_empty


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(probes, "time", clock)
    return clock


@pytest.fixture
def part(monkeypatch):
    part = Part()
    monkeypatch.setattr(cgroups, "kill_part", part.kill)
    return part


def started(monkeypatch, report=b""):
    """A probe whose child is none, and has reported this."""

    def start(*given):
        os.write(given[-1], report)
        return 0

    monkeypatch.setattr(inside, "start", start)
    return probes.Probe(-1, None, CHECK, "group")


def descriptors():
    return os.listdir("/proc/self/fd")


def error_frame(text):
    return inside._FRAME.pack(inside._ERROR, len(text)) + text


@given(st.binary(max_size=60), st.integers(1, 1 << 22), st.booleans(), st.data())
def test_a_report_says_what_was_put_in_whatever_the_image_calls_its_command(name, pid, pid_first, data):
    parts = [inside._FRAME.pack(inside._PID, pid), error_frame(name)]
    report = b"".join(parts if pid_first else reversed(parts))
    assert inside.read_report(report) == (pid, name.decode("utf-8", "replace"))
    cut = data.draw(st.integers(0, len(report)))
    assert inside.read_report(report[:cut])[0] in (0, pid)


@pytest.mark.parametrize("name", ["x\n1\ny", "p\1\0\0\0", "x" * 10_000, "\udc80"])
@pytest.mark.usefixtures("clock")
def test_a_command_that_is_named_like_a_pid_is_none(part, monkeypatch, name):
    part.is_empty = True
    message = inside._told(FileNotFoundError(errno.ENOENT, "none"), name).encode("utf-8", "replace")
    probe = started(monkeypatch, error_frame(message[:1024]))
    result = probe.advance()
    assert result.code == -1
    assert result.output == message[:1024].decode()
    assert probe.descriptors == ()


def test_what_can_not_be_killed_delays_the_result_for_a_second_and_is_tried_seldom(clock, part, monkeypatch):
    before = descriptors()
    probe = started(monkeypatch, error_frame(b"no"))
    assert probe.advance() is None
    assert part.kills == 1
    while (result := probe.advance()) is None:
        assert probe.wakes_at > clock.now, "nobody is kept busy by it"
        clock.now = probe.wakes_at
    assert 1000.9 < clock.now < 1001.1
    assert (result.code, result.output) == (-1, "no")
    assert part.kills <= 6
    while clock.now < 1061.0:
        assert not probe.leave()
        assert probe.wakes_at > clock.now
        clock.now = probe.wakes_at
    assert part.kills < 22, "once in five seconds, at the end"
    part.is_empty = True
    assert probe.leave()
    assert descriptors() == before


def test_what_has_ended_and_is_held_by_a_tracer_keeps_nobody_awake(clock, part, monkeypatch):
    """A container may trace its probe: it has ended then, and can't be reaped."""
    before = descriptors()
    part.is_empty = True
    monkeypatch.setattr(processes, "wait_for_end", lambda *_: True)
    monkeypatch.setattr(processes, "try_reap", lambda _: None)
    probe = started(monkeypatch, inside._FRAME.pack(inside._PID, os.getpid()))
    while (result := probe.advance()) is None:
        assert probe.descriptors == ()
        assert probe.wakes_at > clock.now
        clock.now = probe.wakes_at
    assert result.output == "Health check exceeded timeout (10s)"
    assert not probe.leave()
    assert probe.descriptors == ()
    monkeypatch.setattr(processes, "try_reap", lambda _: 0)
    assert probe.leave()
    assert descriptors() == before


def test_a_probe_that_can_not_begin_leaves_no_descriptors(monkeypatch):
    def start(*_):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(inside, "start", start)
    before = descriptors()
    with pytest.raises(BlockingIOError):
        probes.Probe(-1, None, CHECK, "group")
    assert descriptors() == before


@pytest.fixture
def prober(tmp_path):
    paths = SimpleNamespace(run=str(tmp_path), root=str(tmp_path), after_log=str(tmp_path / "after.log"))
    return probers.Prober(SimpleNamespace(paths=paths))


def patient_of(probe):
    check = SimpleNamespace(interval=100.0, timeout=10.0)
    record = SimpleNamespace(id="c1", name="web")
    return SimpleNamespace(record=record, check=check, probe=probe, due=0.0, kill_at=0.0, blocked_since=0.0)


@pytest.mark.usefixtures("clock")
def test_the_trouble_of_one_probe_ends_that_probe_alone(part, monkeypatch, prober, tmp_path):
    before = descriptors()
    part.error = OSError(errno.EIO, "broken")
    patient = patient_of(started(monkeypatch, error_frame(b"no")))
    prober._attend(patient)
    assert patient.probe is None
    assert patient.due > 0
    assert prober._leaving == []
    assert descriptors() == before
    assert "broken" in (tmp_path / "after.log").read_text()


def test_what_never_goes_counts_as_a_failure_of_the_next_probe(prober, monkeypatch):
    monkeypatch.setattr(probers, "time", clock := Clock())
    patient = patient_of(None)
    while clock.now < 1010.0:
        prober._put_off(patient)
        assert patient.due > clock.now
        clock.now = patient.due
    assert clock.now < 1014.0
    with pytest.raises(ReconcilerError, match="processes of the last one do not end"):
        prober._put_off(patient)


def test_a_group_that_is_just_going_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "MOUNT", str(tmp_path))
    monkeypatch.setattr(cgroups, "form", lambda: "v2")
    monkeypatch.setattr(cgroups, "members", lambda _: {1 << 22})
    (tmp_path / "part" / "cgroup.kill").mkdir(parents=True)  # can't be written to
    assert not cgroups.kill_part("part")


def test_who_only_asks_about_a_lock_does_not_keep_it_from_who_wants_it(tmp_path):
    path = str(tmp_path / "lock")
    asks = locks.try_hold(path)
    assert locks.take_over(path, timeout=0.05) is None
    timer = threading.Timer(0.1, os.close, (asks,))
    timer.start()
    fd = locks.take_over(path, timeout=60.0)
    assert fd is not None
    assert locks.is_held(path)
    os.close(fd)
    timer.join()
