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
class LongMount(TypedDict):
    """A mount, spelled out."""

    type: Annotated[str, key("volume, or bind for a file or folder of the host", examples=("volume", "bind"))]
    source: NotRequired[Annotated[str, key("Volume's key, or path on the host; an anonymous volume if left out")]]
    target: Annotated[str, key("Absolute path inside the container")]
    read_only: NotRequired[Annotated[bool, key("Mount it read-only", default=False)]]
    volume: NotRequired[Annotated[VolumeOptions, key("What holds for volumes only")]]


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
            "Image to run; it must be there (images are loaded or imported, not pulled yet)",
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


@_shape
class Volume(TypedDict):
    """A named volume: data that outlives containers."""

    name: NotRequired[Annotated[str, key("The runtime's name for it; STACK_KEY if left out")]]
    external: NotRequired[Annotated[bool, key("It is there already and not ours to make or remove", default=False)]]
    labels: NotRequired[Annotated[Pairs, key("Labels: notes for people and tools")]]


@_shape
class Stack(TypedDict):
    """A set of containers and volumes that belong together."""

    apiVersion: Annotated[Literal["reconciler/v1"], key("Version of the spec's format")]
    kind: Annotated[Literal["Stack"], key("What the file describes")]
    name: Annotated[str, key("Name of the stack, in lower case", examples=("wordpress",))]
    containers: Annotated[dict[str, Container], key("The containers, by key")]
    volumes: NotRequired[Annotated[dict[str, Volume | None], key("The named volumes, by key")]]
