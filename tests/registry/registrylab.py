"""A registry in memory that does what a test tells it to: serve, drop, lie, be busy, hang, redirect, ask for tokens."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from imagelab import PACKERS, config_of, entry, folder, images_at, sha, tar
from support.registry import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

TOKEN_LIFE = 300


class Request:
    """What came, for the test to look at afterwards."""

    def __init__(self, handler):
        self.method = handler.command
        parts = urlsplit(handler.path)
        self.path, self.query = parts.path, parse_qs(parts.query)
        self.headers = dict(handler.headers)
        length = int(handler.headers.get("Content-Length") or 0)
        self.body = handler.rfile.read(length)

    def __repr__(self):
        return f"{self.method} {self.path} {self.headers}"


class Hub:
    """`rules` are asked first, in order: `rule(request, handler)` returns True when it has answered."""

    def __init__(self):
        self.manifests = {}
        self.blobs = {}
        self.rules = []
        self.requests = []
        self.ended = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def answer(self):
                request = Request(self)
                hub.requests.append(request)
                with contextlib.suppress(ConnectionError):
                    if not any(rule(request, self) for rule in list(hub.rules)):
                        hub.serve(request, self)

            do_GET = do_HEAD = do_POST = answer  # noqa: N815 - as the base class wants it

            def log_message(self, *_):
                pass

            def handle(self):
                with contextlib.suppress(ConnectionError):
                    super().handle()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.address}"

    # Content

    def blob(self, data, **more):
        self.blobs[sha(data)] = data
        return {"digest": sha(data), "size": len(data), **more}

    def manifest(self, repository, reference, document, kind=OCI_MANIFEST):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        for name in (reference, sha(data)):
            self.manifests[repository, name] = (data, kind)
        return {"digest": sha(data), "size": len(data), "mediaType": kind}

    def image(
        self, repository="app", reference="1", layers=None, *, pack="gzip", config=None, kind=OCI_MANIFEST, **more
    ):
        """Put an image there; the manifest's descriptor."""
        layers = [layer_of("a")] if layers is None else layers
        packed = [PACKERS[pack](layer) for layer in layers]
        config_kind = "application/vnd.oci.image.config.v1+json"
        if kind == DOCKER_MANIFEST:
            config_kind = "application/vnd.docker.container.image.v1+json"
        document = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": self.blob(config or config_of(layers), mediaType=config_kind),
            "layers": [self.blob(data, mediaType="application/vnd.oci.image.layer.v1.tar+gzip") for data in packed],
            **more,
        }
        return self.manifest(repository, reference, document, kind)

    def index(self, repository, reference, *manifests):
        return self.manifest(repository, reference, {"schemaVersion": 2, "manifests": list(manifests)}, OCI_INDEX)

    def changed(self, reference="1", repository="app", **changes):
        """Put the manifest of `reference` there again with some keys changed (None: without)."""
        data, kind = self.manifests[repository, reference]
        document = {**json.loads(data), **changes}
        return self.manifest(
            repository, reference, {key: value for key, value in document.items() if value is not None}, kind
        )

    def layers(self, reference="1", repository="app"):
        return [layer["digest"] for layer in json.loads(self.manifests[repository, reference][0])["layers"]]

    # Answers

    def serve(self, request, handler):
        parts = request.path.split("/")
        if request.path == "/v2/":
            return reply(handler, 200, b"{}")
        kind, reference = parts[-2], parts[-1]
        repository = "/".join(parts[2:-2])
        if kind == "manifests" and (repository, reference) in self.manifests:
            data, media_type = self.manifests[repository, reference]
            return reply(handler, 200, data, {"Content-Type": media_type, "Docker-Content-Digest": sha(data)})
        if kind == "blobs" and reference in self.blobs:
            return self.serve_blob(request, handler, self.blobs[reference])
        known = any(name == repository for name, _ in self.manifests)
        code = "MANIFEST_UNKNOWN" if known else "NAME_UNKNOWN"
        return refuse(handler, 404, code, "manifest unknown" if known else "repository name not known to registry")

    def serve_blob(self, request, handler, data, stop=None, *, reset=False):
        """With ranges; `stop`: break the connection after so many bytes, or reset it."""
        start = int(request.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        part = data[start:] if stop is None else data[start : start + stop]
        reply(handler, 206 if start else 200, part, headers)
        if len(part) < len(data) - start:
            cut(handler, reset=reset)
        return True

    def asked(self, what, method="GET"):
        """The requests whose path ends so."""
        return [request for request in self.requests if request.path.endswith(what) and request.method == method]

    def blob_requests(self, reference="1", repository="app"):
        return [request for digest in self.layers(reference, repository) for request in self.asked(digest)]


def reply(handler, status, data=b"", headers=None):
    headers = {"Content-Length": str(len(data)), **(headers or {})}
    handler.send_response(status)
    for name, value in headers.items():
        if value is not None:
            handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(data)
    return True


def refuse(handler, status, code, message, headers=None):
    return reply(handler, status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), headers)


def cut(handler, *, reset=False):
    """Close the connection in the middle of things, or reset it."""
    if reset:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
    handler.connection.close()


# Rules


def on(what, act, *, times=None, method=None):
    """A rule for requests whose path holds `what`; `times` of them."""
    left = [times]

    def rule(request, handler):
        if what not in request.path or (method and request.method != method) or left[0] == 0:
            return False
        if left[0] is not None:
            left[0] -= 1
        return act(request, handler) is not False

    return rule


def busy(status, headers=None):
    return lambda _request, handler: refuse(handler, status, "TOOMANYREQUESTS", "slow down", headers)


def hang(hub):
    """Say nothing until the registry ends."""

    def act(_request, handler):
        hub.ended.wait(30)
        handler.close_connection = True

    return act


def dropping(hub, after, *, reset=False):
    """Break off every blob after `after` bytes."""

    def act(request, handler):
        return hub.serve_blob(request, handler, hub.blobs[request.path.rpartition("/")[2]], after, reset=reset)

    return act


class Tokens:
    """A token server in a hub: makes tokens for whoever may have them, and sees that they are shown."""

    def __init__(self, hub, server, *, users=None, life=TOKEN_LIFE, uses=None):
        self.hub, self.server, self.users, self.life = hub, server, users, life
        self.uses = uses
        self.made = {}
        self.secret = base64.b64encode(os.urandom(9)).decode()
        hub.rules.insert(0, self.guard)
        server.rules.insert(0, on("/token", self.make))

    def guard(self, request, handler):
        if request.path == "/token":
            return False
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer" and self.made.get(token, 0) > 0:
            self.made[token] -= 1
            return False
        scope = "repository:" + "/".join(request.path.split("/")[2:-2]) + ":pull"
        challenge = f'Bearer realm="{self.server.url}/token",service="hub",scope="{scope}"'
        return refuse(handler, 401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})

    def make(self, request, handler):
        kind, _, pair = request.headers.get("Authorization", "").partition(" ")
        if self.users is not None and (kind != "Basic" or base64.b64decode(pair).decode() not in self.users):
            return reply(handler, 401, b'{"details": "incorrect username or password"}')
        token = f"token{len(self.made)}.{self.secret}"
        self.made[token] = self.uses or 1_000_000
        return reply(handler, 200, json.dumps({"token": token, "expires_in": self.life}).encode())


@contextlib.contextmanager
def running(hub):
    thread = threading.Thread(target=hub.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        hub.ended.set()
        hub.server.shutdown()
        thread.join()
        hub.server.server_close()


# What is pulled, and where to


def layer_of(name, size=1000, *, seed=0):
    """A layer of one file that does not compress; its content follows from the arguments."""
    return tar(folder("dir"), entry(f"dir/{name}", data=noise(size, f"{name}{seed}")))


def noise(size, seed):
    blocks = (hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def configured(tmp_path, *hubs, **more):
    """A configuration that reaches the hubs without TLS; `more` are its other sections."""
    path = str(tmp_path / "config.yaml")
    pull = {"connect_timeout": "5s", "idle_timeout": "5s", **more.pop("pull", {})}
    registries = {hub.address: {"insecure": True} for hub in hubs} | more.pop("registries", {})
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"registries": registries, "pull": pull, **more}, file)
    return path


@contextlib.contextmanager
def opened_images(path, limits=None):
    """A catalog in a new folder."""
    os.makedirs(path, 0o700, exist_ok=True)
    catalog = images_at(path, limits)
    try:
        yield catalog
    finally:
        catalog._store.close()


def content(images, name):
    """path -> bytes of an image's files, through its layers."""
    found = {}
    for short in images.resolve(name).layers:
        top = os.path.join(images._paths.layers, short)
        for where, _, names in os.walk(top):
            for one in names:
                path = os.path.join(where, one)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, top)] = file.read()
    return found


def downloads(images):
    """name -> size of what is kept of layers that have not come."""
    with contextlib.suppress(FileNotFoundError), os.scandir(images._paths.downloads) as entries:
        return {entry.name: entry.stat().st_size for entry in entries}
    return {}


def until(condition, limit=20.0):
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, "never came true"
        time.sleep(0.002)
    return found
