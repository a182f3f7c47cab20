"""Every effect passes the seam: nothing else in the package changes the system."""

from __future__ import annotations

import os
import types

import pytest
from support import audit

from reconciler.engine.kernel import files, mounts


def _code_of(path, text):
    module = types.ModuleType("planted")
    exec(compile(text, path, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("os.mkdir", "import os\ndef act(folder): os.mkdir(folder + '/made')"),
        ("open", "def act(folder): open(folder + '/made', 'w').close()"),
        ("open", "import os\ndef act(folder): os.close(os.open(folder + '/made', os.O_RDWR | os.O_CREAT))"),
        ("os.remove", "import os\ndef act(folder):\n    try: os.unlink(folder + '/none')\n    except OSError: pass"),
        ("subprocess.Popen", "import subprocess\ndef act(folder): subprocess.run(['true'])"),
        ("os.kill", "import os\ndef act(folder): os.kill(os.getpid(), 0)"),
        ("sqlite3.connect", "import sqlite3\ndef act(folder): sqlite3.connect(folder + '/made').close()"),
        ("ctypes.dlopen", "import ctypes\ndef act(folder): ctypes.CDLL(None)"),
        ("socket.bind", "import socket\ndef act(folder):\n    with socket.socket() as s: s.bind(('127.0.0.1', 0))"),
    ],
)
def test_an_effect_outside_the_kernel_is_found(tmp_path, what, body):
    _code_of(os.path.join(audit.PACKAGE, "executor", "planted.py"), body).act(str(tmp_path))
    seen = audit.take()
    assert seen, "nothing was found"
    assert seen[0].startswith(what)
    assert "planted.py" in seen[0]


def test_the_kernels_own_effects_and_readers_are_not(tmp_path):
    """Also where the kernel calls back into another room, that room answers for what it does itself."""
    files.write_file(tmp_path / "made", b"x")
    _code_of(os.path.join(audit.PACKAGE, "executor", "planted.py"), "def act(path): open(path).close()").act(
        tmp_path / "made"
    )
    assert audit.take() == []
    planted = _code_of(os.path.join(audit.PACKAGE, "engine", "planted.py"), "import os\ndef act(path): os.remove(path)")
    mounts.in_own_thread(lambda: planted.act(tmp_path / "made"))
    assert len(audit.take()) == 1


@pytest.mark.kernel
def test_commands_in_processes_of_their_own_are_watched_too(machine):
    with open(os.path.join(machine.folder, "planted.py"), "w", encoding="utf-8") as file:
        file.write(
            "import os, sys\n"
            "from support import audit\n"
            "code = compile(\"os.mkdir('made')\", audit.PACKAGE + 'cli/planted.py', 'exec')\n"
            "import reconciler.cli.main as main\n"
            "main.whole_run = lambda: exec(code, {'os': os})\n"
        )
    # sitecustomize runs before the command; it plants an effect in the command line's own code
    os.rename(os.path.join(machine.folder, "planted.py"), os.path.join(machine.folder, "sitecustomize.py"))
    tests = os.path.dirname(os.path.dirname(os.path.abspath(audit.__file__)))
    with pytest.raises(AssertionError, match=r"os\.mkdir"):
        machine.cli("ps", environment={"PYTHONPATH": f"{machine.folder}:{tests}"})
    os.remove(os.path.join(machine.folder, "findings"))
