#!/bin/bash
# Entry point of the mariadb image: fills an empty data folder from the environment once, then becomes the server.
# Each variable may be spelled MARIADB_X or MYSQL_X, and given in a file named by MARIADB_X_FILE or MYSQL_X_FILE.
set -eEuo pipefail
shopt -s nullglob

log() { # LEVEL MESSAGE: one line in the server's own format
    printf '%s [%s] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$1" "$2"
}

note() { log Note "$1"; }
warn() { log Warn "$1" >&2; }
fail() { log ERROR "$1" >&2; exit 1; }

setting() { # NAME: sets and exports MARIADB_NAME and MYSQL_NAME, from either spelling or a file; empty when unset
    local name=$1 prefix variable value=""
    for prefix in MYSQL MARIADB; do # the second wins
        variable=${prefix}_$name
        local file=${variable}_FILE
        if [ -n "${!variable:-}" ] && [ -n "${!file:-}" ]; then
            fail "Both $variable and $file are set (but are exclusive)"
        fi
        if [ -n "${!file:-}" ]; then
            [ -r "${!file}" ] || fail "$file names ${!file}, which cannot be read"
            value=$(<"${!file}")
            unset "$file"
        elif [ -n "${!variable:-}" ]; then
            value=${!variable}
        fi
    done
    export "MARIADB_$name=$value" "MYSQL_$name=$value"
}

read_settings() {
    # The alias that differs in more than the prefix.
    if [ -n "${MYSQL_ALLOW_EMPTY_PASSWORD:-}" ]; then
        export MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD:-$MYSQL_ALLOW_EMPTY_PASSWORD}
    fi
    local name
    for name in ROOT_HOST ROOT_PASSWORD ROOT_PASSWORD_HASH ALLOW_EMPTY_ROOT_PASSWORD RANDOM_ROOT_PASSWORD \
        DATABASE USER PASSWORD PASSWORD_HASH INITDB_SKIP_TZINFO; do
        setting "$name"
    done
}

quote_text() { # VALUE: as an SQL string
    local value=${1//\\/\\\\}
    printf "'%s'" "${value//\'/\\\'}"
}

quote_name() { # VALUE: as an SQL identifier
    printf '`%s`' "${1//\`/\`\`}"
}

client() { # ARGUMENTS: the client as root of the temporary server
    MYSQL_PWD=$current_password mariadb --no-defaults --default-character-set=utf8mb4 --protocol=socket \
        --socket="$MYSQL_UNIX_PORT" --user=root --binary-mode "$@"
}

docker_process_sql() { # ARGUMENTS: statements from standard input. The official name: sourced scripts call it
    local arguments=("$@")
    if [ -n "$MARIADB_DATABASE" ]; then
        arguments=(--database="$MARIADB_DATABASE" "$@")
    fi
    client "${arguments[@]}"
}

check_settings() {
    if [ -z "$MARIADB_ROOT_PASSWORD$MARIADB_ROOT_PASSWORD_HASH$MARIADB_ALLOW_EMPTY_ROOT_PASSWORD$MARIADB_RANDOM_ROOT_PASSWORD" ]; then
        fail "Database is uninitialized and password option is not specified
    You need to specify one of the following as an environment variable:
    - MARIADB_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD
    - MARIADB_ROOT_PASSWORD_HASH or MYSQL_ROOT_PASSWORD_HASH
    - MARIADB_ALLOW_EMPTY_ROOT_PASSWORD or MYSQL_ALLOW_EMPTY_PASSWORD
    - MARIADB_RANDOM_ROOT_PASSWORD or MYSQL_RANDOM_ROOT_PASSWORD"
    fi
    if [ "$MARIADB_USER" = root ]; then
        fail "MARIADB_USER=\"root\" is not possible: that account always exists; set MARIADB_ROOT_PASSWORD"
    fi
    if [ -n "$MARIADB_USER" ] && [ -z "$MARIADB_PASSWORD$MARIADB_PASSWORD_HASH" ]; then
        warn "MARIADB_USER without MARIADB_PASSWORD or MARIADB_PASSWORD_HASH: the account is not created"
    fi
}

server_value() { # OPTION: what the server makes of configuration files and command line
    awk -v option="$1" '$1 == option { $1 = ""; sub(/^ +/, ""); print; exit }' <<<"$server_help"
}

# An initialisation that was killed left accounts without passwords: nobody was served yet, so it starts over.
# The marker lists what lay in the folder before.
discard_unfinished() {
    [ -e "$unfinished" ] || return 0
    warn "An earlier initialization was interrupted: starting over"
    local entry
    for entry in "$datadir"/* "$datadir"/.[!.]*; do
        [ "$entry" = "$unfinished" ] || grep -qxF -- "${entry##*/}" "$unfinished" || rm -rf -- "$entry"
    done
    rm -f -- "$unfinished"
}

create_files() {
    local entry present=""
    for entry in "$datadir"/* "$datadir"/.[!.]*; do
        present+=${entry##*/}$'\n'
    done
    printf '%s' "$present" >"$unfinished"
    note "Initializing database files"
    # Without this option root's account would be bound to the system's root user.
    mariadb-install-db --datadir="$datadir" --rpm --auth-root-authentication-method=normal --skip-test-db \
        --skip-name-resolve "${@:2}" >/dev/null
    note "Database files initialized"
}

# On a socket of its own and without TCP, so that no health test takes it for the real one.
start_temporary() {
    export MYSQL_UNIX_PORT=/run/mysqld/initialization.sock
    note "Starting temporary server"
    "$@" --skip-networking --socket="$MYSQL_UNIX_PORT" --wsrep_on=OFF --skip-slave-start --loose-innodb_buffer_pool_load_at_startup=0 &
    temporary=$!
    until client --execute 'SELECT 1' >/dev/null 2>&1; do
        kill -0 "$temporary" 2>/dev/null || fail "Unable to start server."
        sleep 0.05
    done
    note "Temporary server started."
}

stop_temporary() {
    note "Stopping temporary server"
    kill -TERM "$temporary"
    wait "$temporary" || fail "Temporary server ended with an error."
    unset MYSQL_UNIX_PORT
    note "Temporary server stopped"
}

identified() { # PASSWORD HASH: the clause of CREATE USER
    if [ -n "$2" ]; then
        printf 'IDENTIFIED BY PASSWORD %s' "$(quote_text "$2")"
    else
        printf 'IDENTIFIED BY %s' "$(quote_text "$1")"
    fi
}

create_accounts() {
    if [ -n "$MARIADB_RANDOM_ROOT_PASSWORD" ]; then
        MARIADB_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64 -w 0)
        export MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD=$MARIADB_ROOT_PASSWORD
        note "GENERATED ROOT PASSWORD: $MARIADB_ROOT_PASSWORD"
    fi
    local root host=${MARIADB_ROOT_HOST:-%} probe
    root=$(identified "$MARIADB_ROOT_PASSWORD" "$MARIADB_ROOT_PASSWORD_HASH")
    probe=$(head -c 24 /dev/urandom | base64 -w 0)
    {
        echo "SET @@SESSION.SQL_LOG_BIN = 0;"
        echo "SET @@SESSION.SQL_MODE = REPLACE(@@SESSION.SQL_MODE, 'NO_BACKSLASH_ESCAPES', '');"
        # Accounts without password that mariadb-install-db makes; the server prefers them over root@'%'.
        echo "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');"
        echo "FLUSH PRIVILEGES;"
        if [ "$host" != localhost ]; then
            echo "CREATE USER root@$(quote_text "$host") $root;"
            echo "GRANT ALL ON *.* TO root@$(quote_text "$host") WITH GRANT OPTION;"
            echo "GRANT PROXY ON ''@'%' TO root@$(quote_text "$host") WITH GRANT OPTION;"
        fi
        local address
        for address in 127.0.0.1 ::1 localhost; do
            echo "CREATE USER healthcheck@'$address' IDENTIFIED BY '$probe';"
        done
        if [ -n "$MARIADB_DATABASE" ]; then
            note "Creating database $MARIADB_DATABASE" >&2
            echo "CREATE DATABASE IF NOT EXISTS $(quote_name "$MARIADB_DATABASE");"
        fi
        if [ -n "$MARIADB_USER" ] && [ -n "$MARIADB_PASSWORD$MARIADB_PASSWORD_HASH" ]; then
            note "Creating user $MARIADB_USER" >&2
            echo "CREATE USER $(quote_text "$MARIADB_USER")@'%' $(identified "$MARIADB_PASSWORD" "$MARIADB_PASSWORD_HASH");"
            if [ -n "$MARIADB_DATABASE" ]; then
                note "Giving user $MARIADB_USER access to schema $MARIADB_DATABASE" >&2
                # In GRANT, "_" and "%" are patterns.
                local pattern=${MARIADB_DATABASE//_/\\_}
                echo "GRANT ALL ON $(quote_name "${pattern//%/\\%}").* TO $(quote_text "$MARIADB_USER")@'%';"
            fi
        fi
        echo "ALTER USER root@localhost $root;"
    } | client --database=mysql
    current_password=$MARIADB_ROOT_PASSWORD
    (umask 077 && printf '[client]\nuser = healthcheck\npassword = "%s"\n' "$probe" >"$datadir/.my-healthcheck.cnf")
}

load_time_zones() {
    [ -z "$MARIADB_INITDB_SKIP_TZINFO" ] || return 0
    mariadb-tzinfo-to-sql --skip-write-binlog /usr/share/zoneinfo 2>/dev/null | client --database=mysql
}

run_initdb_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do # in the order of their names
        case $file in
            *.sh)
                if [ -x "$file" ]; then
                    note "running $file"
                    "$file"
                else
                    note "sourcing $file"
                    # shellcheck source=/dev/null
                    . "$file"
                fi
                ;;
            *.sql) note "running $file"; docker_process_sql <"$file" ;;
            *.sql.gz) note "running $file"; gzip -dc "$file" | docker_process_sql ;;
            *.sql.xz | *.sql.zst) fail "$file: no program for this compression in the image; use .sql or .sql.gz" ;;
            *) warn "ignoring $file" ;;
        esac
    done
}

initialize() { # SERVER COMMAND
    # The first process of a container ignores signals that it has no handler for: a stop would wait for its time limit.
    trap 'exit 143' TERM INT
    check_settings
    create_files "$@"
    current_password=""
    start_temporary "$@"
    # A hash does not tell the password that later statements would log in with, so the time zones come first.
    load_time_zones
    create_accounts
    if [ -n "$MARIADB_ROOT_PASSWORD_HASH" ] && [ -z "$MARIADB_ROOT_PASSWORD" ]; then
        compgen -G '/docker-entrypoint-initdb.d/*' >/dev/null \
            && warn "ignoring /docker-entrypoint-initdb.d: it needs MARIADB_ROOT_PASSWORD, not only its hash"
    else
        run_initdb_files
    fi
    stop_temporary
    rm -f -- "$unfinished"
    note "MariaDB init process done. Ready for start up."
}

wants_help() {
    local argument
    for argument in "$@"; do
        case $argument in -'?' | --help | --print-defaults | -V | --version) return 0 ;; esac
    done
    return 1
}

main() {
    if [[ ${1:-} == -* ]]; then
        set -- mariadbd "$@"
    fi
    if { [ "${1:-}" != mariadbd ] && [ "${1:-}" != mysqld ]; } || wants_help "$@"; then
        exec "$@"
    fi

    server_help=$("$@" --verbose --help 2>&1) || fail "mariadbd failed while attempting to check config
    command was: $* --verbose --help
    $(grep -F '[ERROR]' <<<"$server_help" || tail -n 5 <<<"$server_help")"
    datadir=$(server_value datadir)
    datadir=${datadir%/}
    unfinished=$datadir/.initialization-unfinished

    # As root, who may read secret files that mysql may not.
    [ -d "$datadir/mysql" ] && [ ! -e "$unfinished" ] || read_settings
    if [ "$(id -u)" = 0 ]; then
        mkdir -p "$datadir" /run/mysqld # /run may be a tmpfs
        find "$datadir" /run/mysqld ! -user mysql -exec chown --no-dereference mysql: {} +
        note "Switching to dedicated user 'mysql'"
        export HOME=/var/lib/mysql
        exec setpriv --reuid=mysql --regid=mysql --init-groups -- "$0" "$@"
    fi

    discard_unfinished
    [ -d "$datadir/mysql" ] || initialize "$@"
    exec "$@"
}

main "$@"
