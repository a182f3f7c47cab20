"""Names inside a container: hosts file, resolv.conf, link variables."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.networks import hosts, links
from reconciler.kits.errors import ReconcilerError

RECORDED = """\
MYSQL_PORT=tcp://172.17.0.2:3306
MYSQL_PORT_8000_TCP_START=tcp://172.17.0.2:8000
MYSQL_PORT_8000_TCP_ADDR=172.17.0.2
MYSQL_PORT_8000_TCP_PROTO=tcp
MYSQL_PORT_8000_TCP_PORT_START=8000
MYSQL_PORT_8000_TCP_END=tcp://172.17.0.2:8002
MYSQL_PORT_8000_TCP_PORT_END=8002
MYSQL_PORT_3306_TCP=tcp://172.17.0.2:3306
MYSQL_PORT_3306_TCP_ADDR=172.17.0.2
MYSQL_PORT_3306_TCP_PORT=3306
MYSQL_PORT_3306_TCP_PROTO=tcp
MYSQL_PORT_8000_TCP=tcp://172.17.0.2:8000
MYSQL_PORT_8000_TCP_PORT=8000
MYSQL_PORT_8001_TCP=tcp://172.17.0.2:8001
MYSQL_PORT_8001_TCP_ADDR=172.17.0.2
MYSQL_PORT_8001_TCP_PORT=8001
MYSQL_PORT_8001_TCP_PROTO=tcp
MYSQL_PORT_8002_TCP=tcp://172.17.0.2:8002
MYSQL_PORT_8002_TCP_ADDR=172.17.0.2
MYSQL_PORT_8002_TCP_PORT=8002
MYSQL_PORT_8002_TCP_PROTO=tcp
MYSQL_PORT_33060_UDP=udp://172.17.0.2:33060
MYSQL_PORT_33060_UDP_ADDR=172.17.0.2
MYSQL_PORT_33060_UDP_PORT=33060
MYSQL_PORT_33060_UDP_PROTO=udp
MYSQL_NAME=/web/mysql
MYSQL_ENV_FOO=bar
MYSQL_ENV_MYSQL_VERSION=8=x
"""
PORTS = [(33060, "udp"), (8001, "tcp"), (3306, "tcp"), (8000, "tcp"), (8002, "tcp")]
ENVIRONMENT = ["PATH=/bin", "FOO=bar", "MYSQL_VERSION=8=x"]


def test_link_variables_are_dockers():
    made = links.variables("web", "mysql", "172.17.0.2", PORTS, ENVIRONMENT)
    assert "".join(f"{name}={value}\n" for name, value in made.items()) == RECORDED


@given(st.permutations(PORTS), st.booleans())
def test_link_variables_do_not_depend_on_the_order_of_ports(ports, twice):
    made = links.variables("web", "mysql", "172.17.0.2", ports * (2 if twice else 1), ENVIRONMENT)
    assert list(made.items()) == [tuple(line.split("=", 1)) for line in RECORDED.splitlines()]


def test_a_link_without_ports_and_one_with_a_udp_port_alone():
    first = links.variables("web", "my-sql", "172.17.0.2", [], ["A=1"])
    assert first == {"MY_SQL_NAME": "/web/my-sql", "MY_SQL_ENV_A": "1"}
    second = links.variables("web", "db", "172.17.0.3", [(53, "udp")], [])
    assert (second["DB_PORT"], second["DB_NAME"]) == ("udp://172.17.0.3:53", "/web/db")


def test_hosts_content_is_dockers_with_room_for_longer_addresses():
    names = hosts.link_names("mysql", "d" * 64, "db")
    text = hosts.content("172.17.0.3", "h1.example.org", [("172.17.0.2", names)])
    assert len(text) % 256 == 0
    assert len(text) - len(text.rstrip(b" \n")) > 32
    assert text.rstrip(b" \n").decode().split("\n") == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "ff00::0\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
        f"172.17.0.2\tmysql {'d' * 12} db",
        "172.17.0.3\th1.example.org h1",
    ]
    assert hosts.link_names("db", "d" * 64, "db") == ("db", "d" * 12)


@pytest.mark.parametrize("name", ["", "a b", "a\tb", "a\nb", "a\n", "a#b", "a\0"])
def test_names_that_would_forge_a_line_are_refused(name):
    with pytest.raises(ReconcilerError):
        hosts.content("172.17.0.3", "web", [("172.17.0.2", (name,))])
    with pytest.raises(ReconcilerError):
        hosts.hostname_file(name)


@pytest.fixture
def memory(tmp_path):
    """A folder on a tmpfs, as RUN is."""
    folder = f"/dev/shm/{tmp_path.parent.name}-{os.getpid()}"
    os.mkdir(folder)
    yield folder
    for name in os.listdir(folder):
        os.unlink(f"{folder}/{name}")
    os.rmdir(folder)


def test_a_reader_sees_the_old_hosts_or_the_new_and_the_file_never_shrinks(memory):
    path = f"{memory}/hosts"
    big = [("10.0.0.1", (f"a-rather-long-alias-{number}",)) for number in range(200)]
    with open(path, "wb") as file:
        file.write(hosts.content("172.17.0.3", "web", [("172.17.0.2", ("db",))]))
    inode = os.stat(path).st_ino
    assert not hosts.update_in_place(path, "172.17.0.3", "web", [("172.17.0.2", ("db",))])
    variants = [[("172.17.0.2", ("db",))], [("172.17.200.200", ("db",))]]
    legal = {hosts.content("172.17.0.3", "web", variant) for variant in variants}
    seen, stop = set(), threading.Event()

    def read():
        fd = os.open(path, os.O_RDONLY)
        while not stop.is_set():
            seen.add(os.pread(fd, 8192, 0))
        os.close(fd)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(2000):
        assert hosts.update_in_place(path, "172.17.0.3", "web", variants[(number + 1) % 2])
    stop.set()
    reader.join()
    assert seen == legal
    hosts.update_in_place(path, "172.17.0.3", "web", big)
    grown = os.stat(path).st_size
    hosts.update_in_place(path, "172.17.0.3", "web", variants[0])
    assert (os.stat(path).st_size, os.stat(path).st_ino) == (grown, inode)
    with open(path, "rb") as file:
        assert file.read().split() == hosts.content("172.17.0.3", "web", variants[0]).split()


def test_a_hosts_file_that_a_container_made_huge_is_written_anew(tmp_path):
    path = tmp_path / "hosts"
    path.touch()
    os.truncate(path, 4000 << 30)
    assert hosts.update_in_place(str(path), "172.17.0.3", "web", [("172.17.0.2", ("db",))])
    assert path.read_bytes() == hosts.content("172.17.0.3", "web", [("172.17.0.2", ("db",))])


def test_a_link_in_the_place_of_a_hosts_file_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "hosts").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic"):
        hosts.update_in_place(str(tmp_path / "hosts"), "172.17.0.3", "web")
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.parametrize(
    ("host", "systemd", "expected"),
    [
        ("search x.org\nnameserver 10.0.0.1\n", "", "search x.org\nnameserver 10.0.0.1\n"),
        ("nameserver 127.0.0.53\nsearch a\n", "nameserver 10.1.1.1\n", "nameserver 10.1.1.1\n"),
        ("nameserver 127.0.0.1\nnameserver 10.0.0.2\n", "nameserver 10.1.1.1\n", "nameserver 10.0.0.2\n"),
        ("nameserver ::1\nnameserver fd00::1\n", "nameserver 127.0.0.1\n", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
        (None, None, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"),
    ],
)
def test_resolv_conf_never_names_what_a_container_can_not_reach(tmp_path, host, systemd, expected):
    paths = []
    for name, text in (("host", host), ("systemd", systemd)):
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        paths.append(str(path))
    assert hosts.resolver(host=paths[0], systemd=paths[1]) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"servers": ["192.0.2.1"]}, "search b.org c.org\nnameserver 192.0.2.1\noptions ndots:2\n"),
        ({"servers": ["127.0.0.1"], "search": ["."]}, "nameserver 127.0.0.1\noptions ndots:2\n"),
        ({"search": ["x.org", "y.org"]}, "search x.org y.org\nnameserver 10.0.0.2\noptions ndots:2\n"),
        ({"options": ["ndots:3", "rotate"]}, "search b.org c.org\nnameserver 10.0.0.2\noptions ndots:3 rotate\n"),
    ],
)
def test_resolv_conf_takes_what_is_given_and_the_rest_from_the_host(tmp_path, given, expected):
    host = tmp_path / "host"
    host.write_text("search a.org\nsearch b.org c.org\nnameserver 127.0.0.1\nnameserver 10.0.0.2\noptions ndots:2\n")
    assert hosts.resolver(**given, host=str(host), systemd="") == expected
