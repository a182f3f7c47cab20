"""Which OCI runtimes are not to be used, by what they say of themselves and what their distribution says."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from reconciler.engine.containers import runtime, vetting
from reconciler.engine.containers.runtime import OciRuntime
from reconciler.engine.paths import Paths
from reconciler.engine.system import checks
from reconciler.kits.errors import ReconcilerError

LEAK = "CVE-2024-21626"
MISDIRECTED = "CVE-2025-31133, CVE-2025-52565 and CVE-2025-52881"
CHANGELOG = """runc (1.1.7-0ubuntu1~22.04.2) jammy-security; urgency=medium

  * SECURITY UPDATE: container escape via an internal file descriptor leak
    - CVE-2024-21626
"""


def runc(version, commit="v1-0-gabc"):
    return f"runc version {version}\ncommit: {commit}\nspec: 1.0.2-dev\ngo: go1.19.8\nlibseccomp: 2.5.4\n"


@pytest.mark.parametrize(
    ("says", "names"),
    [
        (runc("1.4.0"), []),
        (runc("1.4.0-rc.3"), []),
        (runc("1.4.0-rc.2"), [MISDIRECTED]),
        (runc("1.3.3"), []),
        (runc("1.3.2"), [MISDIRECTED]),
        (runc("1.2.8"), []),
        (runc("1.2.7"), [MISDIRECTED]),
        (runc("2.0.0"), []),
        (runc("1.1.12"), [MISDIRECTED]),
        (runc("1.1.11"), [LEAK, MISDIRECTED]),
        (runc("1.1.5+ds1", "1.1.5+ds1-1"), [LEAK, MISDIRECTED]),
        (runc("1.1.5+ds1", "1.1.5+ds1-1+deb12u1"), [MISDIRECTED]),
        (runc("1.1.7-0ubuntu1~22.04.1", "1.1.7-0ubuntu1~22.04.1"), [LEAK, MISDIRECTED]),
        (runc("1.1.7-0ubuntu1~22.04.2", "1.1.7-0ubuntu1~22.04.2"), [MISDIRECTED]),
        (runc("1.0.0~rc93+ds1", "1.0.0~rc93+ds1-5+deb11u3"), [MISDIRECTED]),
        (runc("1.0.0-rc94"), ["CVE-2021-30465", LEAK, MISDIRECTED]),
        (runc("1.0.0-rc6"), ["CVE-2019-5736", "CVE-2021-30465", LEAK, MISDIRECTED]),
        ("crun version 1.8.1\ncommit: f8a096be\n", []),
        ("crun version 0.10.4\n", ["CVE-2019-18837"]),
        ("what I built myself", []),
        ("", []),
    ],
)
def test_weaknesses_are_told_by_version_build_and_changelog(says, names):
    found = vetting.weaknesses("crun" if says.startswith("crun") else "runc", says, CHANGELOG)
    assert [one.name for one in found] == names


@pytest.mark.kernel
def test_an_unsafe_runtime_is_refused_until_it_is_another(tmp_path, monkeypatch):
    program, asked = tmp_path / "runc", tmp_path / "asked"

    def install(version):
        program.write_text(f"#!/bin/sh\necho x >>{asked}\nprintf 'runc version {version}\\ncommit: x\\n'\n")
        program.chmod(0o755)

    monkeypatch.setattr(runtime, "find_program", lambda name: str(program) if name == "runc" else "")
    paths = Paths.of(str(tmp_path / "root"), str(tmp_path / "run"))
    os.mkdir(paths.root)
    install("1.1.4")
    for _ in range(2):
        with pytest.raises(ReconcilerError, match="not safe to run containers with: CVE-2024-21626") as refused:
            OciRuntime.choose(paths)
    assert refused.value.code == "unsafe-runtime"
    assert "install crun" in refused.value.hint
    assert asked.read_text() == "x\n", "it is asked once"
    engine = SimpleNamespace(paths=paths)
    monkeypatch.setattr(checks, "find_program", runtime.find_program)
    assert checks._oci_runtime(engine).state == "missing"
    install("1.1.12 ")
    assert OciRuntime.choose(paths).kind == "runc"
    finding = checks._oci_runtime(engine)
    assert finding.state == "warning"
    assert "CVE-2025-52881" in finding.message
