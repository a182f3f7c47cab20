"""Who one is at a registry: passwords and tokens, where they come from and to whom they go, login and logout."""

from __future__ import annotations

import base64
import json
import os
import stat

import pytest
from registrylab import Tokens, configured, content, layer_of, on, reply

from reconciler.engine.images.registry import sessions
from reconciler.engine.images.registry.authority import challenges
from reconciler.kits.errors import ReconcilerError

PAIR = base64.b64encode(b"ann:secret").decode()


@pytest.fixture
def folder(tmp_path, hub):  # noqa: ARG001 - DOCKER_CONFIG is its
    """The folder of config.json."""
    path = tmp_path / "docker"
    path.mkdir()
    return path


def write(folder, document):
    (folder / "config.json").write_text(json.dumps(document))


def read(folder):
    return json.loads((folder / "config.json").read_text())


def helper(folder, monkeypatch, script, name="test"):
    """A credential helper; what it is asked is in the folder's `asked`."""
    path = folder / f"docker-credential-{name}"
    path.write_text(f'#!/bin/sh\necho "$1 $(cat)" >> {folder}/asked\n{script}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def guarded(hub, pair=PAIR):
    """Ask for a user and a password by Basic."""

    def guard(request, handler):
        if request.headers.get("Authorization") == f"Basic {pair}":
            return False
        return reply(handler, 401, b"", {"WWW-Authenticate": 'Basic realm="here"'})

    hub.rules.insert(0, guard)


def denied(images, name, *words):
    with pytest.raises(ReconcilerError) as raised:
        images.pull(name)
    assert raised.value.code == "denied", raised.value
    for word in words:
        assert word in str(raised.value), raised.value


# Basic


@pytest.mark.parametrize("key", ["{}", "https://{}/v2/", "http://{}"])
def test_basic_credentials_are_shown_when_they_are_asked_for(hub, images, folder, key):
    hub.image()
    guarded(hub)
    write(folder, {"auths": {key.format(hub.address): {"auth": PAIR}, "elsewhere": {"auth": "eDp5"}}})
    images.pull(f"{hub.address}/app:1")
    sent = [request.headers.get("Authorization") for request in hub.requests]
    assert sent[0] is None
    assert set(sent[1:]) == {f"Basic {PAIR}"}


def test_without_or_with_wrong_credentials_it_is_denied_after_few_questions(hub, images, folder):
    hub.image()
    guarded(hub)
    denied(
        images, f"{hub.address}/app:1", f"pull access denied for {hub.address}/app:1", f"reconciler login {hub.address}"
    )
    write(folder, {"auths": {hub.address: {"auth": base64.b64encode(b"ann:wrong").decode()}}})
    denied(images, f"{hub.address}/app:1", "pull access denied")
    assert len(hub.requests) <= 5


@pytest.mark.parametrize("challenge", ['Bearer realm="{}/token",service="s"', 'Basic realm="x"'])
@pytest.mark.parametrize("what", ["/blobs/", "/manifests/"])
def test_whom_a_registry_redirects_to_gets_no_credentials_by_asking_for_them(
    hub, other, images, folder, what, challenge
):
    hub.image()
    guarded(hub)
    write(folder, {"auths": {hub.address: {"auth": PAIR}}})
    hub.rules.append(on(what, lambda r, h: reply(h, 307, b"", {"Location": f"{other.url}{r.path}"})))
    asks = {"WWW-Authenticate": challenge.format(other.url)}
    other.rules.append(on("/v2/", lambda _, h: reply(h, 401, b'{"message": "give!"}', asks)))
    with pytest.raises(ReconcilerError) as raised:
        images.pull(f"{hub.address}/app:1")
    assert f"{hub.address} redirects to {other.address}, which answers 401 Unauthorized (give!)" in str(raised.value)
    assert raised.value.code == "registry"
    assert {request.path.split("/")[1] for request in other.requests} == {"v2"}
    assert not any("Authorization" in request.headers for request in other.requests)
    assert not any("Bearer" in request.headers.get("Authorization", "") for request in hub.requests)


# Tokens


def test_a_token_is_fetched_for_the_repository_and_shown_to_the_registry_alone(hub, other, images, folder):
    hub.image()
    tokens = Tokens(hub, other, users=["ann:secret"])
    write(folder, {"auths": {hub.address: {"auth": PAIR}}})
    images.pull(f"{hub.address}/app:1")
    (asked,) = other.requests
    assert asked.query == {"service": ["hub"], "scope": ["repository:app:pull"], "account": ["ann"]}
    assert asked.headers["Authorization"] == f"Basic {PAIR}"
    assert not any("Basic" in request.headers.get("Authorization", "") for request in hub.requests)
    assert list(tokens.made) == ["token0." + tokens.secret]


def test_a_token_without_credentials_is_enough_where_the_server_gives_one(hub, other, images):
    hub.image()
    Tokens(hub, other)
    images.pull(f"{hub.address}/app:1")
    assert "Authorization" not in other.requests[0].headers


def test_a_token_that_runs_out_during_a_pull_is_renewed(hub, other, images, tmp_path, monkeypatch):
    # One after another: layers that come side by side would use up each other's tokens.
    monkeypatch.setenv("RECONCILER_CONFIG", configured(tmp_path, hub, pull={"parallel": 1}))
    hub.image(layers=[layer_of(f"file{number}") for number in range(5)])
    tokens = Tokens(hub, other, uses=2)
    images.pull(f"{hub.address}/app:1")
    assert len(tokens.made) >= 3
    assert len(content(images, f"{hub.address}/app:1")) == 5


def test_a_wrong_password_is_told_in_the_token_servers_words(hub, other, images, folder):
    hub.image()
    Tokens(hub, other, users=["ann:secret"])
    write(folder, {"auths": {hub.address: {"auth": base64.b64encode(b"ann:wrong").decode()}}})
    denied(images, f"{hub.address}/app:1", "incorrect username or password")


def test_an_identity_token_is_changed_for_others_and_a_registry_token_is_shown_as_it_is(hub, other, images, folder):
    hub.image()
    Tokens(hub, other)
    write(folder, {"auths": {hub.address: {"identitytoken": "identity"}}})
    images.pull(f"{hub.address}/app:1")
    (asked,) = other.requests
    assert asked.method == "POST"
    assert b"grant_type=refresh_token" in asked.body
    assert b"refresh_token=identity" in asked.body
    images.remove(f"{hub.address}/app:1")
    write(folder, {"auths": {hub.address: {"registrytoken": "token0." + "x"}}})
    denied(images, f"{hub.address}/app:1")
    assert len(other.requests) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, b"{}"), "without a token"),
        ((200, b'{"token": "a\\r\\nEvil: 1"}'), "without a token"),
        ((200, b"<html>"), "without a token"),
        ((404, b""), "answers 404"),
    ],
)
def test_a_token_server_that_answers_nonsense_is_told(hub, other, images, answer, words):
    hub.image()
    Tokens(hub, other)
    other.rules.insert(0, on("/token", lambda _, handler: reply(handler, *answer)))
    with pytest.raises(ReconcilerError, match=words):
        images.pull(f"{hub.address}/app:1")


def test_challenges_are_read_as_they_are_written():
    (bearer,) = challenges(['Bearer realm="https://a/token?x=1,2",service="s \\"q\\"", scope=repository:a:pull'])
    assert bearer.scheme == "bearer"
    assert bearer.parameters == {"realm": "https://a/token?x=1,2", "service": 's "q"', "scope": "repository:a:pull"}
    both = challenges(['Basic realm="x", Bearer realm="y"', "Negotiate"])
    assert [one.scheme for one in both] == ["basic", "bearer", "negotiate"]
    assert challenges(["", ", ,", "=;"]) == []


# Helpers


def test_a_credential_helper_is_asked_for_its_registry(hub, images, folder, monkeypatch):
    hub.image()
    guarded(hub)
    helper(folder, monkeypatch, """echo '{"ServerURL": "x", "Username": "ann", "Secret": "secret"}'""")
    for setting in ({"credsStore": "test"}, {"credHelpers": {hub.address: "test"}}):
        write(folder, setting)
        images.pull(f"{hub.address}/app:1")
    assert set((folder / "asked").read_text().splitlines()) == {f"get {hub.address}"}


def test_a_helper_without_the_registry_leaves_it_to_the_file(hub, images, folder, monkeypatch):
    hub.image()
    guarded(hub)
    helper(folder, monkeypatch, "echo credentials not found in native keychain; exit 1")
    write(folder, {"credsStore": "test", "auths": {hub.address: {"auth": PAIR}}})
    images.pull(f"{hub.address}/app:1")


@pytest.mark.parametrize(
    ("script", "words"),
    [("echo locked >&2; exit 1", "failed: locked"), ("echo hello", "not JSON"), (None, "not installed")],
)
def test_a_helper_that_fails_is_told(hub, images, folder, monkeypatch, script, words):
    guarded(hub)
    if script:
        helper(folder, monkeypatch, script)
    write(folder, {"credsStore": "test"})
    with pytest.raises(ReconcilerError, match=words) as raised:
        images.pull(f"{hub.address}/app:1")
    assert raised.value.code == "credentials"


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"HOST": {"auth": "%%%"}}}'])
def test_a_broken_file_is_told(hub, images, folder, text):
    guarded(hub)
    (folder / "config.json").write_text(text.replace("HOST", hub.address))
    with pytest.raises(ReconcilerError, match=r"config\.json"):
        images.pull(f"{hub.address}/app:1")


# Login and logout


def test_login_keeps_what_the_registry_accepts_and_all_else_in_the_file(hub, folder):
    guarded(hub)
    write(folder, {"detachKeys": "ctrl-e,e", "auths": {"other.example": {"auth": "eDp5"}}})
    (folder / "config.json").chmod(0o644)
    with pytest.raises(ReconcilerError, match="unauthorized: incorrect username or password"):
        sessions.login(hub.address, "ann", "wrong")
    assert hub.address not in read(folder)["auths"]
    assert sessions.login(hub.address, "ann", "secret") == str(folder / "config.json")
    assert stat.S_IMODE((folder / "config.json").stat().st_mode) == 0o600
    assert read(folder) == {
        "detachKeys": "ctrl-e,e",
        "auths": {"other.example": {"auth": "eDp5"}, hub.address: {"auth": PAIR}},
    }
    assert os.listdir(folder) == ["config.json"]
    assert sessions.logout(hub.address) is True
    assert sessions.logout(hub.address) is False
    assert read(folder) == {"detachKeys": "ctrl-e,e", "auths": {"other.example": {"auth": "eDp5"}}}


def test_login_through_a_helper_leaves_no_password_in_the_file(hub, folder, monkeypatch):
    guarded(hub)
    helper(folder, monkeypatch, """[ "$1" = get ] && echo '{"Username": "ann", "Secret": "secret"}'; true""")
    write(folder, {"credsStore": "test"})
    assert sessions.login(hub.address, "ann", "secret") == "docker-credential-test"
    assert sessions.logout(hub.address) is True
    said = (folder / "asked").read_text().splitlines()
    assert json.loads(said[0].removeprefix("store ")) == {
        "ServerURL": hub.address, "Username": "ann", "Secret": "secret",
    }  # fmt: skip
    assert said[-1] == f"erase {hub.address}"
    assert read(folder) == {"credsStore": "test"}


def test_login_makes_folder_and_file(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "new" / "folder"))
    guarded(hub)
    sessions.login(hub.address, "ann", "secret")
    assert stat.S_IMODE((tmp_path / "new" / "folder" / "config.json").stat().st_mode) == 0o600


def test_login_by_tokens_and_at_nobody(hub, other):
    Tokens(hub, other, users=["ann:secret"])
    with pytest.raises(ReconcilerError, match="incorrect username or password"):
        sessions.login(hub.address, "ann", "wrong")
    sessions.login(hub.address, "ann", "secret")
    with pytest.raises(ReconcilerError) as raised:
        sessions.login("registry.invalid", "ann", "secret")
    assert raised.value.code == "unreachable"
