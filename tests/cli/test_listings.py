"""ps, port, images, volume ls: Docker's tables to the letter."""

import json
import os
import re

import pytest
from machines import Shelf

from reconciler.model.observed import PortBinding
from reconciler.runtimes.console import ContainerSummary, Finding, ImageSummary, VolumeSummary

NOW = 1_800_000_000.0
ID = "4f1d4c0de5a1" + "0" * 52


def container(name="wordpress", **more):
    values = {
        "id": ID,
        "name": name,
        "image": "wordpress:6.1",
        "command": ("docker-entrypoint.sh", "apache2-foreground"),
        "state": "running",
        "created_at": NOW - 3700,
        "started_at": NOW - 3,
    }
    return ContainerSummary(**(values | more))


def golden(name):
    with open(os.path.join(os.path.dirname(__file__), "golden", f"{name}.txt"), encoding="utf-8") as file:
        return file.read()


def both(host, inside, protocol="tcp"):
    return tuple(PortBinding(inside, protocol, ip, host) for ip in ("::", "0.0.0.0"))


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)


def test_ps_without_containers_is_docker_s_header(call):
    ran = call(Shelf(), "ps")
    assert ran.out == "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
    assert (ran.code, ran.err) == (0, "")


def test_ps_draws_docker_s_table(call):
    shelf = Shelf(
        [
            container(ports=both(32768, 80), exposed=("443/tcp",)),
            container("db", id="b" * 64, image="mariadb:10.11", command=("mariadbd",), exposed=("3306/tcp",)),
            container("old", id="c" * 64, state="exited", exit_code=137, finished_at=NOW - 172_800, ports=both(1, 2)),
        ]
    )
    assert call(shelf, "ps", "-a").out == golden("ps-all")
    assert call(shelf, "ps", "-q").out == "4f1d4c0de5a1\nbbbbbbbbbbbb\n"
    assert call(shelf, "ps", "-aq", "--no-trunc").out.split() == [ID, "b" * 64, "c" * 64]


@pytest.mark.parametrize(
    ("ports", "exposed", "cell"),
    [
        (both(80, 80), (), "0.0.0.0:80->80/tcp, [::]:80->80/tcp"),
        (
            (*both(3306, 3306), PortBinding(80, "tcp", "192.168.0.100", 7777)),
            (),
            "0.0.0.0:3306->3306/tcp, [::]:3306->3306/tcp, 192.168.0.100:7777->80/tcp",
        ),
        (
            (*both(53, 53, "udp"), *both(53, 53)),
            (),
            "0.0.0.0:53->53/tcp, [::]:53->53/tcp, 0.0.0.0:53->53/udp, [::]:53->53/udp",
        ),
        (
            sum((both(port, port) for port in range(9000, 9004)), ()),
            ("8100/tcp", "8000/tcp", "8002/tcp", "8001/tcp"),
            "8000-8002/tcp, 8100/tcp, 0.0.0.0:9000-9003->9000-9003/tcp, [::]:9000-9003->9000-9003/tcp",
        ),
        (
            (PortBinding(80, "tcp", "127.0.0.1", 9000), PortBinding(81, "tcp", "127.0.0.1", 9001)),
            (),
            "127.0.0.1:9000->80/tcp, 127.0.0.1:9001->81/tcp",
        ),
    ],
)
def test_ps_draws_ports_together_that_are_the_same_on_both_sides(call, ports, exposed, cell):
    line = call(Shelf([container("x", ports=ports, exposed=exposed)]), "ps").out.splitlines()[1]
    assert re.split(r" {3,}", line)[-2] == cell


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"state": "created"}, "Created"),
        ({"started_at": NOW - 0.4}, "Up Less than a second"),
        ({"state": "paused", "started_at": NOW - 150}, "Up 2 minutes (Paused)"),
        ({"state": "restarting", "exit_code": 1, "finished_at": NOW - 2}, "Restarting (1) 2 seconds ago"),
        ({"state": "exited", "exit_code": 0, "finished_at": NOW - 86_400 * 59}, "Exited (0) 8 weeks ago"),
        ({"state": "exited", "exit_code": None, "finished_at": NOW - 60}, "Exited (unknown) About a minute ago"),
        ({"state": "exited", "exit_code": None}, "Exited (unknown)"),
        ({"state": "dead"}, "Dead"),
        ({"state": "removing"}, "Removal In Progress"),
    ],
)
def test_ps_status(call, more, text):
    line = call(Shelf([container("x", **more)]), "ps", "-a").out.splitlines()[1]
    assert re.split(r" {3,}", line)[4] == text


def test_ps_escapes_what_others_named(call):
    shelf = Shelf([container(image="evil\x1b]0;x\x07:1", command=("sh", "-c", 'echo "\u202ehi"\n'))])
    line = call(shelf, "ps", "--no-trunc").out.splitlines()[1]
    assert r"evil\x1b]0;x\x07:1" in line
    assert r'"sh -c echo \"\u202ehi\"\n"' in line


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["name=^db"], ["db"]),
        (["name=/web"], ["web"]),
        (["name=b"], ["web", "db"]),
        (["name=web", "name=db"], ["web", "db"]),
        (["label=tier"], ["web", "db"]),
        (["label=tier=back"], ["db"]),
        (["label=tier", "label=fast"], ["web"]),
        (["stack=shop", "name=web"], ["web"]),
        (["status=exited"], ["old"]),
        (["id=bbb"], ["db"]),
    ],
)
def test_ps_filters(call, filters, names):
    shelf = Shelf(
        [
            container("web", stack="shop", labels={"tier": "front", "fast": ""}),
            container("db", id="b" * 64, stack="shop", labels={"tier": "back"}),
            container("old", id="c" * 64, state="exited", exit_code=0),
        ]
    )
    argv = [word for text in filters for word in ("-f", text)]
    assert [c["name"] for c in json.loads(call(shelf, "ps", "--json", *argv).out)] == names
    in_stack = [name for name in names if name != "old"]
    assert [c["name"] for c in json.loads(call(shelf, "ps", "--json", "--stack=shop", *argv).out)] == in_stack


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo=1", 'there is no filter "foo"'),
        ("status=bogus", 'there is no status "bogus"'),
        ("name", '"name" is not a filter'),
        ("name=(", '"(" is not a regular expression'),
    ],
)
def test_ps_refuses_filters_it_does_not_know(call, text, message):
    ran = call(Shelf(), "ps", "-f", text)
    assert (ran.code, ran.out) == (1, "")
    assert message in ran.err


def test_port(call):
    ports = (*both(32774, 80), PortBinding(53, "udp", "127.0.0.1", 53), PortBinding(53, "tcp", "127.0.0.1", 53))
    shelf = Shelf([container(ports=ports)])
    assert call(shelf, "port", "wordpress").out == (
        "53/tcp -> 127.0.0.1:53\n53/udp -> 127.0.0.1:53\n80/tcp -> 0.0.0.0:32774\n80/tcp -> [::]:32774\n"
    )
    assert call(shelf, "port", "wordpress", "80").out == "0.0.0.0:32774\n[::]:32774\n"
    assert call(shelf, "port", "wordpress", "53/udp").out == "127.0.0.1:53\n"
    missing = call(shelf, "port", "wordpress", "81")
    assert (missing.code, missing.out) == (1, "")
    assert "no public port 81/tcp is published for wordpress" in missing.err
    assert call(shelf, "port", "wordpress", "abc").code == 125
    assert "no such container: nosuch" in call(shelf, "port", "nosuch").err


def test_port_of_a_stopped_container_is_empty(call):
    ran = call(Shelf([container(state="exited", ports=both(80, 80))]), "port", "wordpress")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_images(call):
    shelf = Shelf(
        images=[
            ImageSummary("docker.io/library/mariadb:10.11", "sha256:" + "a" * 64, NOW - 86_400, 412_345_678),
            ImageSummary("registry.example.org:5000/team/app:v1", "sha256:" + "b" * 64, NOW - 60, 999),
            ImageSummary("", "sha256:" + "c" * 64, NOW, 1240),
        ]
    )
    assert call(shelf, "images").out == (
        "REPOSITORY                           TAG       IMAGE ID       CREATED                  SIZE\n"
        "mariadb                              10.11     aaaaaaaaaaaa   24 hours ago             412MB\n"
        "registry.example.org:5000/team/app   v1        bbbbbbbbbbbb   About a minute ago       999B\n"
        "<none>                               <none>    cccccccccccc   Less than a second ago   1.24kB\n"
    )
    assert call(shelf, "images", "-q", "mariadb").out == "aaaaaaaaaaaa\n"
    assert call(shelf, "images", "mariadb:10.6").out.count("\n") == 1
    assert call(shelf, "image", "ls", "-q", "mariadb").out == "aaaaaaaaaaaa\n"


def test_images_with_digests_and_origins(call):
    digest = "sha256:" + "d" * 64
    moved = "docker.io/library/mariadb@" + digest
    shelf = Shelf(
        images=[
            ImageSummary(
                "docker.io/library/mariadb:10.11", "sha256:" + "a" * 64, NOW, 999, digest, "pulled from docker.io"
            ),
            ImageSummary(moved, "sha256:" + "b" * 64, NOW, 999, digest),
            ImageSummary("mine:1", "sha256:" + "c" * 64, NOW, 999, "", "built here"),
        ]
    )
    rows = [line.split()[:4] for line in call(shelf, "images", "--digests").out.splitlines()]
    assert rows == [
        ["REPOSITORY", "TAG", "DIGEST", "IMAGE"],
        ["mariadb", "10.11", digest, "aaaaaaaaaaaa"],
        ["mariadb", "<none>", digest, "bbbbbbbbbbbb"],
        ["mine", "1", "<none>", "cccccccccccc"],
    ]
    found = json.loads(call(shelf, "images", "--json").out)
    assert [(image["origin"], image["digest"]) for image in found] == [
        ("pulled from docker.io", digest), ("", digest), ("built here", ""),
    ]  # fmt: skip


def test_volume_ls(call):
    shelf = Shelf(
        volumes=[
            VolumeSummary("shop_db", anonymous=False, stack="shop", users=("db",), created_at=NOW),
            VolumeSummary("spare", anonymous=False, stack="", users=(), created_at=NOW),
        ]
    )
    assert call(shelf, "volume", "ls").out == (
        "DRIVER    VOLUME NAME   STACK     USED BY\nlocal     shop_db       shop      db\nlocal     spare\n"
    )
    assert call(shelf, "volume", "ls", "-q").out == "shop_db\nspare\n"


def test_system_check_says_what_is_missing_and_how_to_get_it(call):
    shelf = Shelf(
        findings=(
            Finding("nft", "ok", "/usr/sbin/nft"),
            Finding("space", "warning", "1GB free in /a\x1b[2Jb", "reconciler image prune"),
            Finding("conmon", "missing", "conmon is not installed", "apt-get install conmon"),
        )
    )
    ran = call(shelf, "system", "check")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "ok       nft     /usr/sbin/nft",
        "warning  space   1GB free in /a\\x1b[2Jb",
        "                 reconciler image prune",
        "missing  conmon  conmon is not installed",
        "                 apt-get install conmon",
    ]
    assert "lacks 1 thing" in ran.err
    assert "nft" not in call(shelf, "system", "check", "-q").out
    ran = call(shelf, "system", "check", "--json")
    assert ran.code == 1
    assert [one["state"] for one in json.loads(ran.out)] == ["ok", "warning", "missing"]
    assert call(Shelf(findings=shelf.system_check()[:2]), "system", "check").code == 0


def test_system_info(call):
    shelf = Shelf(facts={"machine": {"memory": 25_300_000_000}, "containers": {}, "images": 2, "cgroups": ""})
    lines = [line.split() for line in call(shelf, "system", "info").out.splitlines()]
    assert ["memory:", "25.3GB"] in lines
    assert ["containers:", "none"] in lines
    assert ["cgroups:", "not", "there"] in lines
    assert json.loads(call(shelf, "system", "info", "--json").out)["images"] == 2
