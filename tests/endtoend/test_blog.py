"""The whole thing: WordPress and MariaDB from Debian packages by specs/wordpress.yaml, used as people use them."""

from __future__ import annotations

import os
import signal

import pytest
from support.blog import Blog
from support.machine import PROJECT, image, until

pytestmark = [pytest.mark.kernel, pytest.mark.images, pytest.mark.slow]

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360f8cfc0f01f0005000201a5f645400000000049454e44ae426082"
)


class Story:
    """A blog with one post, and whether it is still there."""

    def __init__(self, machine):
        self.machine = machine
        self.blog = self.visit()
        self.blog.install("A blog that stays")
        self.blog.login()
        self.published = self.blog.publish("Still here", "<p>What was written.</p>", PICTURE)

    def visit(self):
        shown = self.machine.cli("port", "wordpress", "80/tcp").out.split()
        return Blog(f"http://127.0.0.1:{shown[0].rpartition(':')[2]}")

    def check(self):
        blog = self.visit()
        post = blog.read(self.published.post)
        assert post["title"]["rendered"] == "Still here"
        assert "What was written." in post["content"]["rendered"]
        assert blog.media(self.published.media_url) == PICTURE


def test_a_blog_outlives_all_that_happens_to_its_containers(make_machine):
    machine = make_machine(images=False)
    for name in ("mariadb", "wordpress"):
        machine.cli("load", image(name))
    with open(os.path.join(PROJECT, "specs", "wordpress.yaml"), encoding="utf-8") as file:
        text = file.read()
    spec = machine.spec(text, "wordpress.yaml")
    # Both have health checks of their own, which run inside, and the blog waits for its database.
    said = machine.cli("apply", "--wait", spec).out
    order = [said.index(step) for step in ("wordpressdb is healthy (", "started wordpress (", "wordpress is healthy (")]
    assert order == sorted(order), said
    assert machine.cli("ps").out.count(" (healthy) ") == 2
    story = Story(machine)
    story.check()
    assert "nothing to do" in machine.cli("apply", spec).out
    assert "wordpress" in machine.exec("wordpressdb", "mysql", "-uroot", "-ppassword", "-e", "show databases")
    assert " 0% packet loss" in machine.exec("wordpress", "ping", "-c", "2", "mysql")

    # An edit of the database's environment: both are replaced, in the order of the link; volumes stay.
    machine.spec(
        text.replace("MYSQL_DATABASE: wordpress", "MYSQL_DATABASE: wordpress\n      EDITED: twice"), "wordpress.yaml"
    )
    plan = machine.cli("plan", "--detailed-exitcode", spec, code=2).out
    steps = [" ".join(line.split()) for line in plan.splitlines() if line.strip()][1:]
    assert steps == [
        "- stop container wordpress replaced: follows wordpressdb by link",
        "- stop container wordpressdb replaced",
        f"environment.EDITED: (not set) -> twice ({spec}:13:15)",
        "because what its process is given is fixed when a container is made",
        "- remove container wordpress",
        "data: volume html kept",
        "data: changes in the container's own layer are lost",
        "- remove container wordpressdb",
        "data: volume db kept",
        "data: changes in the container's own layer are lost",
        "+ create container wordpressdb",
        "+ create container wordpress",
        "+ start container wordpressdb",
        ". wait container wordpressdb until it is healthy, before wordpress starts",
        "+ start container wordpress",
        "Plan: 1 container to replace, 1 container to replace because of others.",
        "Down until started again: wordpress, wordpressdb.",
        "No volume is deleted.",
    ]
    ids = {name: machine.record(name).id for name in ("wordpressdb", "wordpress")}
    port = machine.cli("port", "wordpress").out
    said = machine.cli("apply", spec).out
    order = [
        said.index(step)
        for step in ("stopped wordpress (", "stopped wordpressdb (", "started wordpressdb (", "started wordpress (")
    ]
    assert order == sorted(order), said
    assert all(machine.record(name).id != old for name, old in ids.items())
    assert machine.cli("port", "wordpress").out == port
    assert "EDITED=twice" in machine.exec("wordpressdb", "env")
    assert "MYSQL_ENV_EDITED=twice" in machine.exec("wordpress", "env")
    story.check()

    # The database is killed and comes back by its restart policy.
    killed = machine.record("wordpressdb").pid
    os.kill(killed, signal.SIGKILL)
    until(lambda: machine.record("wordpressdb").pid != killed and machine.state("wordpressdb") == "running")
    story.check()

    # Removed by hand: the next apply brings it back, under the same port.
    machine.cli("rm", "-f", "wordpress")
    machine.cli("apply", spec)
    assert machine.cli("port", "wordpress").out == port
    story.check()

    # Containers go, volumes stay.
    machine.cli("down", spec)
    assert machine.cli("ps", "-aq").out == ""
    assert "wordpress_html" in machine.cli("volume", "ls").out
    machine.cli("apply", spec)
    story.check()
