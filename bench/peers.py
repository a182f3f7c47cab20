"""The peers: how each of them is set up, and which commands a user of it types for each operation.

A loop's commands are run one after another, as a shell script does. Everywhere: the same image, restart policy, links and
volumes, detached, logs into plain files, nothing pulled.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stacks import IMAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox import Sandbox
    from stacks import Container, Stack

    Commands = list[list[str]]

RESTART = "unless-stopped"


class Peer:
    """Operations as commands. `change` and `unchanged` are empty where the peer has no such operation."""

    name = ""
    title = ""
    hide_unified = False
    checks_health = True

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.data = sandbox.data

    def prepare(self, image: str) -> None:
        """Start what has to run beforehand and load the image."""
        raise NotImplementedError

    def version(self) -> str:
        raise NotImplementedError

    def write(self, stack: Stack) -> None:
        """Put the stack where the peer reads it."""

    def up(self, stack: Stack) -> Commands:
        raise NotImplementedError

    def unchanged(self, stack: Stack) -> Commands:
        """Up again, with nothing to do."""
        raise NotImplementedError

    def change(self, stack: Stack) -> Commands:
        """Bring the changed first container up, and what links to it; `write` has been called with the new stack."""
        raise NotImplementedError

    def ps(self, stack: Stack) -> Commands:
        raise NotImplementedError

    def down(self, stack: Stack) -> Commands:
        """Remove the containers, keep the volumes."""
        raise NotImplementedError

    def forget(self, stack: Stack) -> Commands:
        """Remove the volumes too, untimed: the next up makes them."""
        raise NotImplementedError

    def execute(self, name: str, *command: str) -> Commands:
        """Run a command in the container of that name, to its end."""
        raise NotImplementedError

    def pull(self, image: str) -> Commands:  # noqa: ARG002 - not every peer can
        """Fetch and unpack an image from the sandbox's registry."""
        return []

    def drop(self, image: str) -> Commands:  # noqa: ARG002
        """Remove the image and all that is kept of it, untimed."""
        return []

    def stop_daemon(self) -> None:
        """Nothing to do without a daemon; what runs in the sandbox ends with it in any case."""

    def _file(self, stack: Stack) -> str:
        return os.path.join(self.data, f"{stack.name}.yaml")

    def _print(self, *command: str) -> str:
        self.sandbox.run(command)
        return self.sandbox.output().strip()


class Loop(Peer):
    """A command line with `run`, in a loop."""

    tool: tuple[str, ...] = ()

    def _run(self, stack: Stack, container: Container) -> list[str]:
        words = [*self.tool, "run", "--detach", "--name", container.key, "--restart", RESTART, "--pull", "never"]
        for name, value in container.environment.items():
            words += ["--env", f"{name}={value}"]
        if container.volume:
            words += ["--volume", ":".join(container.volume)]
        if container.check:
            words += ["--health-cmd", container.check]
        if container.port:
            words += ["--publish", ":".join(str(port) for port in container.port)]
        return [*words, *self._network(stack, container), IMAGE, *container.command]

    def _network(self, stack: Stack, container: Container) -> list[str]:
        raise NotImplementedError

    def _remove(self, containers: Sequence[Container]) -> Commands:
        """Ask the containers to stop, then remove them."""
        raise NotImplementedError

    def up(self, stack: Stack) -> Commands:
        return [self._run(stack, container) for container in stack.containers]

    def unchanged(self, stack: Stack) -> Commands:  # noqa: ARG002 - a loop can't tell
        return []

    def change(self, stack: Stack) -> Commands:
        old = stack.followers
        return [*self._remove(old[::-1]), *(self._run(stack, container) for container in old)]

    def ps(self, stack: Stack) -> Commands:  # noqa: ARG002 - all there are
        return [[*self.tool, "ps"]]

    def execute(self, name: str, *command: str) -> Commands:
        return [[*self.tool, "exec", name, *command]]

    def down(self, stack: Stack) -> Commands:
        return self._remove(stack.containers[::-1])

    def forget(self, stack: Stack) -> Commands:
        return [[*self.tool, "volume", "rm", name] for name in stack.volumes]


class DockerRun(Loop):
    """`docker run` in a loop, against a dockerd of its own."""

    name = "docker"
    title = "`docker run` loop"
    tool = ("/usr/bin/docker",)

    def prepare(self, image: str) -> None:
        socket = start_dockerd(self.sandbox)
        self.sandbox.env["DOCKER_HOST"] = f"unix://{socket}"
        self.sandbox.run([*self.tool, "load", "--input", image])

    def version(self) -> str:
        client = self._print(*self.tool, "version", "--format", "{{.Server.Version}}")
        return f"dockerd {client} (Debian docker.io)"

    def pull(self, image: str) -> Commands:
        return [[*self.tool, "pull", "--quiet", image]]

    def drop(self, image: str) -> Commands:
        return [[*self.tool, "rmi", image]]

    def _network(self, stack: Stack, container: Container) -> list[str]:  # noqa: ARG002 - the default bridge
        return [word for target in container.links for word in ("--link", f"{target}:{target}")]

    def _remove(self, containers: Sequence[Container]) -> Commands:
        keys = [container.key for container in containers]
        return [[*self.tool, "stop", *keys], [*self.tool, "rm", *keys]]  # rm --force would kill without asking


class Compose(Peer):
    """docker-compose (Debian's, 1.29), against a dockerd of its own.

    Its tasks for services hold its limit of parallel work while their tasks for containers wait for it: more than 64
    services, its default, hang for ever.
    """

    name = "compose"
    title = "docker-compose"
    checks_health = False  # that is dockerd, who is measured already

    def prepare(self, image: str) -> None:
        socket = start_dockerd(self.sandbox)
        self.sandbox.env |= {"DOCKER_HOST": f"unix://{socket}", "COMPOSE_HTTP_TIMEOUT": "600"}
        self.sandbox.env["COMPOSE_PARALLEL_LIMIT"] = "1000"
        self.sandbox.run(["/usr/bin/docker", "load", "--input", image])

    def version(self) -> str:
        return f"docker-compose {self._print('docker-compose', 'version', '--short')} (Debian)"

    def write(self, stack: Stack) -> None:
        write_file(self._file(stack), ['version: "2.4"', *services("services", stack)])

    def _compose(self, stack: Stack, *words: str) -> list[str]:
        return ["docker-compose", "--file", self._file(stack), "--project-name", stack.name, "--no-ansi", *words]

    def up(self, stack: Stack) -> Commands:
        return [self._compose(stack, "up", "--detach", "--no-build")]

    def unchanged(self, stack: Stack) -> Commands:
        return self.up(stack)

    def change(self, stack: Stack) -> Commands:
        return [self._compose(stack, "up", "--detach", "--no-build", "--always-recreate-deps")]

    def ps(self, stack: Stack) -> Commands:
        return [self._compose(stack, "ps")]

    def execute(self, name: str, *command: str) -> Commands:  # noqa: ARG002 - `docker exec` does not care who made it
        return []

    def down(self, stack: Stack) -> Commands:
        # Now and then dockerd refuses to remove the network, for good: it "has active endpoints". The containers are gone.
        down = " ".join(self._compose(stack, "down"))
        return [["/bin/sh", "-c", f"{down} || true"]]

    def forget(self, stack: Stack) -> Commands:
        return [["/usr/bin/docker", "volume", "rm", f"{stack.name}_{name}"] for name in stack.volumes]


class PodmanRun(Loop):
    """`podman run` in a loop; links are names on a network that is there already.

    crun refuses hybrid cgroup machines, so it is shown a v1 machine there: it would be at a loss with runc.
    """

    name = "podman"
    title = "`podman run` loop"
    hide_unified = True
    checks_health = False  # it leaves that to timers of systemd
    _network_name = "bench"

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self.tool = (
            "podman",
            *("--tmpdir", "/run/bench/tmp", "--network-config-dir", os.path.join(self.data, "networks")),
        )

    def prepare(self, image: str) -> None:
        configuration = os.path.join(self.data, "containers.conf")
        lines = ["[containers]", 'log_driver = "k8s-file"', "[engine]", 'runtime = "crun"']
        lines += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"', "[network]", 'network_backend = "netavark"']
        write_file(configuration, lines)
        storage = os.path.join(self.data, "storage.conf")
        places = [f'graphroot = "{self.data}/root"', 'runroot = "/run/bench/runroot"']
        write_file(storage, ["[storage]", 'driver = "overlay"', *places])
        self.sandbox.env |= {"CONTAINERS_CONF": configuration, "CONTAINERS_STORAGE_CONF": storage}
        self.sandbox.run([*self.tool, "load", "--input", image], [*self.tool, "network", "create", self._network_name])

    def version(self) -> str:
        return f"podman {self._print(*self.tool, 'version', '--format', '{{.Client.Version}}')} with crun, netavark (Debian)"

    def pull(self, image: str) -> Commands:
        return [[*self.tool, "pull", "--quiet", "--tls-verify=false", image]]

    def drop(self, image: str) -> Commands:
        return [[*self.tool, "rmi", image]]

    def _network(self, stack: Stack, container: Container) -> list[str]:  # noqa: ARG002 - names need no options
        return ["--network", self._network_name] if stack.linked else []

    def _remove(self, containers: Sequence[Container]) -> Commands:
        return [[*self.tool, "rm", "--force", *(container.key for container in containers)]]  # it does ask first


class Reconciler(Peer):
    """This project, with its embedded engine."""

    name = "reconciler"
    title = "**reconciler**"

    _project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self._program = os.path.join(self._project, ".venv/bin/reconciler")
        sandbox.env["RECONCILER_ROOT"] = os.path.join(self.data, "root")

    def prepare(self, image: str) -> None:
        python = os.path.join(self._project, ".venv/bin/python")
        self.sandbox.run(
            [python, "-m", "compileall", "-q", os.path.join(self._project, "reconciler")],
            [self._program, "load", "--quiet", image],
        )

    def version(self) -> str:
        own = self._print(self._program, "--version").splitlines()[0]
        python = self._print(os.path.join(self._project, ".venv/bin/python"), "--version")
        return f"{own} ({python})"

    def write(self, stack: Stack) -> None:
        head = ["apiVersion: reconciler/v1", "kind: Stack", f"name: {stack.name}"]
        write_file(self._file(stack), [*head, *services("containers", stack)])

    def up(self, stack: Stack) -> Commands:
        return [[self._program, "apply", self._file(stack)]]

    def unchanged(self, stack: Stack) -> Commands:
        return self.up(stack)

    def change(self, stack: Stack) -> Commands:
        return self.up(stack)

    def ps(self, stack: Stack) -> Commands:  # noqa: ARG002 - all there are
        return [[self._program, "ps"]]

    def execute(self, name: str, *command: str) -> Commands:
        return [[self._program, "exec", name, *command]]

    def down(self, stack: Stack) -> Commands:
        return [[self._program, "down", self._file(stack)]]

    def pull(self, image: str) -> Commands:
        return [[self._program, "pull", "--quiet", image]]

    def drop(self, image: str) -> Commands:
        return [[self._program, "rmi", image]]

    def forget(self, stack: Stack) -> Commands:
        return [[self._program, "down", "--volumes", "--yes", self._file(stack)]] if stack.volumes else []


def start_dockerd(sandbox: Sandbox) -> str:
    """Start a dockerd with folders, socket and bridge of its own; returns the socket's path."""
    socket = "/run/bench-docker.sock"
    command = ["dockerd", "--data-root", os.path.join(sandbox.data, "root"), "--exec-root", "/run/bench-docker"]
    command += ["--pidfile", "/run/bench-docker.pid", "--host", f"unix://{socket}", "--storage-driver", "overlay2"]
    sandbox.start([*command, "--config-file", write_file(os.path.join(sandbox.data, "daemon.json"), ["{}"])], socket)
    return socket


def services(key: str, stack: Stack) -> list[str]:
    """The part that Compose files and our own specs spell alike."""
    lines = [f"{key}:"]
    for container in stack.containers:
        quoted = ", ".join("'{}'".format(word.replace("'", "''")) for word in container.command)
        lines += [f"  {container.key}:", f"    image: {IMAGE}", f"    command: [{quoted}]", f"    restart: {RESTART}"]
        if container.environment:
            pairs = ", ".join(f'{name}: "{value}"' for name, value in container.environment.items())
            lines += [f"    environment: {{{pairs}}}"]
        if container.links:
            lines += [f"    links: [{', '.join(container.links)}]"]
        if container.port:
            lines += [f'    ports: ["{container.port[0]}:{container.port[1]}"]']
        if container.check:
            lines += [f'    healthcheck: {{test: "{container.check}"}}']
        if container.volume:
            lines += [f'    volumes: ["{":".join(container.volume)}"]']
    if stack.volumes:
        lines += ["volumes:", *(f"  {name}: {{}}" for name in stack.volumes)]
    return lines


def write_file(path: str, lines: Sequence[str]) -> str:
    """Write lines; returns the path."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path
