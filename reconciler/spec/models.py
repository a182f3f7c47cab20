"""The one declaration of a spec's shape: its keys, their types, defaults, meanings, and since when they are there.

`python -m reconciler.spec.generate` makes two things of it: schemas/stack.schema.json for editors, and compiled.py,
which is what a spec is checked with at run time, so that nothing imports pydantic then. Keys that Compose has for a
service are spelled and shaped as in Compose. What a value may say beyond its type is checked by the modules that read
it (ports, mounts, values). Only the generator and tests import this.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

FIRST = "0.1"
"""The release that a key came with, where nothing else is said."""

Text = str | int | float | bool
"""A scalar that is taken as it is written: 1.10 stays 1.10, yes stays yes."""

Texts = list[Text]
TextOrTexts = Text | Texts
Pairs = dict[str, Text | None] | Texts
"""A map, or a list of NAME=value."""


def key(text: str, *, default: Any = None, examples: tuple[Any, ...] = (), since: str = FIRST) -> Any:
    """What goes with a key: one line of meaning, the default if there is one, examples, and the release it came with."""
    extra: dict[str, Any] = {"since": since}
    if default is not None:
        extra["default"] = default
    return Field(description=text, examples=list(examples) or None, json_schema_extra=extra)


_shape = with_config(ConfigDict(extra="forbid", strict=True, json_schema_extra={"patternProperties": {"^x-": {}}}))


@_shape
class LongPort(TypedDict):
    """A published port, spelled out."""

    target: Annotated[Text, key("Port inside the container, or a range", examples=(80, "8000-8003"))]
    published: NotRequired[
        Annotated[Text, key("Port of the host, or a range; a free one if left out", examples=(8080,))]
    ]
    host_ip: NotRequired[Annotated[str, key("Address of the host; all of them if left out", examples=("127.0.0.1",))]]
    protocol: NotRequired[Annotated[str, key("tcp, udp or sctp", default="tcp")]]


@_shape
class VolumeOptions(TypedDict):
    """What holds for a mounted volume."""

    nocopy: NotRequired[Annotated[bool, key("Do not fill an empty volume from the image", default=False)]]


@_shape
class TmpfsOptions(TypedDict):
    """What holds for a file system in memory."""

    size: NotRequired[Annotated[Text, key("The most it may hold; half of the memory if left out", examples=("64m",))]]
    mode: NotRequired[Annotated[Text, key("Permissions of its root, in octal", default="1777", examples=("755",))]]


@_shape
class LongMount(TypedDict):
    """A mount, spelled out."""

    type: Annotated[
        str,
        key("volume, bind for a file or folder of the host, tmpfs for one in memory", examples=("volume", "bind")),
    ]
    source: NotRequired[Annotated[str, key("Volume's key, or path on the host; an anonymous volume if left out")]]
    target: Annotated[str, key("Absolute path inside the container")]
    read_only: NotRequired[Annotated[bool, key("Mount it read-only", default=False)]]
    volume: NotRequired[Annotated[VolumeOptions, key("What holds for volumes only")]]
    tmpfs: NotRequired[Annotated[TmpfsOptions, key("What holds for a tmpfs only")]]


@_shape
class DependsOn(TypedDict):
    """What must have happened to another container before this one starts."""

    condition: NotRequired[
        Annotated[
            Literal["service_started", "service_healthy", "service_completed_successfully"],
            key("What the other container must have reached", default="service_started"),
        ]
    ]


@_shape
class EnvFile(TypedDict):
    """A file of variables, spelled out."""

    path: Annotated[str, key("Path, relative to the spec's folder")]
    required: NotRequired[Annotated[bool, key("Whether it is an error when the file is missing", default=True)]]


@_shape
class Healthcheck(TypedDict):
    """A probe that tells whether a container is well."""

    test: NotRequired[Annotated[TextOrTexts, key("Shell command, or a list that begins with CMD, CMD-SHELL or NONE")]]
    interval: NotRequired[Annotated[Text, key("Time between two probes", examples=("30s", "1m30s"))]]
    timeout: NotRequired[Annotated[Text, key("Time after which a probe counts as failed", examples=("30s",))]]
    retries: NotRequired[Annotated[Text, key("Failures in a row until the container is unhealthy", examples=(3,))]]
    start_period: NotRequired[Annotated[Text, key("Time after the start in which failures do not count")]]
    start_interval: NotRequired[Annotated[Text, key("Time between two probes during start_period")]]
    disable: NotRequired[Annotated[bool, key("Switch the image's own probe off", default=False)]]
    on_unhealthy: NotRequired[
        Annotated[
            str,
            key(
                "What to do when it becomes unhealthy: none, restart, or restart:TIMES in a row",
                default="none",
                examples=("restart:3",),
            ),
        ]
    ]


@_shape
class Ulimit(TypedDict):
    """A limit of the process, spelled out; -1 is without limit."""

    soft: Annotated[Text, key("The limit that holds")]
    hard: Annotated[Text, key("The limit that the process may raise it to")]


@_shape
class Device(TypedDict):
    """A device, spelled out."""

    source: Annotated[str, key("Path of the device on the host", examples=("/dev/fuse",))]
    target: NotRequired[Annotated[str, key("Path inside; the source's if left out")]]
    permissions: NotRequired[Annotated[str, key("What may be done: r, w, and m for mknod", default="rwm")]]


LogOptions = TypedDict(
    "LogOptions",
    {
        "max-size": NotRequired[Annotated[Text, key("Size at which a log is rotated", examples=("10m",))]],
        "max-file": NotRequired[Annotated[Text, key("How many files are kept, the current one too", examples=(3,))]],
    },
)
LogOptions.__doc__ = "How much log is kept."
_shape(LogOptions)


@_shape
class Logging(TypedDict):
    """Where a container's output goes."""

    driver: NotRequired[Annotated[str, key("json-file, or local (which rotates by itself)", default="json-file")]]
    options: NotRequired[Annotated[LogOptions, key("How much is kept")]]


@_shape
class Container(TypedDict):
    """One container."""

    image: Annotated[
        str,
        key(
            "Image to run: [registry/]repository[:tag][@digest]; docker.io and latest if left out",
            examples=("mariadb:10.11",),
        ),
    ]
    command: NotRequired[
        Annotated[TextOrTexts | None, key("Command, in place of the image's; a string is split as a shell does")]
    ]
    entrypoint: NotRequired[
        Annotated[TextOrTexts | None, key("Entry point, in place of the image's; clears the image's command")]
    ]
    environment: NotRequired[
        Annotated[Pairs, key("Variables of the process; one without a value is taken from the environment")]
    ]
    env_file: NotRequired[Annotated[str | list[str | EnvFile], key("Files of variables; those under environment win")]]
    labels: NotRequired[Annotated[Pairs, key("Labels: notes for people and tools")]]
    links: NotRequired[
        Annotated[
            list[str], key("Containers to use, as name or name:alias: order, name, variables", examples=(["db:mysql"],))
        ]
    ]
    depends_on: NotRequired[Annotated[list[str] | dict[str, DependsOn], key("Containers that start before this one")]]
    volumes: NotRequired[
        Annotated[list[str | LongMount], key("Mounts: volume:/path, ./folder:/path, /anonymous; :ro for read-only")]
    ]
    volumes_from: NotRequired[Annotated[list[str], key("Containers whose mounts to share, as name or name:ro")]]
    ports: NotRequired[
        Annotated[
            list[Text | LongPort],
            key("Published ports: [[address:]host:]container[/protocol]", examples=(["8080:80"],)),
        ]
    ]
    expose: NotRequired[Annotated[Texts, key("Ports that linked containers use, not published", examples=(["3306"],))]]
    restart: NotRequired[
        Annotated[Text, key("Restart after exit: no, always, on-failure[:times], unless-stopped", default="no")]
    ]
    healthcheck: NotRequired[Annotated[Healthcheck, key("Probe that tells whether the container is well")]]
    logging: NotRequired[Annotated[Logging, key("Where the output goes and how much is kept")]]
    user: NotRequired[
        Annotated[Text, key("User and group of the process, by name or number", examples=("www-data", "1000:1000"))]
    ]
    working_dir: NotRequired[Annotated[str, key("Folder that the process starts in")]]
    hostname: NotRequired[Annotated[str, key("Host name inside; the container's id if left out")]]
    stop_signal: NotRequired[Annotated[Text, key("Signal that asks the process to end", examples=("SIGTERM",))]]
    stop_grace_period: NotRequired[Annotated[Text, key("Time to end before it is killed", default="10s")]]
    container_name: NotRequired[Annotated[str, key("The runtime's name for it; the key if left out")]]
    pull_policy: NotRequired[Annotated[str, key("When to fetch the image: missing, always, never", default="missing")]]
    platform: NotRequired[
        Annotated[
            str,
            key("Platform of the image, as os/arch[/variant]; this machine's if left out", examples=("linux/arm64",)),
        ]
    ]
    init: NotRequired[
        Annotated[bool, key("Run a small init as first process, which passes signals on and reaps", default=False)]
    ]
    stdin_open: NotRequired[Annotated[bool, key("Keep standard input open, also with nobody attached", default=False)]]
    tty: NotRequired[Annotated[bool, key("Give the process a terminal", default=False)]]
    mem_limit: NotRequired[Annotated[Text, key("The most memory it may use", examples=("512m", "2g"))]]
    mem_reservation: NotRequired[Annotated[Text, key("Memory it is to be left with when memory is short")]]
    memswap_limit: NotRequired[
        Annotated[Text, key("Memory and swap together; -1 for all swap there is; twice mem_limit if left out")]
    ]
    mem_swappiness: NotRequired[Annotated[Text, key("How eagerly it is swapped out, 0 to 100 (cgroup v1 only)")]]
    oom_kill_disable: NotRequired[
        Annotated[bool, key("Do not kill it when it is out of memory (cgroup v1 only)", default=False)]
    ]
    oom_score_adj: NotRequired[
        Annotated[Text, key("How soon it is chosen when the machine is out of memory, -1000 to 1000", default="0")]
    ]
    cpus: NotRequired[Annotated[Text, key("The most processors it may use", examples=("1.5",))]]
    cpu_shares: NotRequired[Annotated[Text, key("Its weight where processors are short; 1024 is everybody's")]]
    cpu_period: NotRequired[Annotated[Text, key("Period of cpu_quota", examples=("100ms",))]]
    cpu_quota: NotRequired[Annotated[Text, key("Processor time that it gets in a period", examples=("50ms",))]]
    cpuset: NotRequired[Annotated[Text, key("Processors that it may run on", examples=("0-3", "0,2"))]]
    pids_limit: NotRequired[Annotated[Text, key("The most processes and threads; -1 for no limit", examples=(100,))]]
    ulimits: NotRequired[
        Annotated[dict[str, Text | Ulimit], key("Limits of each process, as in ulimit", examples=({"nofile": 4096},))]
    ]
    shm_size: NotRequired[Annotated[Text, key("Size of /dev/shm", default="64m")]]
    sysctls: NotRequired[
        Annotated[Pairs, key("Kernel parameters of its own namespaces", examples=({"net.core.somaxconn": 1024},))]
    ]
    privileged: NotRequired[
        Annotated[bool, key("All capabilities and devices, no confinement: as root on the host", default=False)]
    ]
    cap_add: NotRequired[
        Annotated[Texts, key("Capabilities to add to Docker's default set", examples=(["NET_ADMIN"],))]
    ]
    cap_drop: NotRequired[Annotated[Texts, key("Capabilities to take away, or ALL", examples=(["ALL"],))]]
    security_opt: NotRequired[
        Annotated[
            Texts,
            key(
                "no-new-privileges, seccomp=unconfined or a profile's path, apparmor=unconfined or a profile's name, "
                "systempaths=unconfined",
                examples=(["no-new-privileges"],),
            ),
        ]
    ]
    devices: NotRequired[
        Annotated[list[str | Device], key("Devices of the host: path[:path inside[:rwm]]", examples=(["/dev/fuse"],))]
    ]
    device_cgroup_rules: NotRequired[
        Annotated[Texts, key("Devices it may make and use, as type major:minor rwm", examples=(["c 10:* rmw"],))]
    ]
    read_only: NotRequired[Annotated[bool, key("Mount its root read-only; volumes stay as they are", default=False)]]
    tmpfs: NotRequired[
        Annotated[
            TextOrTexts, key("Where to mount file systems in memory: /path[:options]", examples=(["/run:size=64m"],))
        ]
    ]
    group_add: NotRequired[Annotated[Texts, key("Further groups of the process, by name or number")]]
    extra_hosts: NotRequired[
        Annotated[
            dict[str, Text | Texts] | Texts,
            key("Further lines of its hosts file; host-gateway is this machine", examples=(["db.example:192.0.2.7"],)),
        ]
    ]
    dns: NotRequired[Annotated[TextOrTexts, key("Name servers, in place of the host's", examples=(["192.0.2.53"],))]]
    dns_search: NotRequired[Annotated[TextOrTexts, key("Domains to look up short names in; . for none")]]
    dns_opt: NotRequired[Annotated[Texts, key("Options of resolv.conf", examples=(["ndots:3"],))]]
    domainname: NotRequired[Annotated[str, key("Domain of the host name inside")]]


@_shape
class Volume(TypedDict):
    """A named volume: data that outlives containers."""

    name: NotRequired[Annotated[str, key("The runtime's name for it; STACK_KEY if left out")]]
    external: NotRequired[Annotated[bool, key("It is there already and not ours to make or remove", default=False)]]
    protect: NotRequired[
        Annotated[bool, key("Delete it by nothing: down --volumes, volume rm and prune refuse", default=False)]
    ]
    labels: NotRequired[Annotated[Pairs, key("Labels: notes for people and tools")]]


Moved = TypedDict(
    "Moved",
    {
        "from": Annotated[str, key("What it was: containers.KEY, volumes.KEY or stack.NAME")],
        "to": Annotated[str, key("What it is in this spec, or in a later entry")],
    },
)
Moved.__doc__ = "What was called otherwise before."
_shape(Moved)

Adopted = TypedDict(
    "Adopted",
    {
        "from": Annotated[str, key("Name of what exists, as ps and volume ls show it")],
        "to": Annotated[str, key("What it is in this spec: containers.KEY or volumes.KEY")],
    },
)
Adopted.__doc__ = "What exists, and is to be taken in."
_shape(Adopted)


@_shape
class Stack(TypedDict):
    """A set of containers and volumes that belong together."""

    apiVersion: Annotated[Literal["reconciler/v1"], key("Version of the spec's format")]
    kind: Annotated[Literal["Stack"], key("What the file describes")]
    name: Annotated[str, key("Name of the stack, in lower case", examples=("wordpress",))]
    containers: Annotated[dict[str, Container], key("The containers, by key")]
    volumes: NotRequired[Annotated[dict[str, Volume | None], key("The named volumes, by key")]]
    moved: NotRequired[
        Annotated[list[Moved], key("Containers, volumes and stacks that were renamed: they go on, with all data")]
    ]
    adopt: NotRequired[
        Annotated[list[Adopted], key("Containers and volumes of others, or of nobody, that become part of the stack")]
    ]
