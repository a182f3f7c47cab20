"""Running a command in a container that runs: the OCI runtime's exec with our own standard streams, no monitor.

The process gets the container's namespaces and cgroup, and is confined as its first process is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
from typing import TYPE_CHECKING

from reconciler.engine.containers import apparmor, bundle, catalog, confinement, effective, resources, status
from reconciler.engine.containers.oci import Process
from reconciler.engine.kernel import files, processes, programs, terminals
from reconciler.engine.kernel.rooted import lookup_executable, open_root
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.engine.containers.catalog import Record
    from reconciler.engine.containers.confinement import Privileges
    from reconciler.engine.containers.lifecycle import Lifecycle
    from reconciler.engine.kernel.rooted import Rooted

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def execute(
    lifecycle: Lifecycle,
    name: str,
    command: Sequence[str],
    *,
    interactive: bool = False,
    terminal: bool = False,
    detach: bool = False,
    user: str = "",
    working_dir: str = "",
    environment: Sequence[str] = (),
    privileged: bool = False,
) -> int:
    """Run `command` and return its exit code (signals as 128+n; with `detach` 0 at once).

    Raises ReconcilerError: not running, no such command (exit code 127), not executable (126).
    """
    record = lifecycle.registry.find(name)
    state = lifecycle.registry.status(record).state
    if state == status.PAUSED:
        raise ReconcilerError(f"Container {name} is paused, unpause the container before exec", code="paused")
    if state != catalog.RUNNING:
        raise ReconcilerError(
            f"Container {record.id} is not running",
            code="not-running",
            hint=f"`reconciler start {record.name}`, or see why it ended: `reconciler logs {record.name}`",
        )
    profile = apparmor.profile_of_exec(record.pid, privileged=privileged)
    privileges = confinement.privileges_of(record.config.security, profile, privileged=privileged)
    process = _process(lifecycle, record, command, terminal, user, working_dir, environment, privileges)
    path = os.path.join(lifecycle.paths.bundle(record.id), f"exec-{os.urandom(8).hex()}.json")
    files.write_file(path, json.dumps(process.document()).encode())
    try:
        pid_file = f"{path}.pid"
        options = [*(["--detach"] if detach else []), "--process", path, "--pid-file", pid_file]
        call = lifecycle.runtime.arguments("exec", *options, record.id)
        started = programs.spawn(
            [*_scored(process.oom_score), *call],
            stdin=None if interactive else programs.NULL,
            stdout=None,
            stderr=None,
            new_session=detach,
        )
        with _resizing(pid_file) if terminal else contextlib.nullcontext():
            return _wait(started)
    finally:
        files.remove_file(path)
        files.remove_file(f"{path}.pid")


_SCORED = 'echo "$0" >/proc/self/oom_score_adj; exec "$@"'


def _scored(score: int) -> list[str]:
    """What has the rest of a command line run with that oom_score_adj: crun gives it to a first process only (1.8)."""
    return ["/bin/sh", "-c", _SCORED, str(score)] if score != processes.oom_score() else []


def _wait(process: programs.Started) -> int:
    """Ctrl-C reaches the command too when it has the terminal; it decides whether to end."""
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            code = process.wait()
            return 128 - code if code < 0 else code


@contextlib.contextmanager
def _resizing(pid_file: str) -> Iterator[None]:
    """Pass changes of our terminal's size on to the command's, which the OCI runtime does not do."""

    def resize(_number: int, _frame: object) -> None:
        with contextlib.suppress(OSError, ValueError), open(pid_file, encoding="ascii") as file:
            terminals.copy_size(0, int(file.read()))

    before = signal.signal(signal.SIGWINCH, resize)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _process(
    lifecycle: Lifecycle,
    record: Record,
    command: Sequence[str],
    terminal: bool,
    user: str,
    working_dir: str,
    environment: Sequence[str],
    privileges: Privileges,
) -> Process:
    image = lifecycle.images.resolve(record.image)
    config = record.config
    # /proc/PID/root is the container's root with all its mounts, as the command will see it
    with open_root(f"/proc/{record.pid}/root") as root:
        try:
            who = bundle.user_of(root, user or config.user or image.user, config.groups)
        except ReconcilerError as error:
            error.exit_code = NOT_EXECUTABLE
            raise
        inherited = effective.environment_of(record, image, lifecycle.link_variables(record), who.home, terminal)
        merged = effective.merge_environment(inherited, environment)
        where = working_dir or config.working_dir or image.working_dir or "/"
        _check_folder(root, where)
        _check_command(root, merged, command[0], where)
    rlimits = resources.oci_rlimits(config.ulimits)
    score = processes.lowest_oom_score(config.oom_score)
    return Process(tuple(command), merged, where, who, rlimits, score, terminal, privileges)


def _check_folder(root: Rooted, path: str) -> None:
    try:
        is_folder = stat.S_ISDIR(root.stat(path).st_mode)
    except OSError:
        is_folder = False
    if not is_folder:
        raise ReconcilerError(
            f"exec: the working folder {path} is not there", code="working-dir", exit_code=NOT_EXECUTABLE
        )


def _check_command(root: Rooted, environment: Sequence[str], name: str, working_dir: str) -> None:
    search = next((pair[5:] for pair in environment if pair.startswith("PATH=")), "")
    try:
        found = lookup_executable(root, search, name, working_dir)
    except PermissionError as error:
        raise ReconcilerError(
            f'exec: "{name}": permission denied', code="not-executable", exit_code=NOT_EXECUTABLE
        ) from error
    if found is None:
        why = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        raise ReconcilerError(f'exec: "{name}": {why}', code="no-such-command", exit_code=NOT_FOUND)
