"""The mariadb image's entry point with stand-ins for the server's programs, which record what they are told.

Run as another user than root, as with `--user`; what the real server makes of it is for the tests of real containers.
"""

import os
import subprocess

import pytest
import recipe

pytestmark = pytest.mark.kernel

ENTRYPOINT = os.path.join(recipe.HERE, "mariadb", "rootfs", "usr/local/bin/docker-entrypoint.sh")

PROGRAMS = {
    "mariadbd": """
case "$*" in
    *--help*) echo "datadir $DATA/" ;;
    *--socket=*) trap 'exit 0' TERM; echo "temporary $*" >>"$DATA/../calls"; while :; do sleep 0.02; done ;;
    *) echo "server $* in $(ls -A "$DATA" | tr '\\n' ' ')" ;;
esac
""",
    "mariadb-install-db": 'mkdir "$DATA/mysql" && [ -z "$DIE" ] || kill -9 $PPID\n',
    "mariadb-tzinfo-to-sql": "echo zones\n",
    "mariadb": 'case "$*" in *--execute*) [ -e "$DATA/../calls" ] ;; *) cat >>"$DATA/../sql" ;; esac\n',
}


@pytest.fixture
def server(tmp_path):
    for name in ("bin", "data"):
        (tmp_path / name).mkdir()
    for name, text in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n" + text)
        (tmp_path / "bin" / name).chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents[:2], tmp_path / "data"):
        os.chmod(folder, 0o755)
    for name in (".", "data"):
        os.chown(tmp_path / name, 65534, 65534)
    return tmp_path


def enter(server, *command, **environment):
    return subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ENTRYPOINT, *(command or ("mariadbd",))],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": f"{server}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DATA": str(server / "data"), **environment},
    )


def sql(server):
    return (server / "sql").read_text()


def test_without_a_password_it_says_which_variables_to_set(server):
    result = enter(server)
    assert result.returncode == 1
    assert "[ERROR] [Entrypoint]: Database is uninitialized and password option is not specified" in result.stderr
    assert "    - MARIADB_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD\n" in result.stderr
    assert os.listdir(server / "data") == []


@pytest.mark.parametrize("prefix", ["MYSQL", "MARIADB"])
def test_accounts_and_database_are_made_once_and_quoted(server, prefix):
    settings = {
        f"{prefix}_ROOT_PASSWORD": "p'w\\x",
        f"{prefix}_DATABASE": "app_`db",
        f"{prefix}_USER": "o'neil",
        f"{prefix}_PASSWORD": 'a"b$c',
    }
    result = enter(server, **settings)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("server  in .my-healthcheck.cnf mysql \n")
    statements = sql(server)
    assert r"ALTER USER root@localhost IDENTIFIED BY 'p\'w\\x';" in statements
    assert r"CREATE USER root@'%' IDENTIFIED BY 'p\'w\\x';" in statements
    assert "CREATE DATABASE IF NOT EXISTS `app_``db`;" in statements
    assert r"""CREATE USER 'o\'neil'@'%' IDENTIFIED BY 'a"b$c';""" in statements
    assert r"GRANT ALL ON `app\_``db`.* TO 'o\'neil'@'%';" in statements
    # Accounts without password go before root can log in from elsewhere.
    assert statements.index("DELETE FROM mysql.global_priv") < statements.index("CREATE USER root@'%'")
    temporary = (server / "calls").read_text()
    assert "--skip-networking" in temporary
    assert "--socket=/run/mysqld/mysqld.sock" not in temporary
    assert enter(server).returncode == 0  # data exists: no variables needed
    assert sql(server) == statements


def test_a_password_comes_from_a_file_or_a_variable_but_not_from_both(server):
    secret = server / "secret"
    secret.write_text("from file\n")
    both = enter(server, MYSQL_ROOT_PASSWORD="x", MYSQL_ROOT_PASSWORD_FILE=str(secret))
    assert both.returncode == 1
    assert "Both MYSQL_ROOT_PASSWORD and MYSQL_ROOT_PASSWORD_FILE are set (but are exclusive)" in both.stderr
    assert enter(server, MYSQL_ROOT_PASSWORD_FILE=str(secret)).returncode == 0
    assert "ALTER USER root@localhost IDENTIFIED BY 'from file';" in sql(server)


def test_a_random_password_is_in_the_log_and_is_what_is_set(server):
    result = enter(server, MYSQL_RANDOM_ROOT_PASSWORD="yes")
    (password,) = [line.split(": ")[-1] for line in result.stdout.splitlines() if "GENERATED ROOT PASSWORD" in line]
    assert f"ALTER USER root@localhost IDENTIFIED BY '{password}';" in sql(server)
    assert len(password) >= 32


def test_a_killed_initialization_starts_over_and_keeps_what_was_there_before(server):
    (server / "data/lost+found").mkdir()
    assert enter(server, MYSQL_ROOT_PASSWORD="x", DIE="1").returncode != 0
    assert (server / "data/mysql").exists()
    (server / "data/mysql/half").write_text("x")
    result = enter(server, MYSQL_ROOT_PASSWORD="x")
    assert "interrupted: starting over" in result.stderr
    assert result.stdout.endswith("server  in .my-healthcheck.cnf lost+found mysql \n")
    assert not (server / "data/mysql/half").exists()


def test_flags_are_the_servers_and_other_commands_run_as_they_are(server):
    assert (
        enter(server, "--innodb-x=1", MYSQL_ALLOW_EMPTY_PASSWORD="1")
        .stdout.splitlines()[-1]
        .startswith("server --innodb-x=1 in ")
    )
    assert enter(server, "echo", "hello").stdout == "hello\n"
