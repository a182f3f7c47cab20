"""Secrets on their way into a container: in no command line, which all users of a machine can read, and in no output."""

from __future__ import annotations

import os
import subprocess

import pytest

from reconciler.engine.kernel import files

pytestmark = pytest.mark.kernel

SECRETS = ("hunter2-of-the-root", "hunter2-of-the-link", "hunter2-of-the-address", "hunter2-of-the-option")
STACK = {
    "containers": {
        "db": {
            "image": "tiny",
            "environment": {"MYSQL_ROOT_PASSWORD": SECRETS[1]},
            "command": ["sh", "-c", "sleep 2"],
            "restart": "no",
        },
        "web": {
            "image": "tiny",
            "environment": {"API_TOKEN": SECRETS[0], "DATABASE_URL": f"mysql://root:{SECRETS[2]}@db/blog"},
            "links": ["db"],
            "command": ["sh", "-c", 'test "$API_TOKEN" && test "$DB_ENV_MYSQL_ROOT_PASSWORD" && echo both'],
            "restart": "no",
        },
    }
}


def test_secrets_are_in_no_command_line_no_log_and_no_output(machine):
    trace = os.path.join(machine.folder, "trace")
    spec = machine.spec(STACK)
    # Every program that is started is seen, also those that are gone after a moment. It ends with the monitors.
    command = ["strace", "-f", "-qq", "-s", "100000", "-e", "trace=execve", "-o", trace, *machine.argv("apply", spec)]
    done = subprocess.run(
        command, env=machine.environment, cwd=machine.folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done
    started = files.read_text(trace)
    for program in ("conmon", "crun", '"sh"'):
        assert program in started
    assert machine.cli("logs", "web").out == "both\n"

    said = [started, done.stdout, done.stderr]
    changed = {**STACK["containers"]["web"], "command": ["sh", "-c", "sleep 1", "--password", SECRETS[3]]}
    other = machine.spec({"containers": {**STACK["containers"], "web": changed}})
    wrong = machine.spec({"containers": {"web": {**changed, "environment": {"API_TOKEN": [SECRETS[0]]}}}}, "wrong.yaml")
    for code, arguments in (
        (None, ("plan", other)),
        (None, ("plan", "--json", other)),
        (None, ("validate", other)),
        (0, ("inspect", "web", "db")),
        (0, ("ps", "-a", "--no-trunc")),
        (0, ("ps", "-a", "--json")),
        (1, ("exec", "web", "true")),
        (1, ("apply", wrong)),
        (None, ("apply", other)),
        (0, ("inspect", "web")),
        (0, ("ps", "-a", "--no-trunc")),
        (0, ("down", other)),
    ):
        ran = machine.cli(*arguments, code=code)
        assert ran.out or ran.err
        said += [ran.out, ran.err]
    for folder, _, names in os.walk(machine.paths.cache):
        said += [files.read_text(os.path.join(folder, name)) for name in names]
    for secret in SECRETS:
        assert not [text for text in said if secret in text]
