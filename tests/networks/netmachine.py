"""A machine to test networks on, made of network namespaces: nothing of it touches the real host's network."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time

from reconciler.engine.kernel import netlink
from reconciler.engine.networks import ports
from reconciler.engine.networks.network import Network
from reconciler.engine.paths import Paths
from reconciler.engine.store import Store

REFUSED, TIMEOUT = "refused", "timeout"


def until(condition, seconds=10.0):
    """Wait for a condition; returns its last value."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return value


class Namespace:
    """A network namespace kept by a process, as a container's is."""

    def __init__(self):
        self.process = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self.pid = self.process.pid
        ours = os.readlink("/proc/thread-self/ns/net")
        assert until(lambda: os.readlink(f"/proc/{self.pid}/ns/net") != ours)
        self.fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def run(self, function):
        return netlink.in_network_namespace(self.fd, function)

    def command(self, *words):
        done = self.run(lambda: subprocess.run(words, capture_output=True, text=True, check=False))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def end(self):
        with contextlib.suppress(OSError):
            os.close(self.fd)
        self.process.kill()
        self.process.wait()

    def ask(self, host, port, protocol="tcp", timeout=10.0):
        """What the server there answers (its name and the address it sees us at), REFUSED or TIMEOUT."""
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with self.run(lambda: socket.socket(family, kind)) as client:
            client.settimeout(timeout)
            try:
                client.connect((host, port))
                client.send(b"?")
                return client.recv(100).decode()
            except ConnectionRefusedError:
                return REFUSED
            except (TimeoutError, OSError):
                return TIMEOUT

    def serve(self, name, port, protocol, stack):
        """Answer there with `NAME sees ADDRESS` until `stack` is closed."""
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        server = self.run(lambda: socket.socket(socket.AF_INET, kind))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        if protocol == "tcp":
            server.listen()
        thread = threading.Thread(target=_answer, args=(server, name, protocol))
        thread.start()
        stack.callback(server.close)
        stack.callback(thread.join)
        stack.callback(_shut, server)


def _shut(server):
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)


def _answer(server, name, protocol):
    while True:
        try:
            if protocol == "tcp":
                client, (address, _) = server.accept()
                with client:
                    client.send(f"{name} sees {address}".encode())
                    client.settimeout(1)
                    with contextlib.suppress(OSError):
                        client.recv(10)
            else:
                data, sender = server.recvfrom(10)
                if not data:
                    return
                server.sendto(f"{name} sees {sender[0]}".encode(), sender)
        except OSError:
            return


class Machine:
    """A host with an outside, and the engine's network on it. Use `host.run` for everything that acts on the host."""

    def __init__(self, folder, stack):
        self.folder = folder
        self.stack = stack
        self.host = self.namespace()
        self.outside = self.namespace()
        self.host.command("ip", "link", "set", "lo", "up")
        self.host.command("ip", "link", "add", "wan", "type", "veth", "peer", "eth0", "netns", str(self.outside.pid))
        for words in ("address add 198.51.100.1/24 dev wan", "address add 198.51.100.9/24 dev wan", "link set wan up"):
            self.host.command("ip", *words.split())
        for words in ("address add 198.51.100.7/24 dev eth0", "link set eth0 up", "link set lo up"):
            self.outside.command("ip", *words.split())
        assert until(lambda: self.host.run(lambda: netlink.flags_of("wan")) & netlink.IFF_RUNNING)
        self.network, self.store = self.roots("one")

    def namespace(self):
        made = Namespace()
        self.stack.callback(made.end)
        return made

    def roots(self, name):
        root, run = self.folder / name / "root", self.folder / name / "run"
        for path in (root, run):
            path.mkdir(parents=True)
        paths = Paths.of(str(root), str(run))
        store = Store(paths)
        self.stack.callback(store.close)
        return Network(paths, store), store

    def forget_containers(self):
        """As when the last one is removed."""
        with self.store.write() as connection:
            connection.execute("DELETE FROM containers")

    def container(self, name, published=()):
        """A namespace connected and published as the engine does it."""
        self.host.run(self.network.prepare)
        made = self.namespace()
        made.id = name.encode().hex().ljust(64, "0")
        with self.store.write() as connection:
            made.address = self.network.lease_address(connection, made.id)
            made.leases = self.host.run(lambda: ports.lease(connection, made.id, "", published))
            connection.execute(
                "INSERT INTO containers (id, name, owner, image, config, mounts, created, phase, wanted, generation, state)"
                " VALUES (?, ?, '', '', '', '', 0, 'ready', 'running', 1, 'running')",
                (made.id, name),
            )
        made.held = self.host.run(lambda: ports.hold(made.leases))
        self.stack.callback(lambda: [os.close(fd) for fd in made.held])
        self.host.run(lambda: self.network.connect(made.id, 1, made.pid, made.address))
        self.host.run(lambda: self.network.publish(made.address, made.leases))
        return made
