import os
import subprocess
import sys

import pytest

from reconciler.cli.main import main

HERE = os.path.dirname(__file__)


class Ran:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    """No test touches the machine's own roots, nor depends on the caller's terminal."""
    for variable, folder in (("RECONCILER_ROOT", "root"), ("RECONCILER_RUN", "run")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    for variable in ("RECONCILER_RUNTIME", "NO_COLOR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TZ", "UTC")


@pytest.fixture
def call(capfd):
    """Run one command line in this process: `call(machine, "ps", "-a")`."""

    def run(machine, *argv):
        capfd.readouterr()
        code = main(argv, machine)
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def program(tmp_path):
    """Run the command line as a process of its own, as users do."""

    def run(*argv, **options):
        command = [sys.executable, "-c", "from reconciler.cli.main import entry; entry()", *argv]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, **options)
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
