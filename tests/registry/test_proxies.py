"""Which proxy a request goes through, and that it does."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from registrylab import configured, content

from reconciler.engine.images.registry.proxies import Proxy, proxy_for
from reconciler.kits.errors import ReconcilerError


@pytest.fixture
def environment(monkeypatch):
    def put(**variables):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    ("exceptions", "host", "exempt"),
    [
        ("", "registry.example.com", False),
        ("*", "registry.example.com", True),
        ("example.com", "registry.example.com", True),
        ("example.com", "example.com", True),
        (".example.com", "example.com", False),
        (".example.com", "registry.example.com", True),
        ("*.example.com", "registry.example.com", True),
        ("ample.com", "example.com", False),
        ("a.lan, registry.example.com:443", "registry.example.com", True),
        ("registry.example.com:5000", "registry.example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("", "localhost", True),
        ("", "127.0.0.1", True),
        ("", "::1", True),
    ],
)
def test_no_proxy(environment, exceptions, host, exempt):
    environment(HTTPS_PROXY="proxy.lan:3128", NO_PROXY=exceptions)
    assert (proxy_for("https", host, 443) is None) == exempt


def test_variables(environment):
    environment(https_proxy="http://user:p%40ss@proxy.lan:3128", HTTP_PROXY="other.lan")
    assert proxy_for("https", "x.lan", 443) == Proxy("proxy.lan", 3128, "Basic dXNlcjpwQHNz")
    assert proxy_for("http", "x.lan", 80) == Proxy("other.lan", 80)
    environment(HTTPS_PROXY="socks5://u:secret@proxy.lan")
    with pytest.raises(ReconcilerError) as raised:
        proxy_for("https", "x.lan", 443)
    assert "secret" not in str(raised.value)


def test_requests_go_through_the_proxy(hub, images, tmp_path, environment, monkeypatch):
    """A name that only the proxy knows, with and without TLS."""
    seen = []
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=relay, args=(server, hub, seen), daemon=True).start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        environment(HTTP_PROXY=address, HTTPS_PROXY=f"http://ann:secret@{address}")
        registries = {"registry.invalid": {"insecure": True}}
        monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, registries=registries))
        hub.image()
        images.pull("registry.invalid/app:1")
        assert content(images, "registry.invalid/app:1")
        assert seen[0].startswith(b"GET http://registry.invalid/v2/app/manifests/1 HTTP/1.1")
        with pytest.raises(
            ReconcilerError, match=r"the proxy 127\.0\.0\.1:\d+ refuses a connection to secure\.invalid: 403"
        ):
            images.pull("secure.invalid/app:1")
        assert seen[-1].startswith(b"CONNECT secure.invalid:443 HTTP/1.1")
        assert b"Proxy-Authorization: Basic YW5uOnNlY3JldA==" in seen[-1]


def relay(server, hub, seen):
    """A proxy for plain HTTP that refuses CONNECT."""
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client:
            request = client.recv(65536)
            seen.append(request)
            if request.startswith(b"CONNECT"):
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                continue
            line, _, rest = request.partition(b"\r\n")
            method, url, version = line.split()
            path = b"/" + url.partition(b"://")[2].partition(b"/")[2]
            with socket.create_connection(("127.0.0.1", hub.server.server_port)) as upstream:
                upstream.sendall(b" ".join((method, path, version)) + b"\r\nConnection: close\r\n" + rest)
                while piece := upstream.recv(65536):
                    client.sendall(piece)
