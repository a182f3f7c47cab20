"""The configuration file: what it may say, and where an error in it lies."""

from __future__ import annotations

import pytest

from reconciler.kits import configuration
from reconciler.kits.configuration import PullConfig, RegistryConfig
from reconciler.kits.errors import ReconcilerError
from reconciler.kits.references import parse

WHOLE = """
registries:
  docker.io: {mirrors: ["https://mirror.example.com/", "http://10.0.0.5:5000", hub.lan]}
  registry.lan:5000: {insecure: true}
images:
  docker.io/library: registry.lan:5000/hub
  docker.io: other.lan
  quay.io/team/: registry.lan:5000/team
certificates: /srv/certs.d
pull: {parallel: 6, connect_timeout: 5s, idle_timeout: 1m30s, time_limit: 2h}
"""


def test_all_keys():
    read = configuration.parse(WHOLE.encode(), "config.yaml")
    mirrors = ("https://mirror.example.com", "http://10.0.0.5:5000", "https://hub.lan")
    assert read.registry("docker.io") == RegistryConfig(mirrors=mirrors)
    assert read.registry("registry.lan:5000") == RegistryConfig(insecure=True)
    assert read.registry("elsewhere.example") == RegistryConfig()
    assert read.certificates == "/srv/certs.d"
    assert read.pull == PullConfig(6, 5.0, 90.0, 7200.0)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("mariadb:10.11", "registry.lan:5000/hub/mariadb:10.11"),
        ("team/app", "other.lan/team/app:latest"),
        ("quay.io/team/app:1", "registry.lan:5000/team/app:1"),
        ("quay.io/teams/app:1", "quay.io/teams/app:1"),
        ("elsewhere.example/app:1", "elsewhere.example/app:1"),
    ],
)
def test_the_longest_prefix_is_exchanged_at_a_slash(name, instead):
    read = configuration.parse(WHOLE.encode(), "config.yaml")
    assert read.substitute(parse(name)).canonical == instead


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "registries:\n"])
def test_nothing_is_the_defaults(text):
    assert configuration.parse(text.encode(), "config.yaml") == configuration.Configuration()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("registry: {}", "config.yaml:1:1: there is no key 'registry' here"),
        ("pull:\n  paralel: 3", "config.yaml:2:3: there is no key 'paralel' here"),
        ("pull:\n  parallel: many", "config.yaml:2:13: 'many' is not a number from 1 to 64"),
        ("pull: {parallel: 0}", "'0' is not a number from 1 to 64"),
        ("pull: {idle_timeout: soon}", 'config.yaml:1:22: "soon" is not a duration'),
        ("pull: {idle_timeout: 0s}", "more than nothing"),
        ("pull: []", "config.yaml:1:7: a mapping was expected here"),
        ("pull: {parallel: 1, parallel: 2}", "'parallel' is here twice"),
        ("registries: {a/b: {}}", "'a/b' is not a registry's host name"),
        ("registries: {plain: {}}", "'plain' is not a registry's host name"),
        ("registries: {docker.io: {insecure: yes}}", "'yes' is neither true nor false"),
        ("registries: {docker.io: {mirrors: x}}", "a list was expected here"),
        ("registries: {docker.io: {mirrors: [ftp://x]}}", "is not a mirror's address"),
        ("registries: {docker.io: {mirrors: ['https://u:p@x.lan']}}", "is not a mirror's address"),
        ("images: {library: registry.lan}", "'library' does not begin with a registry's host name"),
        ("images: {docker.io: 'registry.lan/UPPER'}", "config.yaml:1:21: bad image reference"),
        ("certificates: certs.d", "is not an absolute path"),
        ("a: [", "config.yaml:"),
        ("a: !!python/object:os.system x", "there is no key 'a'"),
    ],
)
def test_errors_say_what_and_where(text, error):
    with pytest.raises(ReconcilerError) as raised:
        configuration.parse(text.encode(), "config.yaml")
    assert raised.value.code == "configuration"
    assert error in str(raised.value)


def test_the_file_is_read_when_it_changes_and_must_be_there_when_it_is_named(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("RECONCILER_CONFIG", str(path))
    with pytest.raises(ReconcilerError, match="RECONCILER_CONFIG names"):
        configuration.load()
    path.write_text("pull: {parallel: 5}")
    assert configuration.load().pull.parallel == 5
    path.write_text("pull: {parallel: 11}")
    assert configuration.load().pull.parallel == 11
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ReconcilerError, match="UTF-8"):
        configuration.load()
