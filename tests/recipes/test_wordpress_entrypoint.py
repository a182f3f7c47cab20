"""The wordpress image's entry point, with a small /usr/src/wordpress of the test's own over the machine's /usr/src."""

import os
import re
import subprocess

import pytest
import recipe

pytestmark = pytest.mark.kernel

ROOTFS = os.path.join(recipe.HERE, "wordpress", "rootfs")
ENTRYPOINT = os.path.join(ROOTFS, "usr/local/bin/docker-entrypoint.sh")
WEB = 33  # www-data


@pytest.fixture
def site(tmp_path):
    source = tmp_path / "src" / "wordpress"
    for name, text in {
        "index.php": "index",
        "wp-includes/version.php": "version",
        "wp-content/themes/new/style.css": "theme",
        "wp-content/plugins/akismet/a.php": "plugin",
        ".htaccess": "rules",
    }.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    with open(os.path.join(ROOTFS, "usr/src/wp-config-docker.php")) as file:
        (source / "wp-config-docker.php").write_text(file.read())
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apache2-foreground").write_text('#!/bin/sh\necho "serving $PWD"\n')
    (programs / "apache2-foreground").chmod(0o755)
    (tmp_path / "html").mkdir()
    return tmp_path


def enter(site, *command, **environment):
    """Runs the entry point in the empty or filled html folder."""
    script = f'mount --bind {site}/src /usr/src && cd {site}/html && exec {ENTRYPOINT} "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *(command or ("apache2-foreground",))],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": f"{site}/bin:/usr/sbin:/usr/bin:/sbin:/bin", **environment},
    )


def test_an_empty_folder_gets_wordpress_and_one_configuration_with_keys_of_its_own(site):
    result = enter(site, WORDPRESS_DB_PASSWORD="secret")
    assert (result.returncode, result.stdout) == (0, f"serving {site}/html\n"), result.stderr
    html = site / "html"
    assert (html / "wp-includes/version.php").read_text() == "version"
    assert {os.stat(html / name).st_uid for name in (".", "index.php", ".htaccess", "wp-config.php")} == {WEB}
    configuration = (html / "wp-config.php").read_text()
    keys = re.findall(r"_(?:KEY|SALT)', '([^']*)'\)", configuration)
    assert len(set(keys)) == 8
    assert all(len(key) >= 64 for key in keys)
    assert "secret" not in configuration  # it is read from the environment on each request
    again = enter(site, WORDPRESS_DB_PASSWORD="another")
    assert again.stderr == ""
    assert (html / "wp-config.php").read_text() == configuration
    assert sorted(os.listdir(html)) == sorted([*os.listdir(site / "src/wordpress"), "wp-config.php"])


def test_a_linked_database_is_reason_enough_for_a_configuration_and_nothing_is_not(site):
    assert enter(site).returncode == 0
    assert not (site / "html/wp-config.php").exists()
    enter(site, MYSQL_PORT_3306_TCP_ADDR="172.17.0.2")
    assert (site / "html/wp-config.php").exists()


def test_themes_that_are_there_stay_whole(site):
    mounted = site / "html/wp-content/themes/new"
    mounted.mkdir(parents=True)
    (mounted / "mine.css").write_text("mine")
    result = enter(site)
    assert f"WARNING: '{site}/html/wp-content/themes/new' exists! (not copying the WordPress version)" in result.stderr
    assert os.listdir(mounted) == ["mine.css"]
    assert (site / "html/wp-content/plugins/akismet/a.php").exists()


def test_a_copy_that_was_killed_is_begun_again(site):
    # tar gets as far as index.php, then is killed with the whole container.
    tar = site / "bin/tar"
    tar.write_text(
        '#!/bin/sh\n[ "$1" = --create ] || { echo half >index.php; mkdir -p wp-content/themes/new; kill -9 $PPID; }\n'
    )
    tar.chmod(0o755)
    assert enter(site).returncode != 0
    assert (site / "html/index.php").read_text() == "half\n"
    tar.unlink()
    assert enter(site).returncode == 0
    assert (site / "html/index.php").read_text() == "index"
    assert (site / "html/wp-content/themes/new/style.css").exists()  # half-copied then, not somebody's own


def test_other_commands_run_as_they_are(site):
    result = enter(site, "echo", "hello", WORDPRESS_DB_PASSWORD="x")
    assert (result.stdout, result.stderr) == ("hello\n", "")
    assert os.listdir(site / "html") == []
