"""The OCI runtime (crun, else runc): which one, how to call it, and its state folder read without calling it.

On a hybrid cgroup machine crun refuses to work until `unified` is hidden: there it runs in a mount namespace of its own,
with a small tmpfs over `unified` (a plain umount would make it leave folders beneath the mount).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from reconciler.engine.containers import status, vetting
from reconciler.engine.kernel import cgroups, files, processes
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.engine.paths import Paths

_HIDING = (
    # What will be the container's process, whose id comes last, joins its group before: it would end with the caller's
    # unit or session.
    'for id; do :; done; case " $* " in *" create "* | *" exec "*) echo $$ 2>/dev/null >"{groups}/$id/cgroup.procs" ;; esac; '
    'mount -t tmpfs -o size=64k,mode=755 tmpfs /sys/fs/cgroup/unified && exec "$@"'
)
"""For a shell in a mount namespace of its own: runs its words where cgroup v2 can't be seen. Crun knows v1 or v2, not both."""


def find_program(name: str) -> str:
    """The absolute path of a program, "" if it is not installed; root's folders are looked at in any case."""
    folders = os.environ.get("PATH", "").split(":")
    for folder in (*folders, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        path = os.path.join(folder, name)
        if folder and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


def find_oci_runtime() -> tuple[str, str]:
    """(kind, path) of the OCI runtime that is used here: crun where it is installed, else runc; ("", "") without either."""
    return next(((kind, path) for kind in ("crun", "runc") if (path := find_program(kind))), ("", ""))


def need_program(name: str, package: str) -> str:
    """Like `find_program`; raises ReconcilerError with the package to install."""
    path = find_program(name)
    if not path:
        raise ReconcilerError(
            f"{name} is not installed, and containers can't run without it",
            code="missing-program",
            hint=f"install it: apt-get install {package}",
        )
    return path


INIT = "/sbin/docker-init"
"""Where a container sees its init program, as with Docker."""

_PATIENCE = 60.0
"""Seconds in which a process that was made comes to wait for its start, on a machine however busy."""

_INITS = ("docker-init", "tini-static", "catatonit")
"""Programs, linked statically, that run another one as `INIT -- PROGRAM ...`, pass signals on to it, and reap orphans."""


def find_init() -> str:
    """The init program of this machine that containers with `init` get as their first process, "" if there is none."""
    return next(filter(None, map(find_program, _INITS)), "")


def need_init() -> str:
    """The same; raises ReconcilerError with the package to install."""
    path = find_init()
    if not path:
        raise ReconcilerError(f"{NO_INIT}, and `init` needs one", code="missing-program", hint=INIT_HINT)
    return path


NO_INIT = "no init program is installed (tini-static or catatonit)"
INIT_PACKAGE = "tini"
INIT_HINT = f"install one: apt-get install {INIT_PACKAGE}"


class OciRuntime(Frozen):
    """`kind` is crun or runc, `command` the program and the words that come before all others, `root` its state."""

    kind: str
    command: tuple[str, ...]
    root: str

    @classmethod
    def choose(cls, paths: Paths) -> OciRuntime:
        """The one that is installed; raises ReconcilerError when none is, or it has a known way out."""
        kind, program = find_oci_runtime()
        if not program:
            raise ReconcilerError(
                "neither crun nor runc is installed, and containers can't run without one",
                code="missing-program",
                hint="install crun: apt-get install crun",
            )
        vetted = vetting.vet(program, kind, paths.cache)
        if vetted.refused:
            message, hint = vetting.refusal(program, vetted)
            raise ReconcilerError(message, code="unsafe-runtime", hint=hint)
        if kind == "crun" and cgroups.form() == "hybrid":
            apart = (need_program("unshare", "util-linux"), "--mount", "--propagation", "slave", "sh", "-c")
            hiding = _HIDING.format(groups=cgroups.unified(paths.cgroup))
            return cls(kind, (*apart, hiding, "sh", program), paths.runtime)
        return cls(kind, (program,), paths.runtime)

    def arguments(self, *arguments: str) -> list[str]:
        """A command line for the runtime."""
        return [*self.command, f"--root={self.root}", *arguments]

    def release(self, container_id: str, pid: int, started: int) -> None:
        """Let a created container's process (its pid and start time) run: what `start` does, without a process for it.

        Raises ReconcilerError when nobody waits at the other end.
        """
        fifo = os.path.join(self.root, container_id, "exec.fifo")
        attempt = self._release_crun if self.kind == "crun" else self._release_runc
        end = time.monotonic() + _PATIENCE
        gone = ReconcilerError(f"container {container_id[:12]} can't be started: its process is gone", code="start")
        process = processes.open_process(pid, started)
        if process < 0:
            raise gone
        try:
            while not attempt(fifo, pid, process):
                # It has not opened its end yet; it does within moments.
                if processes.wait_for_end(process, 0.0005) or time.monotonic() > end:
                    raise gone
        except OSError as error:
            raise gone from error
        finally:
            os.close(process)

    def _release_crun(self, fifo: str, pid: int, process: int) -> bool:
        """Crun's process reads a byte; whether it has got one."""
        try:
            self._write_byte(fifo, pid, process)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            # Nobody reads: not yet, or no more, where a run that was cut off has let it go and came no further.
            if not status.runs_own_program(pid):
                return False
        # Last, and once the process goes on: as long as the fifo is there, the next start does all this again.
        files.remove_file(fifo)
        return True

    def _write_byte(self, fifo: str, pid: int, process: int) -> None:
        with self._held_still(pid, process):
            fd = files.open_for_writing(fifo, os.O_WRONLY | os.O_NONBLOCK)
            try:
                files.write(fd, b"0")
            finally:
                os.close(fd)

    @contextlib.contextmanager
    def _held_still(self, pid: int, process: int) -> Iterator[None]:
        """Crun's process does nothing meanwhile, unless it sleeps, as it should.

        It selects, then reads without blocking, and again at an end of file. A run that was cut off between opening the
        fifo and writing leaves it in that loop, awake; a writer who comes between the two calls, and has not written
        yet, ends it (EAGAIN). A process that sleeps is woken by the byte only.
        """
        if processes.process_state(pid) in {"S", ""}:
            yield
            return
        try:
            processes.send_signal(process, signal.SIGSTOP)
            while processes.process_state(pid) not in {"T", ""}:
                processes.wait_for_end(process, 0.0005)
            yield
        finally:
            # One that was killed by others meanwhile is found to be gone by the caller.
            with contextlib.suppress(ProcessLookupError):
                processes.send_signal(process, signal.SIGCONT)

    def _release_runc(self, fifo: str, _pid: int, process: int) -> bool:
        """Runc's process writes a byte once somebody reads; whether it has come. Who stops reading in between ends it (EPIPE)."""
        fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            poller.register(process, select.POLLIN)  # it has ended
            poller.poll(_PATIENCE * 1000)
            with contextlib.suppress(BlockingIOError):
                if os.read(fd, 1):
                    files.remove_file(fifo)
                    return True
            return False
        finally:
            os.close(fd)


def write_script(path: str, text: str) -> None:
    """Write a file, for a shell to read, unless it is there with the same content."""
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except OSError:
        pass
    files.make_folders(os.path.dirname(path))
    files.replace_file(path, text.encode(), 0o600, durable=False)


def message_of(text: str) -> str:
    """The readable part of what crun or runc prints: its last line, JSON log lines taken apart."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return "it said nothing"
    last = lines[-1]
    if last.startswith("{"):
        with contextlib.suppress(ValueError, AttributeError):
            last = str(json.loads(last).get("msg") or last)
    return last
