"""One nftables table of these roots: published ports, masquerading, isolation; and where another firewall's FORWARD

chain would drop our traffic, two accept rules there with the table's name as comment.

Published ports are reached from outside, from the host, by localhost, and from containers, their own included. They
are IPv4: what is published on all addresses is held on `::` too, but a connection to `::1` is refused at once, so that
programs that try both families go on to 127.0.0.1. Ports published on 127.0.0.1 are not reached from outside, and
packets from containers to 127.0.0.0/8 are dropped (the bridge has route_localnet).

The table's comment is a digest of its rules: a deleted table and one of another release or subnet are both noticed by
one netlink question.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from reconciler.engine.kernel import nftables, processes
from reconciler.kits.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reconciler.engine.records import PortLease

_RULES = """\
  set bridges {{ type ifname; elements = {{ "{bridge}" }} }}
  set same {{ type ifname . ifname; elements = {{ "{bridge}" . "{bridge}" }} }}
  set nets {{ type ipv4_addr; flags interval; elements = {{ {subnet} }} }}
  map bind {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }}
  map any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  chain raw {{
    type filter hook prerouting priority raw; policy accept;
    iifname @bridges ip daddr 127.0.0.0/8 drop
  }}
  chain pub {{
    dnat ip to meta l4proto . ip daddr . th dport map @bind
    dnat ip to meta l4proto . th dport map @any
  }}
  chain pre {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump pub
  }}
  chain out {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump pub
  }}
  chain post {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
    ct status dnat ip saddr @nets oifname @bridges masquerade
    ip saddr @nets oifname != @bridges masquerade
  }}
  chain filter_fwd {{
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    iifname . oifname @same accept
    ct status dnat accept
    oifname @bridges drop
  }}
"""


class Published(NamedTuple):
    """A container's address and the leases that lead to it."""

    address: str
    leases: tuple[PortLease, ...]


class Firewall:
    """The table of one pair of roots. Safe to use from several threads."""

    def __init__(self, table: str, bridge: str) -> None:
        self._table = table
        self._bridge = bridge
        self._batcher = nftables.Batcher()

    def present(self, subnet: str) -> bool:
        """Whether the table is there with these very rules (0.1 ms; starts no process)."""
        return nftables.table_comment(self._table) == self._digest(subnet)

    def rebuild(self, subnet: str, live: Iterable[Published]) -> None:
        """Make the whole table new in one atomic batch; connections that stand live on."""
        live = tuple(live)
        table = self._table
        rules = _RULES.format(bridge=self._bridge, subnet=subnet)
        lines = [f"add table ip {table}", f"delete table ip {table}"]
        lines += [f"table ip {table} {{", f'  comment "{self._digest(subnet)}"', rules, "}"]
        lines += [self._element("add", one, published.address) for published in live for one in _mappable(published)]
        self._batcher.run("\n".join(lines) + "\n")
        _forget(published.leases for published in live)

    def publish(self, address: str, leases: Sequence[PortLease]) -> None:
        """Lead the leased host ports to the container; instead of wherever they led before."""
        leases = _mappable(Published(address, tuple(leases)))
        if not leases:
            return
        commands = "\n".join(self._element("add", one, address) for one in leases)
        try:
            self._batcher.run(commands)
        except nftables.NftError as error:
            if not error.exists:
                raise
            self._batcher.run("\n".join([*self._stale(leases), commands]))
        _forget([leases])

    def unpublish(self, address: str, leases: Sequence[PortLease]) -> None:
        """Take away what leads to the container; what is not there, or leads elsewhere by now, is left as it is."""
        leases = _mappable(Published(address, tuple(leases)))
        if not leases:
            return
        try:
            self._batcher.run("\n".join(self._element("delete", one, address) for one in leases))
        except nftables.NftError as error:
            if not error.missing:
                raise
            if stale := self._stale(leases, address):
                self._batcher.run("\n".join(stale))
        _forget([leases])

    def remove(self) -> None:
        """Take the table away with all that is in it; none there is fine."""
        if nftables.table_comment(self._table) is not None:
            self._batcher.run(f"delete table ip {self._table}")

    def published(self) -> dict[tuple[str, str, int], tuple[str, int]]:
        """The map as it is: (protocol, host address or "", host port) -> (address, port). Starts a process a map."""
        found = {}
        for name in ("bind", "any"):
            text = nftables.read("-j", "list", "map", "ip", self._table, name)
            for part in json.loads(text)["nftables"] if text else ():
                for left, right in part.get("map", {}).get("elem", ()):
                    key, (address, port) = left["concat"], right["concat"]
                    found[(key[0], key[1] if name == "bind" else "", key[-1])] = (address, port)
        return found

    def _digest(self, subnet: str) -> str:
        rules = _RULES.format(bridge=self._bridge, subnet=subnet)
        return hashlib.sha256(rules.encode()).hexdigest()[:16]

    def _element(self, verb: str, one: PortLease, address: str) -> str:
        name, key = _key(one)
        return f"{verb} element ip {self._table} {name} {{ {key} : {address} . {one.container_port} }}"

    def _stale(self, leases: Sequence[PortLease], address: str = "") -> list[str]:
        """Commands that delete what is there under the leases' keys (with `address`: only where it leads there)."""
        there = self.published()
        commands = []
        for one in leases:
            host = "" if one.host_ip in ("", "0.0.0.0") else one.host_ip  # noqa: S104
            target = there.get((one.protocol, host, one.host_port))
            if target and address in ("", target[0]):
                name, key = _key(one)
                value = f"{target[0]} . {target[1]}"
                commands.append(f"delete element ip {self._table} {name} {{ {key} : {value} }}")
        return commands

    # --- another firewall's FORWARD chain ---------------------------------------------------------------------------

    def open_forward(self) -> bool:
        """Where an iptables FORWARD chain drops what is not for it, let our bridge's traffic through; whether it does.

        Docker runs DOCKER-USER before its own rules and never changes it; without Docker the rules stand in FORWARD.
        """
        opened = False
        for program, chain in _dropping():
            for direction in ("-i", "-o"):
                if not self._rule(program, "-C", chain, direction):
                    opened = self._rule(program, "-I", chain, direction) or opened
        return opened

    def close_forward(self) -> None:
        """Take those rules away, wherever they are."""
        for program, chain in _places():
            for direction in ("-i", "-o"):
                while self._rule(program, "-D", chain, direction):
                    pass

    def _rule(self, program: str, verb: str, chain: str, direction: str) -> bool:
        comment = ["-m", "comment", "--comment", self._table]
        words = [program, "-w", verb, chain, direction, self._bridge, *comment, "-j", "ACCEPT"]
        done = processes.run(words)
        if done.code and verb == "-I":
            raise ReconcilerError(
                f"the chain {chain} of another firewall drops the containers' traffic, and no rule can be added "
                f"there: {done.err.strip()}",
                code="firewall",
                hint=f"try by hand: {' '.join(words)}",
            )
        return done.code == 0


def _key(one: PortLease) -> tuple[str, str]:
    if one.host_ip in ("", "0.0.0.0"):  # noqa: S104
        return "any", f"{one.protocol} . {one.host_port}"
    return "bind", f"{one.protocol} . {one.host_ip} . {one.host_port}"


def _mappable(published: Published) -> tuple[PortLease, ...]:
    """Without those on an IPv6 address: they are held, but there is no IPv6 behind the bridge to lead to."""
    return tuple(one for one in published.leases if ":" not in one.host_ip)


def _forget(groups: Iterable[Iterable[PortLease]]) -> None:
    """Tracked UDP flows keep going where they went before the maps changed."""
    ports = {one.host_port for group in groups for one in group if one.protocol == "udp"}
    if ports:
        nftables.forget_udp_flows(ports)


def _places() -> list[tuple[str, str]]:
    """Where rules of ours can stand: (program, chain) of each iptables FORWARD and DOCKER-USER there is."""
    found = [
        (_program("iptables-nft"), chain.name)
        for chain in nftables.chains()
        if chain.table == "filter" and chain.name in ("FORWARD", "DOCKER-USER")
    ]
    if _legacy():
        found += [(_program("iptables-legacy"), chain) for chain in ("FORWARD", "DOCKER-USER")]
    return [place for place in found if place[0]]


def _dropping() -> list[tuple[str, str]]:
    """One (program, chain) for each iptables that drops forwarded traffic or belongs to Docker."""
    found = []
    filters = {chain.name: chain.policy for chain in nftables.chains() if chain.table == "filter"}
    if "DOCKER-USER" in filters or filters.get("FORWARD") == "drop":
        chain = "DOCKER-USER" if "DOCKER-USER" in filters else "FORWARD"
        found.append((_program("iptables-nft"), chain))
    if _legacy() and (program := _program("iptables-legacy")):
        rules = processes.run([program, "-w", "-S"]).out.splitlines()
        if "-N DOCKER-USER" in rules:
            found.append((program, "DOCKER-USER"))
        elif "-P FORWARD DROP" in rules:
            found.append((program, "FORWARD"))
    return [place for place in found if place[0]]


def _legacy() -> bool:
    try:
        with open("/proc/thread-self/net/ip_tables_names", encoding="ascii") as file:
            return "filter" in file.read().split()
    except FileNotFoundError:
        return False


def _program(name: str) -> str:
    """The full path of an iptables of that kind, or of one without a kind; "" if there is none."""
    for wanted in (name, "iptables"):
        for folder in ("/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"):
            path = os.path.join(folder, wanted)
            if os.access(path, os.X_OK):
                return path
    return ""
