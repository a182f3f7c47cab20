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

import os
from typing import TYPE_CHECKING

from reconciler.engine.kernel import nftables, sockets
from reconciler.kits.digests import sha256
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


class Published(Frozen):
    """A container's address and the leases that lead to it."""

    address: str
    leases: tuple[PortLease, ...]


class Firewall:
    """The table of one pair of roots. Safe to use from several threads."""

    def __init__(self, table: str, bridge: str) -> None:
        self._table = table
        self._bridge = bridge

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
        for container in live:
            for one in _mappable(container.leases):
                key = " . ".join(str(part) for part in _key(one)[1:])
                target = f"{container.address} . {one.container_port}"
                lines.append(f"add element ip {table} {_key(one)[0]} {{ {key} : {target} }}")
        nftables.run("\n".join(lines) + "\n")
        _forget(one for container in live for one in container.leases)

    def publish(self, address: str, leases: Iterable[PortLease]) -> None:
        """Lead the leased host ports to the container; instead of wherever they led before."""
        changed = []
        changes = []
        for one in _mappable(leases):
            name, key = _packed_key(one)
            value = _packed((address, one.container_port))
            there = nftables.element(self._table, name, key)
            if there == value:
                continue
            if there is not None:
                changes.append(nftables.Change(name, key, None))
            changes.append(nftables.Change(name, key, value))
            changed.append(one)
        self._change(changes)
        _forget(changed)

    def unpublish(self, address: str, leases: Iterable[PortLease]) -> None:
        """Take away what leads to the container; what is not there, or leads elsewhere by now, is left as it is."""
        changed = []
        changes = []
        for one in _mappable(leases):
            name, key = _packed_key(one)
            if nftables.element(self._table, name, key) == _packed((address, one.container_port)):
                changes.append(nftables.Change(name, key, None))
                changed.append(one)
        self._change(changes)
        _forget(changed)

    def target(self, one: PortLease) -> tuple[str, int] | None:
        """Where the lease's host port leads now: container address and port."""
        value = nftables.element(self._table, *_packed_key(one))
        if value is None:
            return None
        return ".".join(str(byte) for byte in value[:4]), int.from_bytes(value[4:6], "big")

    def remove(self) -> None:
        """Take the table away with all that is in it; none there is fine."""
        if nftables.table_comment(self._table) is not None:
            nftables.run(f"delete table ip {self._table}")

    def _change(self, changes: Sequence[nftables.Change]) -> None:
        if not changes:
            return
        try:
            nftables.change_elements(self._table, changes)
        except OSError as error:
            raise ReconcilerError(
                f"the published ports in the firewall table {self._table} could not be changed: {error.strerror}",
                code="firewall",
                hint="the next apply makes the table new if it is gone",
            ) from error

    def _digest(self, subnet: str) -> str:
        rules = _RULES.format(bridge=self._bridge, subnet=subnet)
        return sha256(rules.encode()).hexdigest()[:16]

    # --- another firewall's FORWARD chain ---------------------------------------------------------------------------

    def blocked(self) -> bool:
        """Whether an iptables FORWARD chain drops what is not for it and has no rules of ours yet.

        Asks by netlink; starts a process only where iptables-legacy is in use.
        """
        filters = _nft_filter()
        if chain := _dropping_chain(filters):
            return bool(_program("nft")) and nftables.rules_with("filter", chain, self._table) < 2
        rules = _legacy_rules()
        return bool(rules) and _legacy_chain(rules) != "" and sum(self._table in rule for rule in rules) < 2

    def open_forward(self) -> None:
        """Let our bridge's traffic through where an iptables FORWARD chain drops what is not for it.

        Docker runs DOCKER-USER before its own rules and never changes it; without Docker the rules stand in FORWARD.
        """
        places = [
            (_program("nft"), _dropping_chain(_nft_filter())),
            (_program("legacy"), _legacy_chain(_legacy_rules())),
        ]
        for program, chain in places:
            for direction in ("-i", "-o") if program and chain else ():
                if not self._rule(program, "-C", chain, direction):
                    self._rule(program, "-I", chain, direction)

    def close_forward(self) -> None:
        """Take those rules away, wherever they are."""
        for kind, chains in (("nft", set(_nft_filter())), ("legacy", _chains_of(_legacy_rules()))):
            for chain in chains & {"FORWARD", "DOCKER-USER"} if _program(kind) else ():
                for direction in ("-i", "-o"):
                    while self._rule(_program(kind), "-D", chain, direction):
                        pass

    def _rule(self, program: str, verb: str, chain: str, direction: str) -> bool:
        comment = ["-m", "comment", "--comment", self._table]
        words = [program, "-w", verb, chain, direction, self._bridge, *comment, "-j", "ACCEPT"]
        from reconciler.engine.kernel import programs  # noqa: PLC0415 - not for a look

        done = programs.run(words)
        if done.code and verb == "-I":
            raise ReconcilerError(
                f"the chain {chain} of another firewall drops the containers' traffic, and no rule can be added "
                f"there: {done.err.strip()}",
                code="firewall",
                hint=f"try by hand: {' '.join(words)}",
            )
        return done.code == 0


def _key(one: PortLease) -> tuple[str | int, ...]:
    """The map that the lease belongs into, then the parts of its key."""
    if one.host_ip in ("", "0.0.0.0"):  # noqa: S104
        return "any", one.protocol, one.host_port
    return "bind", one.protocol, one.host_ip, one.host_port


def _packed_key(one: PortLease) -> tuple[str, bytes]:
    name, _, *rest = _key(one)
    return str(name), bytes([_PROTOCOLS[one.protocol], 0, 0, 0]) + _packed(rest)


def _packed(parts: Iterable[str | int]) -> bytes:
    """A concatenation of addresses and ports as nftables keeps it."""
    return b"".join(
        part.to_bytes(2, "big") + b"\0\0" if isinstance(part, int) else bytes(int(byte) for byte in part.split("."))
        for part in parts
    )


def _mappable(leases: Iterable[PortLease]) -> tuple[PortLease, ...]:
    """Without those on an IPv6 address: they are held, but there is no IPv6 behind the bridge to lead to."""
    return tuple(one for one in leases if ":" not in one.host_ip)


def _forget(leases: Iterable[PortLease]) -> None:
    """Tracked UDP flows keep going where they went before the maps changed."""
    if ports := {one.host_port for one in leases if one.protocol == "udp"}:
        nftables.forget_udp_flows(ports, sockets.local_addresses())


def _nft_filter() -> dict[str, str]:
    """Chains of iptables-nft's filter table with their policies."""
    return {chain.name: chain.policy for chain in nftables.chains() if chain.table == "filter"}


def _dropping_chain(filters: Mapping[str, str]) -> str:
    """The chain where rules of ours belong, "" if nothing drops what is forwarded."""
    if "DOCKER-USER" in filters:
        return "DOCKER-USER"
    return "FORWARD" if filters.get("FORWARD") == "drop" else ""


def _legacy_rules() -> list[str]:
    """iptables-legacy's filter table; nothing is started where that is not in use."""
    if not _legacy() or not (program := _program("legacy")):
        return []
    from reconciler.engine.kernel import programs  # noqa: PLC0415

    return programs.run([program, "-w", "-S"]).out.splitlines()


def _chains_of(rules: Iterable[str]) -> set[str]:
    return {words[1] for rule in rules if (words := rule.split())[0] in ("-P", "-N")}


def _legacy_chain(rules: list[str]) -> str:
    policies = {name: "drop" if f"-P {name} DROP" in rules else "accept" for name in _chains_of(rules)}
    return _dropping_chain(policies)


def _legacy() -> bool:
    try:
        with open("/proc/thread-self/net/ip_tables_names", encoding="ascii") as file:
            return "filter" in file.read().split()
    except FileNotFoundError:
        return False


def _program(kind: str) -> str:
    """The full path of iptables-nft or iptables-legacy, or of an iptables that does not say; "" if there is none."""
    for wanted in (f"iptables-{kind}", "iptables"):
        for folder in ("/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"):
            path = os.path.join(folder, wanted)
            if os.access(path, os.X_OK):
                return path
    return ""
