"""What is given out: subnets, addresses, host ports; and who is named when one can't be had."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.engine import store
from reconciler.engine.networks import addresses, pools, ports
from reconciler.engine.networks.addresses import Subnet
from reconciler.engine.records import PortConfig, PortLease
from reconciler.kits.errors import ReconcilerError


@contextlib.contextmanager
def records():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(store._SCHEMA)
    yield connection
    connection.close()


def name(connection, container, called):
    connection.execute(
        "INSERT INTO containers (id, name, owner, image, config, mounts, created, phase, wanted, state)"
        " VALUES (?, ?, '', '', '', '', 0, 'ready', 'running', 'running')",
        (container, called),
    )


# --- subnets --------------------------------------------------------------------------------------------------------

FIB = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 172.16.0.0/12 2 0 2
        |-- 172.17.0.0
           /16 link UNICAST
        |-- 172.18.4.0
           /22 link UNICAST
           /24 universe UNICAST
Local:
  +-- 127.0.0.0/8 2 0 2
     |-- 172.19.0.9
        /32 host LOCAL
"""


def test_routes_and_addresses_are_in_use_and_the_default_route_is_not():
    found = {str(network) for network in pools.in_use(FIB)}
    assert found == {"172.17.0.0/16", "172.18.4.0/22", "172.18.4.0/24", "172.19.0.9/32"}
    assert str(pools.choose(pools.in_use(FIB))) == "172.20.0.0/16"
    assert str(pools.choose([])) == "172.17.0.0/16"
    assert str(pools.choose(pools.in_use(FIB), "172.25.0.0/16")) == "172.25.0.0/16"
    assert str(pools.choose(pools.in_use(FIB), "172.18.0.0/16")) == "172.20.0.0/16"


def test_after_the_big_pools_come_the_small_ones_and_then_an_error():
    big = [network for network in pools.candidates() if network.prefix == 16]
    assert str(pools.choose(big)) == "192.168.0.0/20"
    with pytest.raises(ReconcilerError, match="no free network"):
        pools.choose(pools.candidates())


# --- addresses ------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 9), st.one_of(st.just(""), st.integers(0, 17).map("10.0.0.{}".format)))
    )
)
def test_no_address_is_given_out_twice(steps):
    """Any order of lease and release: like a dictionary whose lowest free number is taken next."""
    subnet = Subnet.of("10.0.0.0/28")
    expected: dict[int, int] = {}
    with records() as connection:
        for takes, container, wanted in steps:
            if not takes:
                addresses.release(connection, str(container))
                expected.pop(container, None)
                continue
            number = int(wanted.rpartition(".")[2]) if wanted else 0
            free = [n for n in range(2, 15) if n not in expected.values()]
            if container not in expected:
                expected[container] = number if number in free else free[0]
            given_out = addresses.lease(connection, subnet, str(container), wanted)
            assert given_out == f"10.0.0.{expected[container]}"


def test_a_full_subnet_and_one_that_changed():
    small, other = Subnet.of("10.0.0.0/29"), Subnet.of("10.9.0.0/16")
    with records() as connection:
        given_out = [addresses.lease(connection, small, str(number)) for number in range(5)]
        assert given_out == [f"10.0.0.{number}" for number in range(2, 7)]
        with pytest.raises(ReconcilerError, match=r"all 5 addresses of 10\.0\.0\.0/29"):
            addresses.lease(connection, small, "more")
        assert addresses.lease(connection, other, "3", "10.0.0.5") == "10.9.0.2"
        assert addresses.lease(connection, small, "more", "10.0.0.7") == "10.0.0.5"
    assert (other.gateway, other.broadcast, str(other)) == ("10.9.0.1", "10.9.255.255", "10.9.0.0/16")


# --- host ports -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet(monkeypatch):
    """A host on which only the given ports are taken by others."""
    foreign = set()
    monkeypatch.setattr(ports, "_bindable", lambda request, port: (request.protocol, port) not in foreign)
    return foreign


requests = st.lists(
    st.builds(
        lambda port, protocol, address, low, more: PortConfig(port, protocol, address, low, low + more if low else 0),
        st.integers(1, 5),
        st.sampled_from(["tcp", "udp"]),
        st.sampled_from(["", "127.0.0.1", "10.0.0.1", "0.0.0.0"]),
        st.sampled_from([0, 0, 8000, 8001]),
        st.integers(0, 3),
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), requests), max_size=8), st.sets(st.integers(32768, 32771)))
def test_no_port_is_given_out_twice_and_each_request_is_met(steps, foreign):
    real, ports._bindable = ports._bindable, lambda _request, port: port not in foreign
    held: dict[int, tuple[PortLease, ...]] = {}
    try:
        with records() as connection:
            for container, wanted in steps:
                connection.execute("SAVEPOINT s")
                try:
                    given_out = ports.lease(
                        connection, str(container), f"s/{container}", wanted, held.get(container, ())
                    )
                except ReconcilerError:
                    connection.execute("ROLLBACK TO s")
                    continue
                held[container] = given_out
                assert set(ports.leases_of(connection, str(container))) == set(given_out)
                for request, one in zip(wanted, given_out, strict=True):
                    assert (one.container_port, one.protocol, one.host_ip) == (
                        request.container_port,
                        request.protocol,
                        request.host_ip,
                    )
                    if not request.host_port:
                        assert one.host_port >= 32768
                        assert one.host_port not in foreign
                    else:
                        assert request.host_port <= one.host_port <= max(request.host_port, request.host_port_end)
                everything = [one for leases in held.values() for one in leases]
                for index, one in enumerate(everything):
                    for other in everything[:index]:
                        if (one.protocol, one.host_port) == (other.protocol, other.host_port):
                            assert not ports._clash(one.host_ip, other.host_ip)
    finally:
        ports._bindable = real


def gone(connection, container):
    connection.execute("DELETE FROM ports WHERE container = ?", (container,))


def test_a_random_port_stays_with_its_owner(quiet):
    wanted = [PortConfig(80), PortConfig(81)]
    with records() as connection:
        first = ports.lease(connection, "c1", "blog/web", wanted)
        assert [one.host_port for one in first] == [32768, 32769]
        # Down: the container goes, another comes, and does not get what is remembered.
        gone(connection, "c1")
        assert ports.lease(connection, "c2", "", [PortConfig(80)])[0].host_port == 32770
        assert ports.lease(connection, "c3", "blog/web", wanted) == first
        # Replaced: the successor is leased the same, unless a foreign program has one by now.
        quiet.add(("tcp", 32768))
        gone(connection, "c3")
        moved = ports.lease(connection, "c4", "blog/web", wanted, first)
        assert [one.host_port for one in moved] == [32771, 32769]
        gone(connection, "c4")
        quiet.clear()
        assert ports.lease(connection, "c5", "blog/web", wanted) == moved
        gone(connection, "c5")
        connection.execute("DELETE FROM remembered_ports WHERE owner = 'blog/web'")
        assert ports.lease(connection, "c6", "", [PortConfig(80)])[0].host_port == 32768


def test_a_range_gives_its_first_free_port_and_a_conflict_names_the_container(quiet):
    wanted = [PortConfig(80, "tcp", "", 9100, 9102)]
    quiet.add(("tcp", 9100))
    with records() as connection:
        name(connection, "c1", "one")
        assert ports.lease(connection, "c1", "", wanted)[0].host_port == 9101
        assert ports.lease(connection, "c2", "", wanted)[0].host_port == 9102
        with pytest.raises(ReconcilerError, match="no host port from 9100 to 9102"):
            ports.lease(connection, "c3", "", wanted)
        with pytest.raises(ReconcilerError, match=r"127\.0\.0\.1:9101/tcp is already allocated to container one"):
            ports.lease(connection, "c3", "", [PortConfig(80, "tcp", "127.0.0.1", 9101)])
        with pytest.raises(ReconcilerError, match="asked for twice"):
            ports.lease(connection, "c3", "", [PortConfig(80, "tcp", "", 7), PortConfig(81, "tcp", "", 7)])
        assert ports.lease(connection, "c3", "", [PortConfig(80, "udp", "", 9101)])


@pytest.mark.kernel
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_who_has_a_port_is_named(machine, protocol):
    """Before (`busy`) and when it is to be held (`hold`); a held port is nobody else's and refuses connections."""
    host = machine.host
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM

    def foreign(family, address):
        made = host.run(lambda: socket.socket(family, kind))
        made.bind((address, 8080))
        if protocol == "tcp":
            made.listen()
        return made

    wanted = [PortConfig(80, protocol, "", 8080), PortConfig(81, protocol, "198.51.100.1", 8081)]
    leases = [PortLease(80, protocol, "", 8080), PortLease(81, protocol, "198.51.100.1", 8081)]

    def busy(ignore=()):
        with machine.store.read() as connection:
            return host.run(lambda: ports.busy(connection, wanted, ignore))

    assert busy() == []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::"), (socket.AF_INET6, "::1")):
        with foreign(family, address):
            (found,) = busy()
            assert (found.host_ip, found.host_port, found.protocol) == ("", 8080, protocol)
            assert f"(process {os.getpid()})" in found.holder
            with pytest.raises(ReconcilerError, match=rf"8080/{protocol} is in use by .* \(process {os.getpid()}\)"):
                host.run(lambda: ports.hold(leases))
    held = host.run(lambda: ports.hold(leases))
    assert len(held) == 3
    with host.run(lambda: socket.socket(socket.AF_INET, kind)) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("0.0.0.0", 8080))
    if protocol == "tcp":
        assert host.ask("::1", 8080) == "refused"
    for fd in held:
        os.close(fd)
    with machine.store.write() as connection:
        name(connection, "c1", "web")
        host.run(lambda: ports.lease(connection, "c1", "", wanted))
    assert [found.holder for found in busy()] == ["container web"] * 2
    assert busy(ignore=["c1"]) == []


@pytest.mark.kernel
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_that_others_have_is_passed_over_without_asking_who(machine, monkeypatch, protocol):
    """Under the store's write lock there is no time to look through all processes."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with machine.host.run(lambda: socket.socket(socket.AF_INET6, kind)) as foreign:
        foreign.bind(("::1", 9100))

        def never(*_arguments):
            raise AssertionError("looked for who has the port")

        monkeypatch.setattr(ports.sockets, "local_sockets", never)
        monkeypatch.setattr(ports.sockets, "owners", never)
        wanted = [PortConfig(80, protocol, "", 9100, 9102)]
        with machine.store.write() as connection:
            (lease,) = machine.host.run(lambda: ports.lease(connection, "c1", "", wanted))
    assert lease.host_port == 9101


@pytest.mark.kernel
def test_the_rest_of_a_closed_connection_is_not_in_the_way(machine):
    host = machine.host
    server = host.run(lambda: socket.create_server(("127.0.0.1", 8080)))
    with server, host.run(lambda: socket.create_connection(("127.0.0.1", 8080))) as client:
        accepted, _ = server.accept()
        accepted.close()
        client.recv(1)
    lease = PortLease(80, "tcp", "", 8080)
    with pytest.raises(OSError, match="in use"), host.run(socket.socket) as plain:
        plain.bind(("0.0.0.0", 8080))
    for fd in host.run(lambda: ports.hold([lease])):
        os.close(fd)


@pytest.mark.kernel
def test_an_address_that_is_not_the_hosts_and_a_protocol_the_kernel_may_lack(machine):
    with pytest.raises(ReconcilerError, match=r"203\.0\.113\.5 is not an address of this host"):
        machine.host.run(lambda: ports.hold([PortLease(80, "tcp", "203.0.113.5", 8080)]))
    for fd in machine.host.run(lambda: ports.hold([PortLease(80, "sctp", "", 8080)])):
        os.close(fd)
