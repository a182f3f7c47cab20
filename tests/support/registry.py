"""Registries for tests: Debian's docker-registry on a port of its own, and a helper that pushes images to one.

There is no push verb; this one is for tests and the benchmark: plain HTTP or TLS with an authority of the test's own.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import socket
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


class Pusher:
    """Pushes to a registry that is empty, or has whatever it has."""

    def __init__(
        self, address: str, *, context: ssl.SSLContext | None = None, user: str = "", password: str = ""
    ) -> None:
        self._address, self._context = address, context
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {pair}"} if user else {}

    def _ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Any:
        if self._context:
            connection: Any = http.client.HTTPSConnection(self._address, context=self._context)
        else:
            connection = http.client.HTTPConnection(self._address)
        with contextlib.closing(connection):
            connection.request(method, path, body, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
            data = answer.read()
            assert answer.status < 400, (method, path, answer.status, data)
            return answer

    def blob(self, repository: str, data: bytes) -> dict[str, Any]:
        """Push a blob; its descriptor without a media type."""
        place = self._ask("POST", f"/v2/{repository}/blobs/uploads/").headers["Location"]
        path = place.partition("://")[2].partition("/")[2] if "://" in place else place.lstrip("/")
        mark = "&" if "?" in path else "?"
        self._ask("PUT", f"/{path}{mark}digest={sha(data)}", data, {"Content-Type": "application/octet-stream"})
        return {"digest": sha(data), "size": len(data)}

    def manifest(self, repository: str, reference: str, document: Any, kind: str) -> str:
        """Push a manifest or index; its digest."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self._ask("PUT", f"/v2/{repository}/manifests/{reference}", data, {"Content-Type": kind})
        return sha(data)

    def image(
        self,
        repository: str,
        reference: str,
        config: bytes,
        layers: Sequence[bytes],
        *,
        kind: str = DOCKER_MANIFEST,
        layer_kind: str = "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ) -> str:
        """Push an image of packed layers; the manifest's digest."""
        config_kind = {
            DOCKER_MANIFEST: "application/vnd.docker.container.image.v1+json",
            OCI_MANIFEST: "application/vnd.oci.image.config.v1+json",
        }[kind]
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {**self.blob(repository, config), "mediaType": config_kind},
            "layers": [{**self.blob(repository, layer), "mediaType": layer_kind} for layer in layers],
        }
        return self.manifest(repository, reference, manifest, kind)

    def archive(self, repository: str, reference: str, path: str) -> str:
        """Push the one image of a docker-archive, its layers gzipped; the manifest's digest."""
        with tarfile.open(path) as archive:

            def read(name: str) -> bytes:
                file = archive.extractfile(name)
                assert file is not None
                return file.read()

            entry = json.loads(read("manifest.json"))[0]
            layers = [read(name) for name in entry["Layers"]]
            packed = [layer if layer[:2] == b"\x1f\x8b" else gzip.compress(layer, 1, mtime=0) for layer in layers]
            return self.image(repository, reference, read(entry["Config"]), packed)


@contextlib.contextmanager
def docker_registry(
    folder: str, *, htpasswd: str = "", certificate: str = "", key: str = "", clients: str = ""
) -> Iterator[str]:
    """Debian's registry with its data in `folder`; yields its address, host:port.

    `htpasswd` is that file's content; `clients` the authority whose certificates it asks its clients for.
    """
    address = f"127.0.0.1:{free_port()}"
    web: dict[str, Any] = {"addr": address}
    if certificate:
        web["tls"] = {"certificate": certificate, "key": key, **({"clientcas": [clients]} if clients else {})}
    document: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": os.path.join(folder, "data")}, "delete": {"enabled": True}},
        "http": web,
    }
    os.makedirs(folder, exist_ok=True)
    if htpasswd:
        path = os.path.join(folder, "htpasswd")
        with open(path, "w", encoding="ascii") as file:
            file.write(htpasswd)
        document["auth"] = {"htpasswd": {"realm": "tests", "path": path}}
    path = os.path.join(folder, "config.yml")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)  # JSON is YAML
    with open(os.path.join(folder, "log"), "wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", path], stdout=log, stderr=log)
    try:
        _wait_for(address, process, os.path.join(folder, "log"))
        yield address
    finally:
        process.kill()
        process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: str) -> None:
    host, _, port = address.rpartition(":")
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                with open(log, encoding="utf-8", errors="replace") as file:
                    raise AssertionError(f"docker-registry does not listen: {file.read()[-2000:]}") from None
            time.sleep(0.01)
