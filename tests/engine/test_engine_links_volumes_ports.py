"""What containers see of each other and of the host: links, hosts files, volumes, published ports. Real ones."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import urllib.request

import pytest
from support.machine import until

from reconciler.engine.records import ContainerConfig, LinkConfig

pytestmark = pytest.mark.kernel

SLEEP = ["sleep", "1000"]
LINKED = {
    "containers": {
        "db": {
            "image": "tiny",
            "command": SLEEP,
            "environment": {"FOO": "bar", "PATH": "/bin"},
            "expose": ["3306", "33060/udp", "8000-8002"],
            "stop_grace_period": "0s",
        },
        "web": {
            "image": "tiny",
            "command": SLEEP,
            "environment": {"MYSQL_PORT_8001_TCP": "mine"},
            "links": ["db:mysql"],
            "stop_grace_period": "0s",
        },
    }
}


def port_variables(prefix, address, port, protocol):
    return {
        f"{prefix}": f"{protocol}://{address}:{port}",
        f"{prefix}_ADDR": address,
        f"{prefix}_PORT": str(port),
        f"{prefix}_PROTO": protocol,
    }


def environment_of(machine, name):
    with open(f"/proc/{machine.record(name).pid}/environ", encoding="utf-8") as file:
        return dict(pair.split("=", 1) for pair in file.read().strip("\0").split("\0"))


def test_links_as_docker_makes_them(machine):
    machine.apply(LINKED)
    db, web = machine.record("db"), machine.record("web")
    address = db.address
    expected = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": web.id[:12],
        "HOME": "/root",
        "MYSQL_NAME": "/web/mysql",
        "MYSQL_ENV_FOO": "bar",
        "MYSQL_PORT": f"tcp://{address}:3306",
        **port_variables("MYSQL_PORT_3306_TCP", address, 3306, "tcp"),
        **port_variables("MYSQL_PORT_33060_UDP", address, 33060, "udp"),
        **port_variables("MYSQL_PORT_8000_TCP", address, 8000, "tcp"),
        **port_variables("MYSQL_PORT_8001_TCP", address, 8001, "tcp"),
        **port_variables("MYSQL_PORT_8002_TCP", address, 8002, "tcp"),
        "MYSQL_PORT_8000_TCP_START": f"tcp://{address}:8000",
        "MYSQL_PORT_8000_TCP_PORT_START": "8000",
        "MYSQL_PORT_8000_TCP_END": f"tcp://{address}:8002",
        "MYSQL_PORT_8000_TCP_PORT_END": "8002",
        "MYSQL_PORT_8001_TCP": "mine",
    }
    assert environment_of(machine, "web") == expected
    hosts = machine.exec("web", "cat", "/etc/hosts").splitlines()
    assert f"{address}\tmysql {db.id[:12]} db" in hosts
    assert [line for line in hosts if line.strip()][-1].split() == [web.address, web.id[:12]]
    assert "1 packets received" in machine.exec("web", "ping", "-c", "1", "mysql")

    # A link to what does not run, or is gone, is an error that names both.
    machine.cli("stop", "web", "db")
    said = machine.cli("start", "web", code=1).err
    assert "/db AS /web/mysql" in said
    assert "does not run" in said
    machine.cli("start", "db", "web")

    # Another db comes under another address: web's hosts file says so in place, its process is the same.
    process = machine.record("web").pid
    machine.console.remove("db", force=True)
    machine.engine.lifecycle.create(ContainerConfig("squatter", "tiny", command=tuple(SLEEP)), address=address)
    machine.engine.lifecycle.create(ContainerConfig("db", "tiny", command=tuple(SLEEP)))
    machine.console.start("db")
    moved = machine.record("db")
    assert moved.address != address
    assert f"{moved.address}\tmysql {moved.id[:12]} db" in machine.exec("web", "cat", "/etc/hosts").splitlines()
    assert "1 packets received" in machine.exec("web", "ping", "-c", "1", "mysql")
    assert machine.record("web").pid == process
    machine.console.remove("db", force=True)
    machine.cli("stop", "web")
    said = machine.cli("start", "web", code=1).err
    assert "/db AS /web/mysql" in said
    assert "is not there" in said


def test_a_container_can_not_turn_the_updates_of_its_hosts_file_against_the_host(machine):
    """Neither by links that lead out of it, nor by a file of terabytes; and who starts is not held up by it."""
    victim = os.path.join(machine.folder, "victim")
    with open(victim, "w", encoding="utf-8") as file:
        file.write("precious")
    lifecycle = machine.engine.lifecycle
    lifecycle.create(ContainerConfig("db", "tiny", command=tuple(SLEEP)))
    machine.console.start("db")
    trap = f"rm /etc && mkdir /etc && ln -s {victim} /etc/hosts && truncate -s 1000G /etc1/hosts && exec sleep 1000"
    link = (LinkConfig("db", "db"),)
    web = lifecycle.create(ContainerConfig("web", "tiny", command=("sh", "-c", trap), links=link))
    upper = os.path.join(machine.paths.container(web), "upper")
    os.makedirs(os.path.join(upper, "etc1"))
    os.symlink("/etc1", os.path.join(upper, "etc"))  # as an image may have it
    machine.console.start("web")
    seen = os.path.join(machine.paths.names(web), "hosts")
    until(lambda: os.stat(seen).st_size > 1 << 30)
    assert os.readlink(f"/proc/{machine.record('web').pid}/root/etc/hosts") == victim
    machine.console.remove("db", force=True)
    lifecycle.create(ContainerConfig("other", "tiny", command=tuple(SLEEP)))
    lifecycle.create(ContainerConfig("db", "tiny", command=tuple(SLEEP)))
    machine.console.start("db")
    with open(victim, encoding="utf-8") as file:
        assert file.read() == "precious"
    db = machine.record("db")
    assert os.stat(seen).st_size < 4096
    assert f"{db.address}\tdb {db.id[:12]}" in machine.exec("web", "cat", "/etc1/hosts").splitlines()


def test_volumes_keep_their_data_and_take_the_images(machine):
    host = os.path.join(machine.folder, "host", "made")
    single = os.path.join(machine.folder, "single.conf")
    with open(single, "w", encoding="utf-8") as file:
        file.write("one")
    stack = {
        "containers": {
            "db": {
                "image": "tiny",
                "command": SLEEP,
                "volumes": ["data:/srv/fixture", "/anonymous", f"{host}:/host", f"{single}:/etc/single.conf:ro"],
                "stop_grace_period": "0s",
            },
            "reader": {"image": "tiny", "command": SLEEP, "volumes_from": ["db:ro"], "stop_grace_period": "0s"},
        },
        "volumes": {"data": {}},
    }
    machine.apply(stack)
    data = machine.paths.volume_data("stack_data")
    shared, private = os.stat(f"{data}/shared"), os.stat(f"{data}/private")
    assert (stat.S_IMODE(shared.st_mode), shared.st_uid, shared.st_gid) == (0o2775, 1000, 1000)
    assert (stat.S_IMODE(private.st_mode), private.st_uid) == (0o640, 1000)
    assert os.readlink(f"{data}/symlink") == "plain"
    assert os.stat(f"{data}/plain").st_ino == os.stat(f"{data}/hardlink").st_ino
    assert os.path.isdir(host)

    write = "echo named >/srv/fixture/kept; echo anonymous >/anonymous/kept; echo host >/host/kept"
    machine.exec("db", "sh", "-c", write)
    machine.exec("db", "sh", "-c", "echo two >/etc/single.conf", code=1)
    assert machine.exec("db", "cat", "/etc/single.conf") == "one"
    assert machine.exec("reader", "cat", "/srv/fixture/kept", "/anonymous/kept", "/host/kept") == (
        "named\nanonymous\nhost\n"
    )
    assert "Read-only" in machine.cli("exec", "reader", "touch", "/srv/fixture/new", code=1).err
    with open(f"{host}/kept", encoding="utf-8") as file:
        assert file.read() == "host\n"

    # What was emptied by hand stays empty over a restart of the same container.
    machine.exec("db", "sh", "-c", "mv /anonymous/kept /kept; rm -r /srv/fixture/*")
    machine.cli("stop", "db")
    machine.cli("start", "db")
    assert machine.exec("db", "ls", "/srv/fixture") == ""
    machine.exec("db", "sh", "-c", "mv /kept /anonymous/kept; echo named >/srv/fixture/kept")

    old = machine.record("db").id
    stack["containers"]["db"]["environment"] = {"A": "b"}
    machine.apply(stack)
    assert machine.record("db").id != old
    assert machine.exec("reader", "cat", "/srv/fixture/kept", "/anonymous/kept") == "named\nanonymous\n"
    machine.cli("down", "stack")
    machine.apply(stack)
    assert machine.exec("db", "cat", "/srv/fixture/kept", "/anonymous/kept") == "named\nanonymous\n"


def fetch(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return answer.read().decode()


def test_published_ports_are_reached_from_everywhere(machine):
    served = {"image": "tiny", "command": ["httpd", "-f", "-h", "/www"], "stop_grace_period": "0s"}
    stack = {
        "containers": {
            "web": {**served, "ports": ["80", "127.0.0.1::80"]},
            "other": {"image": "tiny", "command": SLEEP, "stop_grace_period": "0s"},
        }
    }
    machine.apply(stack)
    record = machine.record("web")
    everywhere = next(lease.host_port for lease in record.ports if lease.host_ip != "127.0.0.1")
    local = next(lease.host_port for lease in record.ports if lease.host_ip == "127.0.0.1")
    page = fetch(f"http://{record.address}/")
    gateway = re.search(r"via (\S+)", machine.exec("other", "ip", "route"))[1]
    shown = machine.cli("port", "web").out.split()
    assert f"0.0.0.0:{everywhere}" in shown
    assert f"127.0.0.1:{local}" in shown
    assert page
    for url in (f"http://localhost:{everywhere}/", f"http://127.0.0.1:{local}/", f"http://{gateway}:{everywhere}/"):
        assert fetch(url) == page, url
    for name in ("other", "web"):
        assert machine.exec(name, "wget", "-q", "-O", "-", f"http://{gateway}:{everywhere}/") == page
    machine.exec("other", "nc", "-w", "2", gateway, str(local), code=1)

    # The port belongs to the container while it runs: nobody else gets it, and it is the same after a restart.
    taken = subprocess.run(
        [sys.executable, "-c", f"import socket; socket.create_server(('', {everywhere}))"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Address already in use" in taken.stderr
    machine.cli("stop", "web")
    machine.cli("start", "web")
    assert {lease.host_port for lease in machine.record("web").ports} == {everywhere, local}
    assert until(lambda: fetch(f"http://localhost:{everywhere}/")) == page
