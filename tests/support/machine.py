"""A pair of roots of a test's own, with the tiny image, the real command and the runtime; and its end without remains."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from support import world

from reconciler.engine.kernel import programs
from reconciler.engine.paths import Paths
from reconciler.runtimes.embedded.console import EmbeddedConsole
from reconciler.runtimes.embedded.runtime import EmbeddedRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IMAGES = os.path.join(PROJECT, "build", "images")
PREFIX = os.path.join(tempfile.gettempdir(), "rclt-")
COMMAND = os.path.join(os.path.dirname(os.path.abspath(__file__)), "command.py")

PACE = float(os.environ.get("RECONCILER_TEST_PACE", "1"))
"""How many times longer than usual this machine is given for everything: more than 1 where it is emulated."""


def paced(seconds: float) -> float:
    """A time that is enough on a usual machine, as what is enough on this one."""
    return seconds * PACE


def duration(seconds: float) -> str:
    """The same for a spec: "2s"."""
    return f"{paced(seconds):g}s"


def image(name: str) -> str:
    """The archive of an image of examples/images, built when it is not there."""
    path = os.path.join(IMAGES, f"{name}.tar")
    subprocess.run([os.path.join(PROJECT, "examples", "images", "build.py"), name], check=True, stdout=sys.stderr)
    return path


def until(condition: Callable[[], Any], limit: float = 30.0) -> Any:
    """What `condition` returned when it was true first; AssertionError when it is not in `limit` (paced) seconds."""
    end = time.monotonic() + paced(limit)
    while not (value := condition()):
        assert time.monotonic() < end, f"never came true: {condition}"
        time.sleep(0.005)
    return value


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


class Machine:
    """Everything of it lies in `folder`, which is removed at the end; with `disk` its root is a disk of that size ("40m")."""

    def __init__(self, folder: str = "", *, images: bool = True, disk: str = "") -> None:
        self.folder = folder or tempfile.mkdtemp(prefix=PREFIX)
        self._mark = open(os.path.join(self.folder, "in-use"), "w", encoding="utf-8")  # noqa: SIM115 - held to the end
        fcntl.flock(self._mark, fcntl.LOCK_EX)
        self.root, self.run = os.path.join(self.folder, "root"), os.path.join(self.folder, "run")
        for path in (self.root, self.run):
            os.makedirs(path, mode=0o700, exist_ok=True)
        self.paths = Paths.of(self.root, self.run)
        self._has_disk = bool(disk)
        if disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk},mode=700", "tmpfs", self.root], check=True)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RECONCILER_")},
            "RECONCILER_ROOT": self.root,
            "RECONCILER_RUN": self.run,
            "COLUMNS": "200",
        }
        self._runtime: EmbeddedRuntime | None = None
        self.ids: set[str] = set()
        if images:
            self.console.load(image("tiny"))

    def free(self) -> int:
        """Bytes that the disk of its root has left."""
        facts = os.statvfs(self.root)
        return facts.f_bavail * facts.f_frsize

    def resize_disk(self, free: int) -> None:
        """Have that many bytes free on its disk, up to a page."""
        facts = os.statvfs(self.root)
        size = (facts.f_blocks - facts.f_bavail) * facts.f_frsize + free
        subprocess.run(["mount", "-o", f"remount,size={size}", self.root], check=True)

    @property
    def runtime(self) -> EmbeddedRuntime:
        if self._runtime is None:
            self._runtime = EmbeddedRuntime(self.root, self.run)
        return self._runtime

    def restart(self) -> None:
        """The next use opens the runtime anew, as another process would."""
        if self._runtime:
            self._runtime.engine.store.close()
            self._runtime = None

    @property
    def console(self) -> EmbeddedConsole:
        return EmbeddedConsole(self.engine)

    @property
    def engine(self) -> Any:
        return self.runtime.engine

    def record(self, name: str) -> Any:
        return self.engine.containers.find(name)

    def state(self, name: str) -> str:
        return str(self.engine.containers.status(self.record(name)).state)

    def argv(self, *arguments: str) -> list[str]:
        """The command under the audit hook."""
        return [sys.executable, COMMAND, os.path.join(self.folder, "findings"), *arguments]

    def cli(
        self, *arguments: str, code: int | None = 0, data: str = "", environment: Mapping[str, str] | None = None
    ) -> Ran:
        """Run the command to its end, and see that it ended with `code` (None: whatever)."""
        done = subprocess.run(
            self.argv(*arguments),
            input=data.encode(),
            capture_output=True,
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            timeout=paced(300),
            check=False,
        )
        ran = Ran(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
        self.check_audit()
        assert code is None or ran.code == code, ran
        assert "Traceback" not in ran.err, ran
        return ran

    def check_audit(self) -> None:
        """No command made an effect behind the kernel's back."""
        with (
            contextlib.suppress(FileNotFoundError),
            open(os.path.join(self.folder, "findings"), encoding="utf-8") as file,
        ):
            raise AssertionError(file.read())

    def spec(self, document: dict[str, Any] | str, name: str = "stack.yaml") -> str:
        """A spec file; of a mapping only `containers` (and `volumes`) are needed, and dollars are dollars."""
        path = os.path.join(self.folder, name)
        if not isinstance(document, str):
            head = {"apiVersion": "reconciler/v1", "kind": "Stack", "name": "stack"}
            document = yaml.safe_dump({**head, **document}, sort_keys=False).replace("$", "$$")
        with open(path, "w", encoding="utf-8") as file:
            file.write(document)
        return path

    def apply(self, document: dict[str, Any] | str, *options: str, code: int | None = 0) -> Ran:
        return self.cli("apply", *options, self.spec(document), code=code)

    def exec(self, name: str, *command: str, code: int | None = 0) -> str:
        return self.cli("exec", name, *command, code=code).out

    def clean(self) -> None:
        """Remove all containers and volumes by the product's own means."""
        console = self.console
        for container in console.containers():
            self.ids.add(container.id)
            console.remove(container.id, force=True, volumes=True)
        for volume in console.volumes():
            console.remove_volume(volume.name)
        self.runtime.tidy()

    def end(self) -> list[str]:
        """Remove everything; returns what was left all the same (by then it is gone, too)."""
        try:
            end_keeper(self.paths)
            self.clean()
            left = until_gone(self.leftovers)
        finally:
            self.sweep()
        return left

    def leftovers(self) -> list[str]:
        """What is left now, but for children of ours that have ended."""
        programs.reap_detached()
        own = {f"mount {self.root}"} if self._has_disk else set()
        return [line for line in world.leftovers(self.paths, tuple(self.ids)) if line not in own]

    def sweep(self) -> None:
        """By force, for what the product could not or was not asked to remove."""
        self.restart()
        for pid in world.processes_of(self.paths):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until_gone(lambda: programs.reap_detached() or list(world.processes_of(self.paths)))
        for line in reversed(world.mounts.mounts_below(self.folder)):
            subprocess.run(["umount", "--lazy", line], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self.paths.bridge], check=False, capture_output=True)
        subprocess.run(["nft", "delete", "table", "ip", self.paths.table], check=False, capture_output=True)
        for hierarchy in world.cgroups.hierarchies():
            for folder, _, _ in os.walk(os.path.join(hierarchy, self.paths.cgroup), topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._mark.close()


def end_keeper(paths: Paths) -> None:
    """It stays a while after its last work, and may be killed at any time."""
    for pid, line in world.processes_of(paths).items():
        if f" keep {paths.root} {paths.run}" in line:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def until_gone(look: Callable[[], list[Any]], limit: float = 60.0) -> list[Any]:
    """What `look` still finds after a while: monitors and links need a moment to go."""
    end = time.monotonic() + paced(limit)
    pause = 0.01
    while (found := look()) and time.monotonic() < end:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)  # a look starts programs, which on a slow machine hold up what it waits for
    return found


def sweep_killed_runs() -> list[str]:
    """Remove what test runs that were killed have left; returns their folders."""
    swept = []
    for folder in glob.glob(PREFIX + "*"):
        try:
            with open(os.path.join(folder, "in-use"), "a", encoding="utf-8") as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            continue
        Machine(folder, images=False).sweep()
        swept.append(folder)
    return swept
