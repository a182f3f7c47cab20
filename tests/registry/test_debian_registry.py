"""Debian's docker-registry on loopback and the real command: without and with a password, with TLS, and from a spec."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import ssl
import subprocess
from contextlib import contextmanager

import pytest
from support.machine import image
from support.registry import Pusher, docker_registry

HTPASSWD = "ann:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"  # secret


@pytest.fixture
def machine(make_machine):
    made = make_machine(images=False)
    made.environment |= {"DOCKER_CONFIG": os.path.join(made.folder, "docker"), "HOME": made.folder}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        made.environment.pop(name, None)
    return made


@contextmanager
def serving(machine, **options):
    """A registry with the tiny image as tools/tiny:1."""
    with docker_registry(os.path.join(machine.folder, "registry"), **options) as address:
        yield address


def authority(folder, *, names="IP:127.0.0.1,DNS:localhost", days=2):
    """A certificate for 127.0.0.1 and the authority that signed it: paths by name. Over before it began: `days` < 0."""
    os.makedirs(folder, exist_ok=True)
    paths = {name: os.path.join(folder, name) for name in ("ca.crt", "ca.key", "web.crt", "web.key", "web.csr", "ext")}
    with open(paths["ext"], "w", encoding="ascii") as file:
        file.write(f"subjectAltName={names}\n")
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    commands = [
        [*new, "-x509", "-days", "2", "-subj", "/CN=Test authority", "-keyout", paths["ca.key"], "-out", paths["ca.crt"],
         "-addext", "keyUsage=critical,keyCertSign"],
        [*new, "-subj", "/CN=localhost", "-keyout", paths["web.key"], "-out", paths["web.csr"]],
        ["openssl", "x509", "-req", "-days", str(days), "-in", paths["web.csr"], "-CA", paths["ca.crt"],
         "-CAkey", paths["ca.key"], "-CAcreateserial", "-extfile", paths["ext"], "-out", paths["web.crt"]],
    ]  # fmt: skip
    for command in commands:
        subprocess.run(command, check=True, capture_output=True)
    return paths


def test_pull_prints_what_docker_prints(machine):
    with serving(machine) as address:
        digest = Pusher(address).archive("tools/tiny", "latest", image("tiny"))
        name = f"{address}/tools/tiny"
        lines = machine.cli("pull", name).out.splitlines()
        assert lines[:2] == ["Using default tag: latest", f"latest: Pulling from {name}"]
        (layer,) = {line.partition(":")[0] for line in lines[2:-3]}
        phases = ["Pulling fs layer", "Download complete", "Pull complete"]
        assert lines[2:-3] == [f"{layer}: {phase}" for phase in phases]
        whole = f"{name}:latest"
        assert lines[-3:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {whole}", whole]
        again = machine.cli("pull", f"{name}:latest").out.splitlines()
        assert again[1:] == [
            f"{layer}: Already exists", f"Digest: {digest}", f"Status: Image is up to date for {whole}", whole,
        ]  # fmt: skip
        assert machine.cli("pull", "-q", name).out == f"{whole}\n"
        assert whole.rpartition(":")[0] in machine.cli("images").out
        assert "hello" in run_once(machine, whole)


def run_once(machine, name):
    machine.apply({"containers": {"one": {"image": name, "command": ["sh", "-c", "echo hello; sleep 1000"]}}})
    return machine.cli("logs", "one").out


def test_several_images_and_errors_in_json(machine):
    with serving(machine) as address:
        for tag in ("1", "2"):
            Pusher(address).archive("tools/tiny", tag, image("tiny"))
        names = [f"{address}/tools/tiny:{tag}" for tag in ("1", "nosuch", "2")]
        ran = machine.cli("pull", "--json", *names, code=1)
        first, missing, second = json.loads(ran.out)
        assert (first["reference"], second["reference"]) == (names[0], names[2])
        assert first["id"] == second["id"]
        assert missing["problems"][0]["code"] == "not-found"
        assert f"manifest for {names[1]} not found: manifest unknown" in ran.err
        ran = machine.cli("pull", "-q", *names, code=1)
        assert sorted(ran.out.split()) == sorted([names[0], names[2]])


def test_a_terminal_shows_a_bar_for_each_layer(machine):
    with serving(machine) as address:
        Pusher(address).archive("tools/tiny", "1", image("tiny"))
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            machine.argv("pull", f"{address}/tools/tiny:1"),
            env={**machine.environment, "TERM": "xterm"}, stdout=theirs, stderr=theirs, cwd=machine.folder,
        )  # fmt: skip
        os.close(theirs)
        said = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            said += piece
        os.close(ours)
        assert process.wait() == 0, said
        assert b"Pull complete" in said
        assert "━".encode() in said
        assert b"Status: Downloaded newer image" in said


def test_a_password_is_asked_for_kept_and_forgotten(machine):
    with serving(machine, htpasswd=HTPASSWD) as address:
        Pusher(address, user="ann", password="secret").archive("tools/tiny", "1", image("tiny"))
        name = f"{address}/tools/tiny:1"
        ran = machine.cli("pull", name, code=1)
        assert f"pull access denied for {name}" in ran.err
        assert f"reconciler login {address}" in ran.err
        ran = machine.cli("login", "-u", "ann", "--password-stdin", address, data="wrong\n", code=1)
        assert "unauthorized" in ran.err
        ran = machine.cli("login", "-u", "ann", "--password-stdin", address, data="secret\n")
        assert ran.out == "Login Succeeded\n"
        assert "unencrypted" in ran.err
        assert machine.cli("pull", "-q", name).out == f"{name}\n"
        assert machine.cli("logout", address).out == f"Removing login credentials for {address}\n"
        assert machine.cli("logout", address).out == f"Not logged in to {address}\n"
        machine.cli("pull", name, code=1)


def test_the_password_is_read_from_a_terminal_without_an_echo(machine):
    with serving(machine, htpasswd=HTPASSWD) as address:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            machine.argv("login", address),
            env=machine.environment, stdin=theirs, stdout=theirs, stderr=theirs, cwd=machine.folder,
        )  # fmt: skip
        os.close(theirs)
        said = read_until(ours, b"Username: ")
        os.write(ours, b"ann\n")
        said += read_until(ours, b"Password: ")
        os.write(ours, b"secret\n")
        said += read_until(ours, b"Login Succeeded")
        assert process.wait() == 0
        os.close(ours)
        assert b"ann" in said
        assert b"secret" not in said


def read_until(descriptor, words):
    said = b""
    while words not in said:
        assert select.select([descriptor], [], [], 60)[0], said
        said += os.read(descriptor, 4096)
    return said


def test_login_without_a_password_or_a_terminal_says_what_is_missing(machine):
    ran = machine.cli("login", "registry.example.com", code=125)
    assert "Cannot perform an interactive login from a non TTY device" in ran.err
    assert "Must provide --username" in machine.cli("login", "--password-stdin", "registry.example.com", code=125).err
    assert "not a registry" in machine.cli("login", "-u", "a", "-p", "b", "no/registry", code=125).err


def test_tls_with_an_authority_of_ones_own(machine, certificates):
    paths = authority(os.path.join(machine.folder, "authority"))
    with serving(machine, certificate=paths["web.crt"], key=paths["web.key"]) as address:
        context = ssl.create_default_context(cafile=paths["ca.crt"])
        Pusher(address, context=context).archive("tools/tiny", "1", image("tiny"))
        name = f"{address}/tools/tiny:1"
        ran = machine.cli("pull", name, code=1)
        assert "not trusted" in ran.err
        assert f"{certificates(address)}/ca.crt" in ran.err
        os.link(paths["ca.crt"], os.path.join(certificates(address), "ca.crt"))
        assert machine.cli("pull", "-q", name).out == f"{name}\n"


@pytest.fixture
def certificates(machine):
    """A function that names the folder for a registry's certificates."""
    folder, configuration = (os.path.join(machine.folder, name) for name in ("certs.d", "config.yaml"))
    with open(configuration, "w", encoding="utf-8") as file:
        json.dump({"certificates": folder}, file)
    machine.environment["RECONCILER_CONFIG"] = configuration

    def of(address):
        os.makedirs(path := os.path.join(folder, address), exist_ok=True)
        return path

    return of


@pytest.mark.parametrize(
    ("certificate", "why", "advice"),
    [
        ({"names": "DNS:registry.example.com"}, "IP address mismatch", "use a name that it was issued for"),
        ({"days": -1}, "certificate has expired", "has to renew it, unless this machine's clock is wrong"),
    ],
)
def test_a_certificate_for_others_or_of_yesterday_is_told_with_what_to_do(
    machine, certificates, certificate, why, advice
):
    paths = authority(os.path.join(machine.folder, "authority"), **certificate)
    with serving(machine, certificate=paths["web.crt"], key=paths["web.key"]) as address:
        os.link(paths["ca.crt"], os.path.join(certificates(address), "ca.crt"))
        ran = machine.cli("pull", f"{address}/tools/tiny:1", code=1)
    assert f"the certificate of {address} is not trusted: {why}" in ran.err
    assert advice in ran.err
    assert "ca.crt" not in ran.err, "the authority is not what is wrong"


def test_a_registry_that_asks_for_a_certificate_of_its_clients(machine, certificates):
    paths = authority(os.path.join(machine.folder, "authority"))
    stranger = authority(os.path.join(machine.folder, "stranger"))
    with serving(machine, certificate=paths["web.crt"], key=paths["web.key"], clients=paths["ca.crt"]) as address:
        context = ssl.create_default_context(cafile=paths["ca.crt"])
        context.load_cert_chain(paths["web.crt"], paths["web.key"])
        Pusher(address, context=context).archive("tools/tiny", "1", image("tiny"))
        name, folder = f"{address}/tools/tiny:1", certificates(address)
        os.link(paths["ca.crt"], os.path.join(folder, "ca.crt"))

        def show(whose):
            for ending, ours in (("crt", "client.cert"), ("key", "client.key")):
                shutil.copy(whose[f"web.{ending}"], os.path.join(folder, ours))

        advice = f"one that it accepts goes to {folder}/client.cert, its key to client.key there"
        ran = machine.cli("pull", name, code=1)
        assert f"{address} asks for a certificate of this machine" in ran.err
        assert advice in ran.err
        show(stranger)
        ran = machine.cli("pull", name, code=1)
        assert f"{address} does not accept the certificate of this machine" in ran.err
        assert advice in ran.err
        show(paths)
        assert machine.cli("pull", "-q", name).out == f"{name}\n"


def test_apply_pulls_what_a_spec_names_before_it_stops_anything(machine):
    with serving(machine) as address:
        name = f"{address}/tools/tiny:1"
        stack = {"containers": {"one": {"image": name, "command": ["sleep", "1000"]}}}
        failed = machine.apply(stack, code=1)
        assert f"manifest for {name} not found: manifest unknown" in failed.err
        Pusher(address).archive("tools/tiny", "1", image("tiny"))
        assert f"pulled image {name}" in machine.apply(stack).out
        assert machine.state("one") == "running"
        before = machine.record("one").id
        stack["containers"]["one"]["image"] = f"{address}/tools/tiny:nosuch"
        assert "not found" in machine.apply(stack, code=1).err
        assert (machine.state("one"), machine.record("one").id) == ("running", before)
