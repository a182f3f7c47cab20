"""Stand-ins for a runtime, for tests of the command line."""

from __future__ import annotations

from reconciler.kits.errors import ReconcilerError
from reconciler.runtimes.base import Capabilities
from reconciler.runtimes.console import RemovedImages


def not_found(kind, name):
    return ReconcilerError(f"no such {kind}: {name}", code="not-found")


class Shelf:
    """A machine with fixed contents that writes down what it was asked to do."""

    capabilities = Capabilities("shelf")

    def __init__(self, containers=(), images=(), volumes=(), logs=(), objects=None, findings=(), facts=None):
        self._containers = tuple(containers)
        self._images = tuple(images)
        self._volumes = tuple(volumes)
        self._logs = tuple(logs)
        self._objects = objects or {}
        self._findings = tuple(findings)
        self._facts = facts or {}
        self.calls = []
        self.pruned = RemovedImages((("untagged", "<none>"), ("deleted", "sha256:abc")), 12_345_678)

    def containers(self):
        return self._containers

    def container(self, name):
        for container in self._containers:
            if name in (container.name, container.id, f"{container.stack}/{container.key}"):
                return container
        raise not_found("container", name)

    def inspect(self, name, kind=""):
        if name not in self._objects:
            raise not_found(kind or "object", name)
        return self._objects[name]

    def logs(self, name, options):
        self.container(name)
        self.calls.append(("logs", name, options))
        yield from self._logs

    def exec(self, name, options):
        self.calls.append(("exec", name, options))
        return 7

    def images(self):
        return self._images

    def volumes(self):
        return self._volumes

    def container_size(self, name):
        self.container(name)
        return 1000

    def volume_size(self, _name):
        return 20_000

    def system_check(self):
        return self._findings

    def system_info(self):
        return self._facts

    def __getattr__(self, verb):
        def call(name="", *args, **options):
            if name and verb not in {"create_volume", "import_image"}:
                self._check(verb, name)
            self.calls.append((verb, name, *args, *sorted(options.items())))
            match verb:
                case "load":
                    return ("mariadb:10.11", "a\x1b[2Jb:1")
                case "remove_image":
                    return RemovedImages((("untagged", name), ("deleted", "sha256:abc")), 7)
                case "prune_images":
                    return self.pruned
            return name

        return call

    def _check(self, verb, name):
        if verb in ("start", "stop", "restart", "kill", "pause", "unpause", "wait", "remove"):
            self.container(name)
        if verb == "remove_image" and name == "nosuch":
            raise not_found("image", name)
        if verb == "remove_volume" and name not in [volume.name for volume in self._volumes]:
            raise not_found("volume", name)
