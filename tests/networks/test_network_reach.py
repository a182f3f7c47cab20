"""Who reaches whom: every row of the table in docs that says what a published port means."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

import pytest
from netmachine import REFUSED, TIMEOUT, until

from reconciler.engine.kernel import netlink, nftables, sysctl
from reconciler.engine.networks import bridge, pools
from reconciler.engine.networks.firewall import _packed_key
from reconciler.engine.records import PortConfig, PortLease

pytestmark = pytest.mark.kernel

HOST, HOST2, OUTSIDE = "198.51.100.1", "198.51.100.9", "198.51.100.7"
SHORT = 0.6
"""Seconds without an answer after which a packet counts as dropped."""
BRIDGE, WEB, OTHER = "172.17.0.1", "172.17.0.2", "172.17.0.3"


@pytest.fixture(scope="module")
def world(machines):
    made = machines()
    made.web = made.container(
        "web",
        [
            PortConfig(80, "tcp", "", 8080),
            PortConfig(53, "udp", "", 5353),
            PortConfig(80, "tcp", "127.0.0.1", 8081),
            PortConfig(80, "tcp", HOST2, 8082),
        ],
    )
    made.other = made.container("other", [PortConfig(80, "tcp", "", 9090)])
    with contextlib.ExitStack() as stack:
        for namespace, name in ((made.web, "web"), (made.other, "other")):
            namespace.serve(name, 80, "tcp", stack)
        made.web.serve("web", 53, "udp", stack)
        made.web.serve("web", 81, "tcp", stack)
        made.outside.serve("outside", 80, "tcp", stack)
        made.outside.command("ip", "route", "add", "172.17.0.0/16", "via", HOST)
        yield made


@pytest.mark.parametrize(
    ("who", "host", "port", "protocol", "answer"),
    [
        ("outside", HOST, 8080, "tcp", f"web sees {OUTSIDE}"),
        ("outside", HOST2, 8080, "tcp", f"web sees {OUTSIDE}"),
        ("outside", HOST, 5353, "udp", f"web sees {OUTSIDE}"),
        ("outside", HOST2, 8082, "tcp", f"web sees {OUTSIDE}"),
        ("outside", HOST, 8082, "tcp", REFUSED),
        ("outside", HOST, 8081, "tcp", REFUSED),
        ("outside", HOST, 81, "tcp", REFUSED),
        ("outside", WEB, 80, "tcp", TIMEOUT),
        ("host", HOST, 8080, "tcp", f"web sees {HOST}"),
        ("host", "127.0.0.1", 8080, "tcp", f"web sees {BRIDGE}"),
        ("host", "127.0.0.1", 8081, "tcp", f"web sees {BRIDGE}"),
        ("host", "127.0.0.1", 5353, "udp", f"web sees {BRIDGE}"),
        ("host", "::1", 8080, "tcp", REFUSED),
        ("host", BRIDGE, 8080, "tcp", f"web sees {BRIDGE}"),
        ("host", WEB, 81, "tcp", f"web sees {BRIDGE}"),
        ("web", HOST, 8080, "tcp", f"web sees {BRIDGE}"),
        ("web", BRIDGE, 8080, "tcp", f"web sees {BRIDGE}"),
        ("web", HOST, 5353, "udp", f"web sees {BRIDGE}"),
        ("web", BRIDGE, 9090, "tcp", f"other sees {BRIDGE}"),
        ("other", WEB, 81, "tcp", f"web sees {OTHER}"),
        ("other", OUTSIDE, 80, "tcp", f"outside sees {HOST}"),
        ("other", "127.0.0.1", 8080, "tcp", REFUSED),
    ],
)
def test_reach(world, who, host, port, protocol, answer):
    assert getattr(world, who).ask(host, port, protocol, SHORT if answer == TIMEOUT else 10) == answer


def test_containers_do_not_reach_the_hosts_loopback(world):
    """route_localnet would let a packet to 127.0.0.1 in that a container sends to the gateway's MAC."""
    world.other.command("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    world.other.command("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
    world.other.command("ip", "route", "add", "127.0.0.1/32", "via", BRIDGE)
    with contextlib.ExitStack() as stack:
        world.host.serve("host", 7070, "tcp", stack)
        assert world.host.ask("127.0.0.1", 7070) == "host sees 127.0.0.1"
        assert world.other.ask("127.0.0.1", 7070, timeout=SHORT) == TIMEOUT
        assert world.other.ask("127.0.0.1", 8081, timeout=SHORT) == TIMEOUT
        # Not for want of a way: without that one chain the packet arrives.
        table = world.network._firewall._table
        world.host.command("nft", "flush", "chain", "ip", table, "raw")
        assert world.other.ask("127.0.0.1", 8081) == f"web sees {BRIDGE}"
        world.host.run(world.network.rebuild)
        assert world.other.ask("127.0.0.1", 8081, timeout=SHORT) == TIMEOUT


def test_inside_are_loopback_any_port_and_ping_for_everybody(world):
    def look():
        links = {link.name: link for link in netlink.links()}
        names = ("ip_unprivileged_port_start", "ping_group_range")
        settings = [sysctl.read(f"net/ipv4/{name}").split() for name in names]
        return links, settings

    links, settings = world.web.run(look)
    assert links["lo"].up
    assert (links["eth0"].up, links["eth0"].mac, links["eth0"].mtu) == (True, "02:42:ac:11:00:02", 1500)
    assert settings == [["0"], ["0", "2147483647"]]
    assert "scope link" not in world.web.command("ip", "-6", "address", "show", "dev", "eth0")


def test_a_udp_flow_follows_its_port_to_another_container(machine):
    first = machine.container("first", [PortConfig(53, "udp", "", 5353)])
    second = machine.container("second")
    with contextlib.ExitStack() as stack:
        first.serve("first", 53, "udp", stack)
        second.serve("second", 53, "udp", stack)
        client = stack.enter_context(machine.outside.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
        client.settimeout(5)
        client.connect((HOST, 5353))

        def ask():
            client.send(b"?")
            return client.recv(100).decode()

        assert ask() == f"first sees {OUTSIDE}"
        machine.host.run(lambda: machine.network.unpublish(first.address, first.leases))
        machine.host.run(lambda: machine.network.publish(second.address, first.leases))
        assert ask() == f"second sees {OUTSIDE}"
        # What the first had is no longer the first's to take away.
        machine.host.run(lambda: machine.network.unpublish(first.address, first.leases))
        assert ask() == f"second sees {OUTSIDE}"
        machine.host.run(lambda: machine.network.publish(first.address, first.leases))
        assert ask() == f"first sees {OUTSIDE}"


def test_a_deleted_table_or_bridge_is_noticed_and_comes_back_with_its_ports(machine):
    web = machine.container("web", [PortConfig(80, "tcp", "", 8080)])
    machine.container("quiet")
    network, host = machine.network, machine.host
    with contextlib.ExitStack() as stack:
        web.serve("web", 80, "tcp", stack)
        assert host.run(network.problems) == []
        host.command("nft", "delete", "table", "ip", network._firewall._table)
        assert len(host.run(network.problems)) == 1
        assert machine.outside.ask(HOST, 8080) == REFUSED
        host.run(network.prepare)
        assert host.run(network.problems) == []
        assert machine.outside.ask(HOST, 8080) == f"web sees {OUTSIDE}"
        for words in (["set", network._bridge, "down"], ["del", network._bridge]):
            host.command("ip", "link", *words)
            assert len(host.run(network.problems)) == 1
            host.run(network.prepare)
            assert host.run(network.problems) == []
            assert machine.outside.ask(HOST, 8080) == f"web sees {OUTSIDE}"


@pytest.mark.parametrize("kind", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("chain", ["DOCKER-USER", "FORWARD"])
def test_beside_a_firewall_whose_forward_chain_drops(machine, kind, chain):
    """Docker's, started before us and after us; or a plain policy as ufw has it."""
    host = machine.host
    try:
        host.command(kind, "-S")
    except (FileNotFoundError, AssertionError):
        pytest.skip(f"{kind} does not work here")
    docker = ["-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-A FORWARD -j DOCKER-USER"]
    web = machine.container("web", [PortConfig(80, "tcp", "", 8080)])
    assert host.run(machine.network.problems) == []
    for words in (*(docker if chain == "DOCKER-USER" else []), "-P FORWARD DROP"):
        host.command(kind, *words.split())
    before = host.command(kind, "-S").splitlines()
    with contextlib.ExitStack() as stack:
        web.serve("web", 80, "tcp", stack)
        machine.outside.serve("outside", 80, "tcp", stack)
        assert machine.outside.ask(HOST, 8080, timeout=SHORT) == TIMEOUT
        assert host.run(machine.network.problems) == ["another firewall drops the containers' traffic"]
        for _ in range(2):
            host.run(machine.network.prepare)
            assert host.run(machine.network.problems) == []
            assert machine.outside.ask(HOST, 8080) == f"web sees {OUTSIDE}"
            assert web.ask(OUTSIDE, 80) == f"outside sees {HOST}"
            assert web.ask(HOST, 8080) == f"web sees {BRIDGE}"
    added = [line for line in host.command(kind, "-S").splitlines() if line not in before]
    assert len(added) == 2
    assert all(line.startswith(f"-A {chain}") and machine.network._firewall._table in line for line in added)
    machine.forget_containers()
    assert host.run(machine.network.retire)
    host.run(machine.network.teardown)
    assert host.command(kind, "-S").splitlines() == before


def test_teardown_leaves_nothing_and_a_dead_container_nothing_either(machine):
    web = machine.container("web", [PortConfig(80, "tcp", "", 8080)])
    veth = bridge.veth_name(web.id, 1)
    host = machine.host
    assert host.run(lambda: netlink.index_of(veth))
    web.end()
    assert until(lambda: not host.run(lambda: netlink.index_of(veth)))
    assert not host.run(machine.network.retire)  # there is still a container
    host.run(machine.network.teardown)
    assert host.run(machine.network.problems) == []
    machine.forget_containers()
    assert host.run(machine.network.retire)
    host.run(machine.network.prepare)  # somebody wants it again before it is gone
    host.run(machine.network.teardown)
    assert host.run(machine.network.problems) == []
    assert host.run(machine.network.retire)
    host.run(machine.network.teardown)
    assert host.command("nft", "list", "ruleset") == ""
    assert {link.name for link in host.run(netlink.links) if link.name.startswith(("rc", "v"))} == set()
    host.run(machine.network.teardown)


def test_an_interrupted_connect_is_repeated(machine):
    machine.host.run(machine.network.prepare)
    web, again = machine.namespace(), machine.namespace()
    name, subnet = machine.network._bridge, machine.network.subnet()
    for namespace in (web, again):
        pid = namespace.pid
        machine.host.run(lambda pid=pid: bridge.connect(name, subnet, "a" * 64, 3, pid=pid, address="172.17.0.9"))
    assert machine.host.ask("172.17.0.9", 80) == REFUSED


def test_everybody_prepares_at_once(machine, monkeypatch):
    """Two pairs of roots and several threads each: one bridge and table a pair, and different subnets."""
    look, both_looked = pools.in_use, threading.Barrier(2)

    def look_at_the_same_time():
        seen = look()
        with contextlib.suppress(threading.BrokenBarrierError):
            both_looked.wait(0.3)
        return seen

    monkeypatch.setattr(pools, "in_use", look_at_the_same_time)
    second, _ = machine.roots("two")
    networks = [machine.network, second] * 3
    found = {}

    def prepare(number):
        found[number] = machine.host.run(networks[number].prepare)

    threads = [threading.Thread(target=prepare, args=(number,)) for number in range(len(networks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {str(found[0]), str(found[1])} == {"172.17.0.0/16", "172.18.0.0/16"}
    assert {str(found[n]) for n in (0, 2, 4)} == {str(found[0])}
    bridges = [link for link in machine.host.run(netlink.links) if link.kind == "bridge"]
    assert len(bridges) == 2
    for network in (machine.network, second):
        assert machine.host.run(network.problems) == []


def test_a_subnet_that_is_in_use_is_left_alone(machine):
    host = machine.host
    host.command("ip", "link", "add", "br7", "type", "bridge")
    host.command("ip", "link", "set", "br7", "up")
    host.command("ip", "route", "add", "172.16.0.0/15", "dev", "br7")
    host.command("ip", "route", "add", "172.18.5.0/24", "dev", "br7", "table", "77")
    host.command("ip", "address", "add", "172.19.3.3/32", "dev", "br7")
    assert str(host.run(machine.network.prepare)) == "172.20.0.0/16"
    host.command("ip", "link", "del", machine.network._bridge)
    assert str(host.run(machine.network.prepare)) == "172.20.0.0/16"
    host.command("ip", "link", "del", machine.network._bridge)
    host.command("ip", "route", "add", "172.20.0.0/24", "dev", "br7")
    assert str(host.run(machine.network.prepare)) == "172.21.0.0/16"
    assert host.run(machine.network.problems) == []


def test_a_new_store_finds_the_bridge_that_is_there(machine):
    subnet = machine.host.run(machine.network.prepare)
    with machine.store.write() as connection:
        connection.execute("DELETE FROM meta")
    assert machine.host.run(machine.network.prepare) == subnet


def test_udp_flows_of_others_are_not_forgotten(machine):
    machine.container("web", [PortConfig(53, "udp", "", 5353)])
    with contextlib.ExitStack() as stack:
        machine.host.serve("host", 6000, "udp", stack)
        machine.host.serve("host", 6001, "udp", stack)
        assert (
            machine.outside.ask(HOST, 6000, "udp") == machine.outside.ask(HOST, 6001, "udp") == f"host sees {OUTSIDE}"
        )
        assert machine.host.run(lambda: nftables.forget_udp_flows({6000}, {HOST2})) == 0
        assert machine.host.run(lambda: nftables.forget_udp_flows({6000}, {HOST})) == 1
        assert machine.host.run(lambda: nftables.forget_udp_flows({6000}, {HOST})) == 0
        assert machine.host.run(lambda: nftables.forget_udp_flows({6001}, {HOST})) == 1


def test_ports_are_published_all_or_none(machine):
    """One bad change in a batch and nothing of it is done; what leads elsewhere is replaced, not refused."""
    machine.host.run(machine.network.prepare)
    wall = machine.network._firewall
    leases = [PortLease(80, protocol, host_ip, 7000) for protocol in ("tcp", "udp", "sctp") for host_ip in ("", HOST)]
    keys = [_packed_key(one) for one in leases]

    def add(*places):
        nftables.change_elements(wall._table, [nftables.Change(*place, b"\1\2\3\4\0\5\0\0") for place in places])

    with pytest.raises(FileNotFoundError):
        machine.host.run(lambda: add(keys[0], ("nosuchmap", keys[1][1]), keys[2]))
    assert [machine.host.run(lambda one=one: wall.target(one)) for one in leases] == [None] * 6
    machine.host.run(lambda: add(keys[0], keys[3]))
    assert machine.host.run(lambda: wall.target(leases[0])) == ("1.2.3.4", 5)
    with pytest.raises(FileExistsError):
        machine.host.run(lambda: nftables.change_elements(wall._table, [nftables.Change(*keys[0], bytes(8))]))
    machine.host.run(lambda: wall.publish("172.17.0.5", leases))
    assert [machine.host.run(lambda one=one: wall.target(one)) for one in leases] == [("172.17.0.5", 80)] * 6
    listed = machine.host.command("nft", "list", "map", "ip", wall._table, "bind")
    for protocol in ("tcp", "udp", "sctp"):
        assert f"{protocol} . {HOST} . 7000 : 172.17.0.5 . 80" in listed
    machine.host.run(lambda: wall.unpublish("172.17.0.6", leases))
    assert [machine.host.run(lambda one=one: wall.target(one)) for one in leases] == [("172.17.0.5", 80)] * 6
    machine.host.run(lambda: wall.unpublish("172.17.0.5", leases))
    assert [machine.host.run(lambda one=one: wall.target(one)) for one in leases] == [None] * 6


def test_nft_is_named_with_its_package_when_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "defpath", str(tmp_path))
    with pytest.raises(nftables.ReconcilerError) as caught:
        nftables.run("list tables")
    assert "nftables" in caught.value.hint
