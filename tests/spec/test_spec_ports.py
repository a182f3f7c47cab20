"""Port forms against an oracle that knows the parts before they are spelled."""

from __future__ import annotations

import ipaddress

from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.model.desired import Port
from reconciler.spec.findings import BadValueError
from reconciler.spec.ports import overlap, parse

PORTS = st.integers(1, 65535)
ADDRESSES = st.one_of(st.just(""), st.ip_addresses().map(str))
PROTOCOLS = st.sampled_from(["", "tcp", "udp", "sctp", "TCP", "Udp"])


def spell(address, host, container, protocol):
    shown = f"[{address}]" if ":" in address else address
    left = f"{shown}:{host}:" if shown else f"{host}:" if host else ""
    return left + container + (f"/{protocol}" if protocol else "")


def canonical(address):
    parsed = ipaddress.ip_address(address) if address else ""
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


@given(ADDRESSES, PORTS, st.integers(0, 20), st.one_of(st.none(), PORTS), PROTOCOLS)
def test_one_to_one_forms(address, first, extra, host, protocol):
    assume(first + extra <= 65535 and (host or 1) + extra <= 65535)
    container = f"{first}-{first + extra}" if extra else str(first)
    published = "" if host is None else f"{host}-{host + extra}" if extra else str(host)
    expected = [
        Port(first + n, protocol.lower() or "tcp", canonical(address), host + n if host else 0)
        for n in range(extra + 1)
    ]
    assert parse(spell(address, published, container, protocol)) == expected


@given(ADDRESSES, PORTS, PORTS, st.integers(1, 100), PROTOCOLS)
def test_a_range_of_host_ports_for_one_container_port(address, container, host, extra, protocol):
    assume(host + extra <= 65535)
    text = spell(address, f"{host}-{host + extra}", str(container), protocol)
    assert parse(text) == [Port(container, protocol.lower() or "tcp", canonical(address), host, host + extra)]


@given(PORTS, st.integers(0, 5), PORTS, ADDRESSES, PROTOCOLS)
def test_the_spelling_in_plans_means_the_same_port(host, extra, container, address, protocol):
    assume(host + extra <= 65535)
    port = Port(container, protocol.lower() or "tcp", canonical(address), host, host + extra if extra else 0)
    assert parse(str(port)) == [port]


@given(st.text("0123456789-:/[].tcpud ", max_size=14))
def test_anything_else_is_refused_and_nothing_out_of_bounds_gets_through(text):
    try:
        ports = parse(text)
    except BadValueError:
        return
    for port in ports:
        assert 1 <= port.container_port <= 65535
        assert 0 <= port.host_port <= 65535
        assert parse(str(port)) == [port]


@given(ADDRESSES.map(canonical), ADDRESSES.map(canonical))
def test_overlap_is_symmetric_and_every_address_overlaps_all(one, other):
    assert overlap(one, other) == overlap(other, one)
    assert overlap("", one)
    assert overlap(one, one)
    assert overlap("0.0.0.0", one) == (":" not in one)
    assert overlap("::", one) == (":" in one or not one)
    if one and other and one != other and not {one, other} & {"0.0.0.0", "::"}:
        assert not overlap(one, other)
