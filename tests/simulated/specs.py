"""Random stacks and random edits of them, for the simulator: every field that the planner tells apart, in valid specs.

A wish is an order of keys and a container for each; who comes later may use who comes earlier. Any change, however
wild, is made valid again by `fitted`. So edits may move, turn around, rename and swap at will.
"""

from __future__ import annotations

from reconciler.kits.frozen import replace
from reconciler.kits.source import Position
from reconciler.model.desired import (
    COMPLETED,
    HEALTHY,
    STARTED,
    Container,
    Dependency,
    Device,
    Healthcheck,
    Link,
    Logging,
    Mount,
    Port,
    Restart,
    Stack,
    Tmpfs,
    Ulimit,
    Volume,
    VolumesFrom,
)
from reconciler.model.observed import ObservedImage

IMAGES = (
    ObservedImage("app:1", "sha256:app1", digest="sha256:app1-manifest"),
    ObservedImage("app:2", "sha256:app2", ("80/tcp",)),
    ObservedImage("db:1", "sha256:db1", ("3306/tcp",), ("/var/lib/db",), digest="sha256:db1-manifest"),
    ObservedImage("checked:1", "sha256:checked1", healthcheck=True, digest="sha256:checked1-manifest"),
)
REMOTE = (*IMAGES, *(ObservedImage(f"new:{n}", f"sha256:new{n}", digest=f"sha256:new{n}-manifest") for n in (1, 2)))
ALWAYS_HERE = ("app:1", "db:1", "checked:1")
EXTERNAL = "outside"

JOBS = ("job", "once")
"""Keys whose process ends by itself."""

MOUNTS = {
    "/v0": [Mount("volume", "v0", "/v0"), Mount("volume", "v1", "/v0"), Mount("volume", "v0", "/v0", read_only=True)],
    "/v1": [Mount("volume", "v1", "/v1"), Mount("bind", "/srv/x", "/v1")],
    "/v2": [Mount("volume", "v2", "/v2"), Mount("volume", "v2", "/v2", nocopy=True)],
    "/a": [Mount("anonymous", "", "/a"), Mount("volume", EXTERNAL, "/a")],
    "/var/lib/db": [Mount("anonymous", "", "/var/lib/db"), Mount("bind", "/srv/y", "/var/lib/db")],
}
LONG = "x" * 100
FIELDS = {
    "command": [(), ("run", "it"), ("serve", "--password", "hunter2"), (LONG,)],
    "entrypoint": [("/init",)],
    "environment": [{"A": "1"}, {"A": "2", "B": ""}, {"DB_PASSWORD": "x"}, {"DB_PASSWORD": "y", "A": LONG}],
    "labels": [{"team": "blue"}, {"team": "red", "x": ""}, {"team": "blue", "odd": "\x1b[1m"}],
    "expose": [("81/tcp",), ("81/tcp", "82/tcp")],
    "restart": [Restart("always"), Restart("on-failure"), Restart("on-failure", 3), Restart("unless-stopped")],
    "healthcheck": [
        Healthcheck(("CMD", "x")),
        Healthcheck(("CMD", "x"), on_unhealthy="restart:2"),
        Healthcheck(("CMD", "y"), interval=3.0, on_unhealthy="restart"),
        Healthcheck(("NONE",)),
        Healthcheck(interval=3.0),
        Healthcheck(),
    ],
    "logging": [Logging(1 << 20, 3)],
    "user": ["1000"],
    "hostname": ["me"],
    "stop_signal": ["SIGINT"],
    "stop_grace_period": [3.0],
    "mem_limit": [64 << 20, 1 << 30, 1000, 48 << 10],
    "memswap_limit": [-1, 128 << 20],
    "cpus": [1.5],
    "pids_limit": [50, 60],
    "ulimits": [(Ulimit("nofile", 10, 20),), (Ulimit("nofile", 10, 30), Ulimit("core", 0, 0))],
    "cap_add": [("CAP_SYS_TIME",)],
    "cap_drop": [("ALL",)],
    "security_opt": [("no-new-privileges",), ("label=disable",)],
    "devices": [(Device("/dev/fuse", "/dev/fuse"),), (Device("/dev/null", "/dev/fuse"),)],
    "tmpfs": [(Tmpfs("/run"),), (Tmpfs("/run", ("size=1m",)),), (Tmpfs("/var/lib/db"),)],
    "group_add": [("audio",)],
    "extra_hosts": [("far=10.0.0.1",), ("far=10.0.0.2", "near=10.0.0.3")],
    "sysctls": [{"net.core.somaxconn": "1"}],
    "read_only": [True],
    "init": [True],
}
NAMES = sorted(FIELDS)


class Wish:
    """What a stack shall be: `order` of `containers` by key. Its `stack` is made once."""

    def __init__(self, name, containers, origin=""):
        self.name = name
        self.containers = containers
        self.origin = origin or f"/srv/{name}.yaml"
        self._stack = None

    @property
    def stack(self):
        if self._stack is None:
            volumes = {key: Volume(key, f"{self.name}_{key}") for key in ("v0", "v1", "v2")}
            volumes[EXTERNAL] = Volume(EXTERNAL, EXTERNAL, external=True)
            positions = {("containers", key): Position("s.yaml", n, 3) for n, key in enumerate(self.containers, 2)}
            positions[("volumes",)] = Position("s.yaml", 90, 1)
            self._stack = Stack(self.name, f"{self.name}.yaml", self.origin, self.containers, volumes, positions)
        return self._stack

    def having(self, containers):
        return Wish(self.name, containers, self.origin)


class Maker:
    """Makes wishes for one stack of one scenario: from these keys, host ports and free names."""

    def __init__(self, chance, name, keys, ports, *, pull):
        self.chance = chance
        self.name = name
        self.keys = keys
        self.ports = ports
        self.names = (f"{name}-front", f"{name}-back")
        self.pull = pull
        self.images = [image.reference for image in (REMOTE if pull else IMAGES)]

    def first(self, least, most):
        chance = self.chance
        keys = chance.shuffled(self.keys)[: least + chance.below(most - least + 1)]
        made = {}
        for key in keys:
            made[key] = self.container(key, list(made))
        return Wish(self.name, fitted(made, self.names))

    def container(self, key, earlier):
        chance = self.chance
        chosen = {name: chance.one(FIELDS[name]) for name in chance.some(NAMES, 3)}
        if chance.odds(20):
            chosen["healthcheck"] = chance.one(FIELDS["healthcheck"])
        if self.pull and chance.odds(15):
            chosen["pull_policy"] = "always"
        if chance.odds(4):
            chosen["pull_policy"] = "never"
        ports = [Port(80)] if chance.odds(30) else []
        if chance.odds(30):
            ports.append(
                Port(chance.one([81, 82]), host_port=chance.one(self.ports), protocol=chance.one(["tcp", "udp"]))
            )
        if chance.odds(10):
            ports.append(Port(90, host_port=self.ports[0] + 100, host_port_end=self.ports[0] + 120))
        mounts = [chance.one(MOUNTS[target]) for target in chance.some(list(MOUNTS), 2)]
        return Container(
            key,
            chance.one(self.names) if chance.odds(15) else key,
            chance.one(self.images),
            links=tuple(Link(target, f"to-{target}") for target in chance.some(earlier, 2)),
            depends_on=tuple(
                Dependency(target, chance.one([STARTED, HEALTHY, COMPLETED])) for target in chance.some(earlier, 2)
            ),
            volumes=tuple(mounts),
            volumes_from=tuple(
                VolumesFrom(target, chance.odds(30)) for target in chance.some(earlier, 1) if chance.odds(40)
            ),
            ports=tuple(ports),
            **chosen,
        )

    def edited(self, wish):
        """The wish after one edit."""
        ways = (self._anew, self._anew, self._field, self._field, self._field, self._gone, self._come, self._renamed)
        ways += (self._moved_volume, self._swapped, self._turned, self._image, self._order_of_lists)
        made = self.chance.one(ways)(dict(wish.containers))
        return wish.having(fitted(made, self.names))

    def _key(self, made):
        return self.chance.one(list(made))

    def _anew(self, made):
        key, keys = self._key(made), list(made)
        made[key] = self.container(key, keys[: keys.index(key)])
        return made

    def _field(self, made):
        key, name = self._key(made), self.chance.one(NAMES)
        options = [*FIELDS[name], Container.defaults()[name]]
        made[key] = replace(made[key], **{name: self.chance.one(options)})
        return made

    def _gone(self, made):
        if len(made) > 1:
            del made[self._key(made)]
        return made

    def _come(self, made):
        free = [key for key in self.keys if key not in made]
        if free:
            key = self.chance.one(free)
            made[key] = self.container(key, list(made))
        return made

    def _renamed(self, made):
        """The same container under another key: to us one goes and another one comes, on the same volumes and ports."""
        free = [key for key in self.keys if key not in made and key not in JOBS]
        old = self._key(made)
        if not free or old in JOBS:
            return made
        new = self.chance.one(free)
        return {
            (new if key == old else key): replace(c, key=new, name=new if c.name == old else c.name)
            if key == old
            else c
            for key, c in made.items()
        }

    def _moved_volume(self, made):
        giver, taker = self._key(made), self._key(made)
        mounts = made[giver].volumes
        made[giver] = replace(made[giver], volumes=())
        made[taker] = replace(made[taker], volumes=mounts)
        return made

    def _swapped(self, made):
        """Two exchange their ports and names."""
        one, other = self._key(made), self._key(made)
        if one != other:
            first, second = made[one], made[other]
            names = (
                second.name if second.name in self.names else one,
                first.name if first.name in self.names else other,
            )
            made[one] = replace(first, ports=second.ports, name=names[0])
            made[other] = replace(second, ports=first.ports, name=names[1])
        return made

    def _turned(self, made):
        """Links turn around."""
        one, other = self._key(made), self._key(made)
        if one == other:
            return made
        keys = list(made)
        keys[keys.index(one)], keys[keys.index(other)] = other, one
        later = max(one, other, key=keys.index)
        made[later] = replace(made[later], links=(Link(min(one, other, key=keys.index), "turned"),))
        return {key: made[key] for key in keys}

    def _image(self, made):
        key = self._key(made)
        made[key] = replace(made[key], image=self.chance.one(self.images))
        return made

    def _order_of_lists(self, made):
        key = self._key(made)
        c = made[key]
        made[key] = replace(c, ports=c.ports[::-1], volumes_from=c.volumes_from[::-1], volumes=c.volumes[::-1])
        return made


def is_checked(container):
    test = container.healthcheck.test if container.healthcheck else ()
    return test[0] != "NONE" if test else container.image.startswith("checked:")


def fitted(made, names):
    """The containers with all that no spec may have taken away, or put right."""
    out = {}
    taken, used = set(), set()
    for key, container in made.items():
        free = [p for p in container.ports if not p.host_port or (p.host_port, p.protocol) not in taken]
        taken |= {(p.host_port, p.protocol) for p in free if p.host_port and not p.host_port_end}
        name = container.name if container.name in names and container.name not in used else key
        used.add(name)
        job = key in JOBS
        out[key] = replace(
            container,
            name=name,
            ports=tuple({(p.container_port, p.protocol): p for p in free}.values()),
            restart=Restart() if job else container.restart,
            healthcheck=None if job else container.healthcheck,
            image="app:1" if job else container.image,
            pull_policy=container.pull_policy
            if job or container.image in ALWAYS_HERE
            else _yielding(container.pull_policy),
            links=tuple(link for link in container.links if link.container in out and link.container not in JOBS),
            depends_on=_needs(container, out),
            volumes_from=tuple(source for source in container.volumes_from if source.container in out),
        )
    return out


def _yielding(policy):
    return "missing" if policy == "never" else policy


def _needs(container, earlier):
    found = {}
    for need in container.depends_on:
        target = earlier.get(need.container)
        if target is not None:
            possible = {
                STARTED: True,
                HEALTHY: target.key not in JOBS and is_checked(target),
                COMPLETED: target.key in JOBS,
            }
            found[need.container] = need if possible[need.condition] else Dependency(need.container)
    return tuple(found.values())
