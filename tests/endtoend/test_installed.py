"""What `pipx install .` puts on a machine runs without the folder that it was made from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile

import pytest
from support.machine import PROJECT, image, until

pytestmark = pytest.mark.kernel


def sources():
    """Every file of the package, as the wheel should have it."""
    for folder, folders, names in os.walk(os.path.join(PROJECT, "reconciler")):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), PROJECT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (name,) = os.listdir(folder)
    return os.path.join(folder, name)


def test_a_wheel_has_all_files_and_its_command_keeps_a_container_up(make_machine, wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert packed - set(sources()) == {name for name in packed if ".dist-info/" in name}
    assert not set(sources()) - packed

    machine = make_machine(images=False)
    prefix = os.path.join(machine.folder, "installed")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps",
         "--target", prefix, wheel],
        check=True,
    )  # fmt: skip
    environment = {**machine.environment, "PYTHONPATH": prefix, "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*command):
        done = subprocess.run(
            command, cwd=machine.folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    reconciler = os.path.join(prefix, "bin", "reconciler")
    assert run(sys.executable, "-c", "import reconciler; print(reconciler.__path__[0])").startswith(prefix)
    assert "embedded" in run(reconciler, "version")
    run(reconciler, "load", image("tiny"))
    spec = machine.spec({"containers": {"box": {"image": "tiny", "command": ["sleep", "1000"], "restart": "always"}}})
    run(reconciler, "apply", spec)
    assert "Seccomp:\t2" in run(reconciler, "exec", "box", "cat", "/proc/self/status")
    # The exit hook and the keeper are started by paths of their own, not by this command.
    before = machine.record("box")
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: machine.record("box").generation > before.generation and machine.state("box") == "running")
    assert "nothing to do" in run(reconciler, "apply", spec)
    run(reconciler, "down", spec)
