"""`reconciler stats`: tables and rates, on a machine whose containers come and go."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios

import pytest
from machines import Shelf, not_found

from reconciler.cli.main import main
from reconciler.cli.verbs import stats
from reconciler.kits.frozen import replace
from reconciler.runtimes.console import Usage

WEB = Usage(
    *("7f3a" * 16, "web", "blog", "web", True, 100.0, 7.0, 25 << 20, 100 << 20, 1234, 5600, 0, 72_800_000),
    processes=12,
)
JOB = Usage("00aa" * 16, "job", "blog", "job")
HEADER = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O          BLOCK I/O     PIDS"


class Metered(Shelf):
    """Each look gives the next of `looks`; the last one ends with Ctrl-C."""

    def __init__(self, *looks):
        super().__init__()
        self.looks = list(looks)

    def usage(self, names=(), *, stopped=False):
        if not self.looks:
            raise KeyboardInterrupt
        found = self.looks.pop(0)
        if names and names[0] not in [one.name for one in found]:
            raise not_found("container", names[0])
        return tuple(one for one in found if (one.name in names if names else one.running or stopped))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(stats, "INTERVAL", 0.0)


def later(usage, seconds, processor):
    return replace(usage, at=usage.at + seconds, processor=usage.processor + processor)


def test_a_rate_is_made_of_two_looks(call):
    machine = Metered([WEB, JOB], [later(WEB, 2.0, 3.0), JOB])
    assert call(machine, "stats", "--no-stream", "-a").out.splitlines() == [
        HEADER,
        "7f3a7f3a7f3a   web       150.00%   25MiB / 100MiB      25.00%    1.23kB / 5.6kB   0B / 72.8MB   12",
        "00aa00aa00aa   job       0.00%     0B / 0B             0.00%     0B / 0B          0B / 0B       0",
    ]
    assert not machine.looks


def test_what_the_kernel_does_not_count_is_unknown_not_nothing(call):
    web = replace(WEB, read=None, written=None)
    table = call(Metered([web], [web]), "stats", "--no-stream").out
    assert "5.6kB   -- / --     12" in table.splitlines()[1]
    (document,) = json.loads(call(Metered([web], [web]), "stats", "--no-stream", "--json").out)
    assert (document["block_read"], document["block_written"]) == (None, None)


def test_json_has_numbers(call):
    machine = Metered([WEB, JOB], [later(WEB, 2.0, 3.0), JOB])
    (web,) = json.loads(call(machine, "stats", "--no-stream", "--json").out)
    assert (web["stack"], web["cpu_percent"], web["memory_percent"], web["processes"]) == ("blog", 150.0, 25.0, 12)
    ran = call(Metered([WEB], [later(WEB, 1.0, 0.5)], [later(WEB, 2.0, 0.75)]), "stats", "--json")
    assert ran.code == 130
    assert [json.loads(line)[0]["cpu_percent"] for line in ran.out.splitlines()] == [50.0, 25.0]


def test_what_comes_counts_from_its_second_look_and_what_goes_stays_when_it_was_named(call):
    looks = [[JOB], [WEB], [later(WEB, 1.0, 0.1)], []]
    ran = call(Metered(*looks), "stats")
    assert [line.split()[2] for line in ran.out.splitlines() if " web " in line] == ["--", "10.00%"]
    ran = call(Metered([WEB], [later(WEB, 1.0, 0.1)], []), "stats", "web")
    assert [line.split()[:3] for line in ran.out.splitlines() if " web " in line] == [
        ["7f3a7f3a7f3a", "web", "10.00%"],
        ["--", "web", "--"],
    ]
    assert call(Metered([JOB]), "stats", "web").code == 1


def test_one_that_was_started_again_does_not_count_backwards(call):
    again = replace(WEB, at=101.0, processor=0.5)
    assert json.loads(call(Metered([WEB], [again]), "stats", "--no-stream", "--json").out)[0]["cpu_percent"] == 0.0


class Terminal:
    """A screen of this size, and what is on it after all that was written."""

    def __init__(self, width, height):
        self.outer, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.stream = os.fdopen(inner, "w", encoding="utf-8")
        self.screen, self.row, self.column = [], 0, 0

    def read(self):
        """Take in what was written since the last look; returns it."""
        self.stream.flush()
        text = os.read(self.outer, 1 << 16).decode()
        for command, line in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z])|([^\x1b\r\n]+)|\r\n", text):
            if line:
                self.screen += [""] * (self.row + 1 - len(self.screen))
                self.screen[self.row] = line + self.screen[self.row][len(line) :]
                self.column = len(line)
            elif command == "\x1b[2J":
                self.screen = []
            elif command == "\x1b[H":
                self.row = self.column = 0
            elif command == "\x1b[K":
                self.screen[self.row] = self.screen[self.row][: self.column]
            elif command == "\x1b[J":
                del self.screen[self.row :]
            elif not command:
                self.row, self.column = self.row + 1, 0
            else:
                raise AssertionError(f"{command!r} leaves the terminal as it should not be")
        return text


def test_a_terminal_is_drawn_over_in_place_and_left_as_it_was(monkeypatch):
    terminal = Terminal(60, 5)
    before = termios.tcgetattr(terminal.outer)
    other = replace(WEB, id="bb", name="other")
    names = [f"box{number}" for number in range(6)]
    crowd = [replace(WEB, id=name, name=name) for name in names]
    looks = [[replace(WEB, name="a-long-name")], [WEB, other], [other], crowd[:3], crowd, [other]]
    screens = []

    class Drawn(Metered):
        def usage(self, *arguments, **options):
            if len(self.looks) < len(looks):
                assert terminal.read().count("\x1b[2J") == (not screens)
                screens.append(list(terminal.screen))
            return super().usage(*arguments, **options)

    monkeypatch.setattr(sys, "stdout", terminal.stream)
    assert main(["stats"], Drawn(*looks)) == 130
    assert [[line.split()[1] for line in screen[1:]] for screen in screens] == [
        ["a-long-name"], ["web", "other"], ["other"], names[:3], ["box0", "box1", "and"], ["other"]
    ]  # fmt: skip
    assert all(len(line) <= 60 for screen in screens for line in screen)
    assert all(screen[0].startswith("CONTAINER ID") for screen in screens)
    assert screens[4][-1] == "... and 4 more"
    assert termios.tcgetattr(terminal.outer) == before
    terminal.stream.close()
    os.close(terminal.outer)
