"""Our netlink messages are, byte for byte, what pyroute2 makes of the same request; what it reads is what is there."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from reconciler.engine.kernel import netlink

REQUEST_ACK, EXCL_CREATE = 0x1 | 0x4, 0x200 | 0x400
NEWLINK, DELLINK, NEWADDR, NEWROUTE = 16, 17, 20, 24
UP = {"flags": 1, "change": 1}
MAC = "02:42:ac:11:00:02"


def encoded(message, kind, more, attributes=(), **fields):
    message["header"]["type"] = kind
    message["header"]["flags"] = REQUEST_ACK | more
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    message.encode()
    return bytes(message.data)


def attrs(*attributes):
    return {"attrs": list(attributes)}


def veth(*, master):
    far = attrs(("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", MAC), ("IFLA_MTU", 1500), ("IFLA_NET_NS_FD", 9))
    info = attrs(("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", attrs(("VETH_INFO_PEER", far))))
    ports = [("IFLA_MASTER", master)] if master else []
    near = [("IFLA_IFNAME", "rc12345678a1"), ("IFLA_MTU", 1500), *ports, ("IFLA_LINKINFO", info)]
    return encoded(ifinfmsg(), NEWLINK, EXCL_CREATE, near, **UP)


def bridge():
    data = attrs(("IFLA_BR_FORWARD_DELAY", 0), ("IFLA_BR_STP_STATE", 0))
    info = attrs(("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data))
    named = [("IFLA_IFNAME", "rcl-abcdef"), ("IFLA_ADDRESS", MAC), ("IFLA_LINKINFO", info)]
    return encoded(ifinfmsg(), NEWLINK, EXCL_CREATE, named)


def hairpin():
    data = attrs(("IFLA_BRPORT_MODE", 1))
    info = attrs(("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data))
    return encoded(ifinfmsg(), NEWLINK, 0, [("IFLA_IFNAME", "rc1"), ("IFLA_LINKINFO", info)])


def address():
    given = [("IFA_ADDRESS", "10.0.5.6"), ("IFA_LOCAL", "10.0.5.6"), ("IFA_BROADCAST", "10.0.15.255")]
    return encoded(ifaddrmsg(), NEWADDR, EXCL_CREATE, given, family=socket.AF_INET, prefixlen=20, index=70000)


def default_route():
    way = [("RTA_GATEWAY", "172.17.0.1"), ("RTA_OIF", 2)]
    return encoded(rtmsg(), NEWROUTE, EXCL_CREATE, way, family=socket.AF_INET, table=254, proto=4, type=1, scope=0)


VETH = {"peer_namespace": 9, "peer_mac": MAC, "mtu": 1500}
PAIRS = {
    "bridge": lambda: (netlink.link_add_bridge("rcl-abcdef", MAC), bridge()),
    "veth": lambda: (netlink.link_add_veth("rc12345678a1", "eth0", **VETH), veth(master=0)),
    "veth-at-bridge": lambda: (netlink.link_add_veth("rc12345678a1", "eth0", **VETH, master=7), veth(master=7)),
    "hairpin": lambda: (netlink.link_set_hairpin("rc1"), hairpin()),
    "master": lambda: (
        netlink.link_set_master(5, 7),
        encoded(ifinfmsg(), NEWLINK, 0, [("IFLA_MASTER", 7)], index=5),
    ),
    "up": lambda: (netlink.link_set_up(5), encoded(ifinfmsg(), NEWLINK, 0, index=5, **UP)),
    "delete": lambda: (netlink.link_del("rc"), encoded(ifinfmsg(), DELLINK, 0, [("IFLA_IFNAME", "rc")])),
    "address": lambda: (netlink.address_add(70000, "10.0.5.6", 20), address()),
    "route": lambda: (netlink.route_add_default("172.17.0.1", 2), default_route()),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_request_is_encoded_as_pyroute2_encodes_it(name):
    ours, theirs = PAIRS[name]()
    assert ours.data == theirs


def test_links_and_addresses_are_read():
    found = {link.name: link for link in netlink.links()}
    assert found["lo"].index == socket.if_nametoindex("lo")
    assert found["lo"].mtu
    if found["lo"].up:
        assert "127.0.0.1/8" in netlink.addresses(found["lo"].index)
    assert netlink.addresses(1 << 30) == []


def test_pyroute2_is_not_loaded_by_what_a_start_needs():
    code = (
        "import sys\n"
        "from reconciler.engine.containers import lifecycle\n"
        "from reconciler.engine.networks import bridge, pools\n"
        "netlink = bridge.netlink\n"
        "netlink.link_add_veth('a', 'b', peer_namespace=3, peer_mac='02:42:ac:11:00:02', mtu=1500)\n"
        "assert 'pyroute2' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
