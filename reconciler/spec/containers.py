"""One container of a spec, from a tree of the right shape to `model.desired.Container`.

It judges each container by itself; what holds between containers is checked in checks.py. A value that is wrong is
reported and takes its default, so that everything else is looked at as well. For the spec room only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.kits.errors import ReconcilerError
from reconciler.kits.references import parse as parse_reference
from reconciler.kits.source import ENV_FILE, VARIABLE, Origin
from reconciler.kits.text import quote
from reconciler.model import desired
from reconciler.spec import mounts, ports, values
from reconciler.spec.fields import Fields, text_of, words_of
from reconciler.spec.findings import BadValueError, did_you_mean
from reconciler.spec.nodes import Mapping, Node, Scalar, Sequence, origins_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reconciler.sources.tree import Tree
    from reconciler.spec.env_files import Assignment
    from reconciler.spec.findings import Findings
    from reconciler.spec.variables import Variables

    Path = desired.Path

T = TypeVar("T")

SECTION_KEYS = frozenset(
    (
        "platform", "init", "stdin_open", "tty", "group_add",
        "mem_limit", "mem_reservation", "memswap_limit", "mem_swappiness", "oom_kill_disable", "oom_score_adj", "cpus",
        "cpu_shares", "cpu_period", "cpu_quota", "cpuset", "pids_limit", "ulimits", "shm_size", "sysctls",
        "privileged", "cap_add", "cap_drop", "security_opt", "devices", "device_cgroup_rules", "read_only", "tmpfs",
        "extra_hosts", "dns", "dns_search", "dns_opt", "domainname",
    )
)  # fmt: skip
"""What `sections` reads, beside the mounts of type tmpfs under `volumes`."""

_MOUNT_TYPES = ("volume", "bind", "tmpfs", "cluster", "npipe", "image")
_LOCAL_LOGGING = desired.Logging(20 << 20, 5)
"""What Docker's `local` driver keeps when nothing is said."""
_SHORTEST_PROBE = 0.001


class Reader:
    """Reads the containers of one spec. `nodes` collects where each value stands, by path, and `origins` what it came

    from where that is not to be seen of the node that it stands at.
    """

    def __init__(self, tree: Tree, variables: Variables, findings: Findings) -> None:
        self._tree = tree
        self._variables = variables
        self._findings = findings
        self._env_files: dict[str, dict[str, Assignment]] = {}
        self.nodes: dict[Path, Node] = {}
        self.origins: dict[Path, tuple[Origin, ...]] = {}

    def container(self, key: str, at: Node, node: Mapping) -> desired.Container:
        """The container under `key`, whose own scalar is `at`."""
        path: Path = ("containers", key)
        self.nodes[path] = at
        self.attempt(at, values.name, key, "a container")
        read = Fields(self, path, node)
        container = desired.Container(
            key=key,
            name=read.text("container_name", lambda text: values.name(text, "a container"), key),
            image=read.text("image", _image, ""),
            command=read.words("command"),
            entrypoint=read.words("entrypoint"),
            environment=self._environment(path, node),
            labels=self.labels(path, node),
            links=tuple(read.items("links", lambda text: [_link(text)])),
            depends_on=self._depends_on(path, node),
            volumes=self._volumes(path, node),
            volumes_from=tuple(read.items("volumes_from", lambda text: [mounts.volumes_from(text)])),
            ports=tuple(read.items("ports", ports.parse, self._long_port)),
            expose=tuple(dict.fromkeys(read.items("expose", ports.expose))),
            restart=read.text("restart", values.restart, desired.Restart()),
            healthcheck=self._healthcheck(path, node),
            logging=self._logging(path, node),
            user=read.text("user", values.user, ""),
            working_dir=read.text("working_dir", _working_dir, ""),
            hostname=read.text("hostname", lambda text: values.host_name(text, "hostname"), ""),
            stop_signal=read.text("stop_signal", values.stop_signal, ""),
            stop_grace_period=read.text("stop_grace_period", values.duration, 10.0),
            pull_policy=read.text("pull_policy", values.pull_policy, "missing"),
            **self._sections(read, node),
        )
        if not SECTION_KEYS.isdisjoint(node.entries):
            self._find_contradictions(path, container)
        return container

    def _sections(self, read: Fields, node: Mapping) -> dict[str, Any]:
        """The fields of the keys that few containers have. Without one of them nothing that reads them is loaded."""
        items = volumes.items if isinstance(volumes := node.get("volumes"), Sequence) else []
        if SECTION_KEYS.isdisjoint(node.entries) and not any(isinstance(item, Mapping) for item in items):
            return {}
        from reconciler.spec import sections  # noqa: PLC0415 - as said

        return sections.every(read, self._tree)

    def _find_contradictions(self, path: Path, container: desired.Container) -> None:
        from reconciler.spec import limits  # noqa: PLC0415 - loaded by `sections`

        for field, message, hint in limits.contradictions(container):
            self._findings.add(message, self.nodes[(*path, field)], hint=hint)

    def attempt(self, at: Node, function: Callable[..., T], *arguments: Any) -> T | None:
        """What the function makes of its arguments; None, and a finding at `at`, when they are wrong."""
        if isinstance(at, Scalar) and at.failed:
            return None
        try:
            return function(*arguments)
        except (BadValueError, ReconcilerError) as error:
            self._findings.add(error.message, at, hint=error.hint)
            return None

    def mark(self, path: Path, parent: Mapping, key: str) -> None:
        """Remember where the value of `key` stands: a scalar itself, a collection by its key."""
        at, value = parent.entries[key]
        self.nodes[path] = value if isinstance(value, Scalar) and value.text else at
        if found := origins_of(value):
            self.origins[path] = found

    def pairs(self, path: Path, node: Node) -> Iterator[tuple[str, str | None, Node]]:
        """Name, value and place of a map's entries or a list's NAME=value; None for one without a value."""
        if isinstance(node, Mapping):
            for name, (at, value) in node.entries.items():
                if isinstance(value, Scalar) and not value.failed:
                    self.nodes[(*path, name)] = at if value.is_null else value
                    yield name, None if value.is_null else value.text, at
        elif isinstance(node, Sequence):
            for item in node.items:
                if isinstance(item, Scalar) and not item.failed:
                    name, sign, text = item.text.partition("=")
                    self.nodes[(*path, name)] = item
                    yield name, text if sign else None, item

    def labels(self, path: Path, node: Mapping) -> dict[str, str]:
        """The labels of a container or volume; one without a value is empty."""
        at = node.get("labels")
        if at is None:
            return {}
        self.mark((*path, "labels"), node, "labels")
        out = {}
        for name, value, place in self.pairs((*path, "labels"), at):
            if not name:
                self._findings.add("a label has no name", place, hint="write NAME=value")
            out[name] = value or ""
        return out

    def _environment(self, path: Path, node: Mapping) -> dict[str, str]:
        path = (*path, "environment")
        out: dict[str, str] = {}
        for file, named in self._env_file_names(node):
            for name, variable in self._env_file(file, named).items():
                self.nodes[(*path, name)] = variable
                self.origins[(*path, name)] = (Origin(ENV_FILE, position=named.position), *variable.origins)
                out[name] = variable.text
        at = node.get("environment")
        if at is None:
            return out
        self.mark(path, node, "environment")
        for name, value, place in self.pairs(path, at):
            self.attempt(place, values.variable_name, name)
            self.origins.pop((*path, name), None)
            if value is None:
                value = self._variables.get(name)  # noqa: PLW2901 - as in Compose
                if value is not None:
                    self.origins[(*path, name)] = (Origin(VARIABLE, name, self._variables.place_of(name)),)
            if value is None:
                out.pop(name, None)
                del self.nodes[(*path, name)]
            else:
                out[name] = value
        return out

    def _env_file_names(self, node: Mapping) -> Iterator[tuple[str, Scalar]]:
        """The paths of the env files that are there or must be."""
        at = node.get("env_file")
        items = at.items if isinstance(at, Sequence) else [at]
        for item in items:
            required = True
            place: Node | None = item
            if isinstance(item, Mapping):
                place = item.get("path")
                flag = item.get("required")
                required = not (isinstance(flag, Scalar) and not flag.truth)
            if not isinstance(place, Scalar) or place.failed:
                continue
            if required or self._tree.exists(place.text):
                yield place.text, place

    def _env_file(self, path: str, place: Scalar) -> dict[str, Assignment]:
        if path not in self._env_files:
            from reconciler.spec import env_files  # noqa: PLC0415 - few specs name one

            self._env_files[path] = {}
            data = self.attempt(place, self._tree.read, path)
            if data is not None:
                self._env_files[path] = env_files.read(self._tree, path, data, self._variables, self._findings)
        return self._env_files[path]

    def _depends_on(self, path: Path, node: Mapping) -> tuple[desired.Dependency, ...]:
        at = node.get("depends_on")
        if at is None:
            return ()
        path = (*path, "depends_on")
        self.mark(path, node, "depends_on")
        out: dict[str, desired.Dependency] = {}
        if isinstance(at, Mapping):
            for name, (place, value) in at.entries.items():
                condition = value.get("condition") if isinstance(value, Mapping) else None
                word = condition.text if isinstance(condition, Scalar) else "service_started"
                self.nodes[(*path, len(out))] = place
                out[name] = desired.Dependency(name, word)
        elif isinstance(at, Sequence):
            for item in at.items:
                if isinstance(item, Scalar) and not item.failed and item.text not in out:
                    self.nodes[(*path, len(out))] = item
                    out[item.text] = desired.Dependency(item.text)
        return tuple(out.values())

    def _volumes(self, path: Path, node: Mapping) -> tuple[desired.Mount, ...]:
        def home() -> str | None:
            return self._variables.get("HOME")

        def short(text: str) -> list[desired.Mount]:
            return [mounts.parse(text, self._tree.base, home)]

        def long(item: Mapping) -> list[desired.Mount]:
            return _long_mount(item, self._tree.base, home)

        return tuple(Fields(self, path, node).items("volumes", short, long))

    def _long_port(self, item: Mapping) -> list[desired.Port]:
        target, published = text_of(item, "target"), text_of(item, "published")
        return ports.make(target, published, text_of(item, "host_ip"), text_of(item, "protocol") or "tcp")

    def _healthcheck(self, path: Path, node: Mapping) -> desired.Healthcheck | None:
        at = node.get("healthcheck")
        if not isinstance(at, Mapping):
            return None
        path = (*path, "healthcheck")
        self.mark(path, node, "healthcheck")
        read = Fields(self, path, at)
        disable = at.get("disable")
        nothing: tuple[str, ...] = ()
        test = read.node("test", _health_test, nothing)
        if isinstance(disable, Scalar) and disable.truth:
            test = ("NONE",)
        return desired.Healthcheck(
            test=test,
            interval=read.text("interval", _probe_time, None),
            timeout=read.text("timeout", _probe_time, None),
            start_period=read.text("start_period", _probe_time, None),
            start_interval=read.text("start_interval", _probe_time, None),
            retries=read.text("retries", lambda text: values.count(text) or None, None),
            on_unhealthy=read.text("on_unhealthy", values.unhealthy_policy, None),
        )

    def _logging(self, path: Path, node: Mapping) -> desired.Logging:
        at = node.get("logging")
        if not isinstance(at, Mapping):
            return desired.Logging()
        path = (*path, "logging")
        self.mark(path, node, "logging")
        preset = Fields(self, path, at).text("driver", _log_driver, desired.Logging())
        options = at.get("options")
        if not isinstance(options, Mapping):
            return preset
        read = Fields(self, (*path, "options"), options)
        max_size = read.text("max-size", lambda text: 0 if text == "-1" else values.size(text), preset.max_size)
        max_file = read.text("max-file", lambda text: values.count(text, 1), preset.max_file)
        return desired.Logging(max_size, max_file)


def _image(text: str) -> str:
    parse_reference(text)
    return text


def _working_dir(text: str) -> str:
    if not text.startswith("/"):
        raise BadValueError(f"the working directory {quote(text)} is not absolute", f"/{text}")
    return text


def _link(text: str) -> desired.Link:
    container, colon, alias = text.partition(":")
    if not container:
        raise BadValueError(f"the link {quote(text)} names no container", "write name or name:alias")
    if colon and not alias:
        raise BadValueError(f"the link {quote(text)} has no alias after the colon", "write name or name:alias")
    return desired.Link(container, values.host_name(alias or container, "alias"))


def _long_mount(item: Mapping, base: str, home: Callable[[], str | None]) -> list[desired.Mount]:
    kind, source, where = text_of(item, "type"), text_of(item, "source"), text_of(item, "target")
    if kind == "tmpfs":
        return []  # read with those under `tmpfs`
    if kind not in _MOUNT_TYPES:
        raise BadValueError(
            f"unknown mount type {quote(kind)}{did_you_mean(kind, _MOUNT_TYPES)}", "volume, bind or tmpfs"
        )
    if kind not in ("volume", "bind"):
        raise BadValueError(f"mounts of type {kind} are not supported yet", "volume, bind or tmpfs")
    flag, options = item.get("read_only"), item.get("volume")
    read_only = isinstance(flag, Scalar) and flag.truth
    nocopy_flag = options.get("nocopy") if isinstance(options, Mapping) else None
    nocopy = isinstance(nocopy_flag, Scalar) and nocopy_flag.truth
    if kind == "volume" and not source:
        return [desired.Mount("anonymous", "", mounts.target(where), read_only, nocopy)]
    return [mounts.make(source, where, base, home, read_only=read_only, nocopy=nocopy, kind=kind)]


def _health_test(node: Node) -> tuple[str, ...]:
    if isinstance(node, Scalar):
        if not node.text:
            raise BadValueError("the health test is empty", "write a shell command, or disable: true")
        return ("CMD-SHELL", node.text)
    words = words_of(node)
    first = words[0] if words else ""
    if first not in ("CMD", "CMD-SHELL", "NONE"):
        hint = f"write [CMD, {', '.join(words[:3])}]" if words else "or leave it out"
        raise BadValueError("a health test in a list begins with CMD, CMD-SHELL or NONE", hint)
    wanted = {"CMD": len(words) > 1, "CMD-SHELL": len(words) == 2, "NONE": len(words) == 1}[first]
    if not wanted:
        rule = {"CMD": "a command", "CMD-SHELL": "one string, the shell command", "NONE": "nothing"}[first]
        raise BadValueError(f"in a health test, after {first} comes {rule}")
    return words


def _probe_time(text: str) -> float | None:
    """A probe's time; 0 means the image's or the default one, as in Docker."""
    seconds = values.duration(text)
    if 0 < seconds < _SHORTEST_PROBE:
        raise BadValueError(f"{quote(text)} is shorter than a millisecond")
    return seconds or None


def _log_driver(text: str) -> desired.Logging:
    drivers = {"json-file": desired.Logging(), "local": _LOCAL_LOGGING}
    if text not in drivers:
        message = f"the logging driver {quote(text)} is not supported{did_you_mean(text, drivers)}"
        raise BadValueError(message, "json-file or local")
    return drivers[text]
