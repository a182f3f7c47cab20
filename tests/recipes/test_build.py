"""The builder as a user runs it, with the one image that needs no package installation."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tarfile

import pytest
import recipe
from archive import Layer, write_archive

pytestmark = pytest.mark.kernel

BUILD = os.path.join(recipe.HERE, "build.py")


def build(output, *arguments, **options):
    command = [sys.executable, BUILD, "--output", str(output), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **options)


def test_only_what_has_changed_is_built_and_equally_each_time(tmp_path):
    first = build(tmp_path, "tiny")
    assert first.returncode == 0, first.stderr
    archive = tmp_path / "tiny.tar"
    content = archive.read_bytes()
    assert build(tmp_path, "tiny").stdout == "images are up to date: tiny\n"
    assert "building tiny:latest" in build(tmp_path, "tiny", "--force").stdout
    assert archive.read_bytes() == content
    record = json.loads((tmp_path / "tiny.tar.json").read_text())
    (tmp_path / "tiny.tar.json").write_text(json.dumps(record | {"recipe": "another"}))
    assert "building tiny:latest" in build(tmp_path, "tiny").stdout
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".work")]


def test_the_archive_is_an_oci_layout_and_a_docker_archive_of_one_content(tmp_path):
    assert build(tmp_path, "tiny").returncode == 0
    with tarfile.open(tmp_path / "tiny.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert name == "blobs/sha256/" + hashlib.sha256(content).hexdigest()
    (docker,) = json.loads(files["manifest.json"])
    (entry,) = json.loads(files["index.json"])["manifests"]
    manifest = json.loads(files["blobs/" + entry["digest"].replace(":", "/")])
    config = json.loads(files[docker["Config"]])
    assert "blobs/" + manifest["config"]["digest"].replace(":", "/") == docker["Config"]
    assert ["blobs/" + layer["digest"].replace(":", "/") for layer in manifest["layers"]] == docker["Layers"]
    assert [layer["digest"] for layer in manifest["layers"]] == config["rootfs"]["diff_ids"]
    assert docker["RepoTags"] == [entry["annotations"]["org.opencontainers.image.ref.name"]] == ["tiny:latest"]


def test_tiny_has_its_applets_its_accounts_and_the_mount_points_of_an_engine(tmp_path):
    assert build(tmp_path, "tiny").returncode == 0
    # Debian 12's own Python has no filters yet, newer ones warn without.
    trusted = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(tmp_path / "tiny.tar") as tar:
        (docker,) = json.load(tar.extractfile("manifest.json"))
        with tarfile.open(fileobj=tar.extractfile(docker["Layers"][0])) as layer:
            layer.extractall(tmp_path / "root", **trusted)
    root = tmp_path / "root"
    script = "httpd --help 2>&1 | grep -q -- -f && id user && cat /www/index.html /etc/hosts /etc/resolv.conf"
    result = subprocess.run(["chroot", root, "/bin/sh", "-c", script], check=True, capture_output=True, text=True)
    assert result.stdout == "uid=1000(user) gid=1000(user) groups=1000(user),50(staff)\nhello from tiny\n"
    assert os.stat(root / "tmp").st_mode & 0o7777 == 0o1777
    assert os.stat(root / "srv/fixture/plain").st_ino == os.stat(root / "srv/fixture/hardlink").st_ino


def test_two_builders_of_one_image_take_turns(tmp_path):
    with open(tmp_path / ".tiny.lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        command = [sys.executable, BUILD, "--output", str(tmp_path), "tiny"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
            assert "another build of it is under way: waiting" in waiting.stdout.readline()
            assert not (tmp_path / "tiny.tar").exists()
            fcntl.flock(other, fcntl.LOCK_UN)
            assert "done" in waiting.communicate(timeout=60)[0]
    assert waiting.returncode == 0


def test_remains_of_a_killed_builder_go_and_those_of_a_running_one_stay(tmp_path):
    for name in (".work-killed", ".work-running"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    with open(tmp_path / ".work-running" / "lock") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        assert build(tmp_path, "tiny").returncode == 0
    assert [name for name in os.listdir(tmp_path) if name.startswith(".work")] == [".work-running"]


def test_without_the_archive_of_debian_it_says_so_and_leaves_nothing(tmp_path):
    # In a network namespace without any interface up: apt fails at once, as on a machine without network.
    command = ["unshare", "--net", sys.executable, BUILD, "--output", str(tmp_path), "mariadb"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "Debian's archive was not reachable" in result.stderr
    assert str(tmp_path / "base.log") in result.stderr
    assert "Traceback" not in result.stderr
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".work") or name.endswith(".tar")]


@pytest.mark.parametrize("change", ["content", "mode", "name"])
def test_any_change_of_a_recipe_changes_its_digest(tmp_path, change):
    (tmp_path / "r").mkdir()
    file = tmp_path / "r" / "entry.sh"
    file.write_text("x")

    class Moved(recipe.Recipe):
        folder = str(tmp_path / "r")

    moved = Moved("r", "debian", [], {}, [], None)
    before = moved.digest(1)
    assert moved.digest(1) == before
    match change:
        case "content":
            file.write_text("y")
        case "mode":
            file.chmod(0o755)
        case "name":
            file.rename(tmp_path / "r" / "other.sh")
    assert moved.digest(1) != before


def test_an_archive_of_two_layers_holds_them_in_order(tmp_path):
    (tmp_path / "both").write_bytes(b"basetop")
    layers = [
        Layer("sha256:" + hashlib.sha256(part).hexdigest(), len(part), str(tmp_path / "both"), offset)
        for part, offset in ((b"base", 0), (b"top", 4))
    ]
    write_archive(str(tmp_path / "x.tar"), tags=["x:1", "x:latest"], config={}, layers=layers, epoch=1)
    with tarfile.open(tmp_path / "x.tar") as tar:
        (docker,) = json.load(tar.extractfile("manifest.json"))
        assert [tar.extractfile(name).read() for name in docker["Layers"]] == [b"base", b"top"]
        assert docker["RepoTags"] == ["x:1", "x:latest"]
