"""Run by the guest's systemd: the tests, a reboot, the tests of what is to be seen after it; then switch off.

Standard output is a serial line whose other end shows it; its last line tells how it went.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

STATE = "/var/lib/tests.json"
NO_TESTS = 5  # pytest's exit code
PACE = "5"
"""How many times longer than on the host all may take, for emulation is slow and the host has other things to do."""


def main() -> None:
    with open("/project/order.json", encoding="utf-8") as file:
        order = json.load(file)
    if not os.path.exists(STATE):
        codes = [pytest("test_*.py", [*order["tests"], *order["arguments"]])]
        if order["reboot"]:
            _remember({"codes": codes, "again": False})
            end("reboot")
            return
    else:
        with open(STATE, encoding="utf-8") as file:
            before = json.load(file)
        _remember({**before, "again": True})
        if before["again"]:
            print("the guest has booted a third time: it has crashed", flush=True)
        codes = [
            *before["codes"],
            1 if before["again"] else pytest("after_*.py", [order["tests"][0], *order["arguments"]]),
        ]
    print(f"guest: exit code {max((code for code in codes if code != NO_TESTS), default=NO_TESTS)}", flush=True)
    end("poweroff")


def _remember(state: dict[str, Any]) -> None:
    with open(STATE, "w", encoding="utf-8") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())


def pytest(files: str, arguments: list[str]) -> int:
    """The exit code of the tests in those files."""
    options = ["-v", "--color=no", "--durations=5", "-o", f"python_files={files}"]
    environment = {**os.environ, "RECONCILER_GUEST": "1", "RECONCILER_TEST_STRICT": "1", "COLUMNS": "120"}
    environment.setdefault("RECONCILER_TEST_PACE", PACE)
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    process = subprocess.Popen(
        command,
        cwd="/project",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    for line in process.stdout or ():  # by a pipe: to a terminal pytest would draw
        sys.stdout.buffer.write(line)
        sys.stdout.flush()
    return process.wait()


def end(how: str) -> None:
    """Reboot or switch off; what systemctl says of a bus that is not there is of no use to anybody."""
    subprocess.run(["systemctl", "--no-block", how], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
