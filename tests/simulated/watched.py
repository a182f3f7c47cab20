"""A simulated machine that is watched: what must never be so, whatever goes wrong, is looked at after every effect."""

from __future__ import annotations

from reconciler.kits.addresses import overlap
from reconciler.runtimes.simulated.runtime import Simulated
from specs import JOBS


class Watched(Simulated):
    """`violations` are (oracle, what was seen); `wishes` all that a stack was ever to be, by name, newest last."""

    def __init__(self, *arguments, **more):
        self.violations = []
        self.wishes = {}
        self.mourned = set()
        super().__init__(*arguments, **more)

    def violated(self, oracle, text):
        self.violations.append((oracle, text))

    def wished(self, stack):
        known = self.wishes.setdefault(stack.name, [])
        if stack not in known[-1:]:
            known.append(stack)

    def _effect(self, change, container="", kind=""):
        try:
            super()._effect(change, container, kind)
        finally:
            if kind in ("create", "update", "start"):
                self.check_owners()
            if (
                kind == "start"
                and not self.faults.look
                and (made := self.world.containers.get(container))
                and made.live
            ):
                self._check_folders(made)

    def check_owners(self):
        """One owner each: keys, addresses, host ports."""
        keys, addresses, ports = {}, {}, {}
        for c in self.world.containers.values():
            if c.stack and (other := keys.setdefault((c.stack, c.key), c)) is not c:
                self.violated("owners", f"{c.name} and {other.name} are both {c.stack}/{c.key}")
            if c.address and (other := addresses.setdefault(c.address, c)) is not c:
                self.violated("owners", f"{c.name} and {other.name} both have address {c.address}")
            for b in c.ports:
                for ip, other in ports.setdefault((b.host_port, b.protocol), []):
                    if overlap(ip, b.host_ip):
                        self.violated("owners", f"{c.name} and {other} both have host port {b.host_port}/{b.protocol}")
                ports[b.host_port, b.protocol].append((b.host_ip, c.name))

    def _check_folders(self, started):
        """What has just started shares a folder that both can write to only with whom some wish lets it share it."""
        mine = _writable(started)
        wishes = self.wishes.get(started.stack, ())
        loose = set().union(*map(loose_in, wishes))
        for other in self.world.containers.values():
            if other is started or not other.live or other.stack != started.stack or {started.key, other.key} & loose:
                continue
            for name in mine & _writable(other):
                if not any({started.key, other.key} <= _users(stack, name) for stack in wishes):
                    self.violated("folders", f"{started.name} was started while {other.name} has volume {name}")

    def remember_data(self):
        """Let every volume that is there have something to lose."""
        for volume in self.world.volumes.values():
            volume.content.setdefault("/precious", volume.name)

    def check_data(self, precious):
        """All of these volumes are there, with what was in them, but those that somebody asked to delete."""
        for name in sorted(precious - self.mourned):
            volume = self.world.volumes.get(name)
            if volume is None or volume.content.get("/precious") != name:
                self.violated("data", f"volume {name} lost its data")


def _writable(container):
    read_only = {text.split(":")[1] for text in container.settings.get("volumes", ()) if text.endswith(":ro")}
    return {name for target, name in container.mounts.items() if target not in read_only and not name.startswith("/")}


_USERS = {}


def _users(stack, name):
    """The keys of a wish that have a volume, through volumes_from or not; kept with the stack, so that ids are not used again."""
    known = _USERS.get(id(stack))
    if known is None or known[0] is not stack:
        if len(_USERS) > 500:
            _USERS.clear()
        known = _USERS[id(stack)] = (stack, _all_users(stack))
    return known[1].get(name, set(stack.containers) if len(name) == 64 else set())


def _all_users(stack):
    found = {}
    has = {}
    for key, container in stack.containers.items():
        has[key] = {stack.volumes[m.source].name for m in container.volumes if m.kind == "volume"}
        for source in container.volumes_from:
            has[key] |= has.get(source.container, set())
        for name in has[key]:
            found.setdefault(name, set()).add(key)
    return found


def loose_in(stack):
    """The keys whose mounts depend on what happened on the way.

    A finished job keeps the mounts that it worked on, and who has its volumes gets those.
    """
    loose, before = set(JOBS), None
    while before != loose:
        before = set(loose)
        loose |= {k for k, c in stack.containers.items() if any(s.container in before for s in c.volumes_from)}
    return loose


def shape(world, stack, loose):
    """All of a stack that must not depend on what happened on the way: no ids, times, addresses, random ports.

    The mounts of those whose keys are `loose` do not count.
    """
    owners = {volume.name: volume.owner for volume in world.volumes.values()}
    return {
        c.key: (
            c.name,
            in_sync(c),
            c.image not in world.images or c.image_id == world.images[c.image].id,
            {name: sorted(value) if isinstance(value, list) else value for name, value in c.settings.items()},
            c.origin,
            c.drift,
            sorted(c.links),
            sorted((target, owners.get(name) or name) for target, name in c.mounts.items() if c.key not in loose),
            sorted((b.container_port, b.protocol) for b in c.ports),
        )
        for c in world.containers.values()
        if c.stack == stack
    }


def in_sync(container):
    """Up, or a job that is done: which of the two depends on what has happened by itself."""
    policy = str(container.settings.get("restart", "no")).partition(":")[0]
    return container.live or (
        container.state == "exited" and container.exit_code == 0 and policy in ("no", "on-failure")
    )
