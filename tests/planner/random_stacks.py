"""Random stacks, random drift, and a machine to try them on: what the properties of planner and executor draw from."""

from __future__ import annotations

from hypothesis import strategies as st

from reconciler.executor import virtual
from reconciler.kits.frozen import replace
from reconciler.model.desired import (
    HEALTHY,
    STARTED,
    Container,
    Dependency,
    Healthcheck,
    Link,
    Mount,
    Move,
    Port,
    Restart,
    Stack,
    Volume,
    VolumesFrom,
)
from reconciler.planner.options import Options
from reconciler.planner.planning import plan
from reconciler.planner.scope import scope_of
from reconciler.runtimes.simulated.runtime import Simulated

KEYS = [f"c{number}" for number in range(8)]
IMAGES = ["app:1", "app:2", "app:3"]
VOLUMES = {key: Volume(key, f"s_{key}") for key in ("v0", "v1", "v2")}
FIXED = [8080, 8081, 8082, 8083]

_MOUNTS = [
    (),
    (Mount("volume", "v0", "/v0"),),
    (Mount("anonymous", "", "/a"), Mount("volume", "v1", "/v1", read_only=True)),
    (Mount("bind", "/srv/x", "/x"), Mount("anonymous", "", "/b")),
]
_RESTARTS = [Restart(), Restart("always"), Restart("on-failure", 3), Restart("unless-stopped")]
_HEALTHCHECKS = [None, Healthcheck(("CMD", "x")), Healthcheck(interval=3.0)]


class Choices:
    """One drawn number taken apart: a draw for each field would make an example ten times as slow."""

    def __init__(self, number: int) -> None:
        self._left = number

    def one(self, options):
        self._left, chosen = divmod(self._left, len(options))
        return options[chosen]

    def some(self, options, most):
        """At most so many of the options; mostly few."""
        return [options[i] for i in sorted({self.one(range(len(options))) for _ in range(self.one(range(most + 1)))})]


def make(key, number, earlier, ports, shared_names):
    """One container that uses only `earlier` keys; fixed host ports and free names are taken out of the given lists."""
    chosen = Choices(number)
    uses = {
        name: chosen.some(earlier, most) if earlier else [] for name, most in (("link", 3), ("need", 2), ("from", 1))
    }
    published = [Port(80)] if chosen.one([False, True]) else []
    if ports and chosen.one([False, True]):
        published.append(Port(chosen.one([81, 82]), host_port=ports.pop()))
    if chosen.one([False] * 4 + [True]):
        published.append(Port(90, host_port=9100, host_port_end=9109))
    name = shared_names.pop() if shared_names and chosen.one([False, False, True]) else key
    return Container(
        key,
        name,
        chosen.one(IMAGES),
        command=chosen.one([None, (), ("run", "it")]),
        environment=chosen.one([{}, {"A": "1"}, {"A": "2", "B": "1"}]),
        labels=chosen.one([{}, {"team": "blue"}, {"team": "red", "x": ""}]),
        links=tuple(Link(target, f"to-{target}") for target in uses["link"]),
        depends_on=tuple(Dependency(target, chosen.one([STARTED, HEALTHY])) for target in uses["need"]),
        volumes=chosen.one(_MOUNTS),
        volumes_from=tuple(VolumesFrom(target) for target in uses["from"]),
        ports=tuple(published),
        expose=chosen.one([(), ("81/tcp",)]),
        restart=chosen.one(_RESTARTS),
        healthcheck=chosen.one(_HEALTHCHECKS),
        stop_grace_period=chosen.one([10.0, 3.0]),
        pids_limit=chosen.one([0, 50]),
    )


@st.composite
def stacks(draw, least=1):
    """A stack of some of KEYS, in which what comes earlier in a drawn order is used by what comes later."""
    keys = draw(st.permutations(KEYS))
    least = draw(st.sampled_from(range(least, len(KEYS) + 1)))
    bits = draw(st.lists(st.binary(min_size=10, max_size=10), min_size=least, max_size=least))
    numbers = [int.from_bytes(part) for part in bits]
    ports = list(FIXED) if numbers[0] % 2 else list(reversed(FIXED))
    shared_names = ["first", "second"]
    made = {}
    for index, number in enumerate(numbers):
        made[keys[index]] = make(keys[index], number, keys[:index], ports, shared_names)
    return Stack("s", "s.yaml", "/s.yaml", possible(made), dict(VOLUMES))


def renamed(stack, name):
    """The same stack under another name, all of its containers and volumes under other keys, and its moves."""
    new = {key: f"new-{key}" for key in (*stack.containers, *stack.volumes)}

    def followed(uses):
        return tuple(replace(use, container=new[use.container]) for use in uses)

    containers = {
        new[key]: replace(
            c,
            key=new[key],
            name=new.get(c.name, c.name),
            links=followed(c.links),
            depends_on=followed(c.depends_on),
            volumes_from=followed(c.volumes_from),
            volumes=tuple(replace(m, source=new.get(m.source, m.source)) for m in c.volumes),
        )
        for key, c in stack.containers.items()
    }
    volumes = {new[key]: Volume(new[key], f"{name}_{new[key]}") for key in stack.volumes}
    moved = [Move("container", key, new[key]) for key in stack.containers]
    moved += [Move("volume", key, new[key]) for key in stack.volumes]
    moved += [Move("stack", stack.name, name)]
    return Stack(name, stack.source, stack.origin, containers, volumes, moved=tuple(moved))


def possible(made):
    """The containers, with nobody waiting for the health of one that has no health check."""
    checked = {key for key, container in made.items() if container.healthcheck and container.healthcheck.test}
    return {
        key: replace(
            container,
            depends_on=tuple(
                need if need.container in checked else Dependency(need.container) for need in container.depends_on
            ),
        )
        for key, container in made.items()
    }


@st.composite
def edits(draw):
    """Two stacks, the one after the other: the same, one with a few containers made anew, or one of its own."""
    before = draw(stacks())
    kind = draw(st.sampled_from(["same", "few", "few", "other"]))
    if kind == "other":
        return before, draw(stacks())
    made = dict(before.containers)
    for key in draw(st.lists(st.sampled_from(sorted(made)), max_size=2, unique=True)) if kind == "few" else []:
        keys = list(before.containers)
        others = [container for other, container in made.items() if other != key]
        ports = [n for n in FIXED if n not in {port.host_port for other in others for port in other.ports}]
        names = sorted({"first", "second"} - {other.name for other in others})
        number = int.from_bytes(draw(st.binary(min_size=10, max_size=10)))
        made[key] = make(key, number, keys[: keys.index(key)], ports, names)
    return before, replace(before, containers=possible(made))


DRIFT = [
    *("none", "none", "kill", "exit", "stop_by_hand", "remove_by_hand", "pause", "break_down", "loosen", "tear"),
    *("sicken", "give_up"),
]
drifts = st.lists(st.sampled_from(DRIFT), min_size=len(KEYS), max_size=len(KEYS))


def drift(machine: Simulated, ways: list[str]) -> None:
    """Let the world go astray: one way for each key that is there."""
    for key, way in zip(KEYS, ways, strict=True):
        if way != "none" and machine.world.find("s", key):
            more = (0,) if way == "exit" else ()
            getattr(machine, way)("s", key, *more)


def look_and_plan(machine: Simulated, stack: Stack, **options):
    wishes = Options(**options)
    return plan(stack, machine.observe(scope_of(stack, wishes)), wishes, machine.capabilities)


def apply(machine: Simulated, stack: Stack, seed: int = 0):
    """Plan and execute; the plan and the result."""
    made = look_and_plan(machine, stack)
    return made, virtual.execute(made, machine, seed=seed)


def machine_with(stack: Stack | None, ways: list[str] | None = None, **more) -> Simulated:
    """A machine on which a stack was applied, its volumes written to, and the world then went astray."""
    machine = Simulated(IMAGES, **more)
    if stack:
        _, result = apply(machine, stack)
        assert result.ok, result.error()
        for volume in machine.world.volumes.values():
            volume.content["/precious"] = volume.name
    drift(machine, ways or ["none"] * len(KEYS))
    return machine


def shape(machine: Simulated) -> dict:
    """All that must not depend on what happened on the way: no ids, times, addresses, random ports."""
    world = machine.world
    owners = {volume.name: volume.owner for volume in world.volumes.values()}
    return {
        "containers": {
            (c.stack, c.key): (
                c.name,
                c.state,
                c.image_id,
                c.settings,
                c.drift,
                sorted(
                    (alias, world.find(c.stack, link.container) is not None)
                    for link in c.targets
                    for alias in [link.alias]
                ),
                sorted((target, owners.get(name) or name) for target, name in c.mounts.items()),
                sorted(b.container_port for b in c.ports),
            )
            for c in world.containers.values()
        },
        "volumes": sorted((v.owner or (v.stack, v.key), sorted(v.content)) for v in world.volumes.values()),
        "images": sorted(world.images),
    }
