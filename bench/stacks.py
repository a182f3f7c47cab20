"""What is brought up: the same stacks for every peer, as data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

IMAGE = "tiny"
PROGRAM = "busybox"
"""What every process in a container is; the image has nothing else."""


@dataclass(frozen=True)
class Container:
    """`port` is (host, container); `volume` is (name, target); `check` is a shell command that checks its health."""

    key: str
    links: tuple[str, ...] = ()
    port: tuple[int, int] | None = None
    volume: tuple[str, str] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    check: str = ""

    @property
    def command(self) -> list[str]:
        """A server as it should be: waits, and ends at once when it is asked to. Its own key tells it from others."""
        return ["sh", "-c", 'trap "exit 0" TERM; sleep 1000000 & wait', self.key]


@dataclass(frozen=True)
class Stack:
    """Containers in link order: a loop starts them as they stand here."""

    name: str
    containers: tuple[Container, ...]
    linked: bool = True

    @property
    def volumes(self) -> list[str]:
        return [c.volume[0] for c in self.containers if c.volume]

    def with_value(self, value: str) -> Stack:
        """The same with another value of an environment variable of the first container."""
        first, *others = self.containers
        return replace(self, containers=(replace(first, environment={"VALUE": value}), *others))

    @property
    def followers(self) -> list[Container]:
        """The first container and what links to it: what a change of the first replaces."""
        first = self.containers[0]
        return [first, *(c for c in self.containers if first.key in c.links)]


def pair() -> Stack:
    """A web server linked to a database with a named volume, one port published."""
    database = Container("db", volume=("data", "/data"))
    return Stack("pair", (database, Container("web", links=("db",), port=(8080, 80))))


def single() -> Stack:
    """One container that is like `docker run --detach`."""
    return Stack("single", (Container("single"),), linked=False)


def chain(length: int) -> Stack:
    """Each container links to the one before it."""
    made = [Container(f"chain{n}", links=(f"chain{n - 1}",) if n else ()) for n in range(length)]
    return Stack(f"chain{length}", tuple(made))


def crowd(size: int) -> Stack:
    """Containers that know nothing of each other."""
    return Stack(f"crowd{size}", tuple(Container(f"one{n}") for n in range(size)), linked=False)


def checked(size: int) -> Stack:
    """The same, each with a health check, as often as is the default everywhere (every 30 seconds)."""
    return Stack(f"checked{size}", tuple(Container(f"well{n}", check="true") for n in range(size)), linked=False)
