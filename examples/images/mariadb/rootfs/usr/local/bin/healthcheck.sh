#!/bin/bash
# Health test with the options that Compose files use: --connect, --innodb_initialized. Exit code 0: healthy.
# Connects over TCP, where the temporary server of a first start does not listen.
set -eu

login=(--defaults-extra-file="${DATADIR:-/var/lib/mysql}/.my-healthcheck.cnf" --host=127.0.0.1 --protocol=tcp)

ask() { # STATEMENT: its result
    mariadb "${login[@]}" --batch --skip-column-names --execute "$1" 2>/dev/null
}

[ $# -gt 0 ] || { echo "healthcheck.sh: name a test: --connect or --innodb_initialized" >&2; exit 1; }
for test in "$@"; do
    case $test in
        --connect)
            # A server that refuses the login is there, too: the account is missing in data of another image.
            ask 'SELECT 1' >/dev/null || mariadb-admin "${login[@]}" ping >/dev/null 2>&1
            ;;
        --innodb_initialized)
            [ "$(ask "SELECT 1 FROM information_schema.ENGINES WHERE engine = 'innodb' AND support IN ('YES', 'DEFAULT')")" = 1 ]
            ;;
        *)
            echo "healthcheck.sh: no such test: $test (there are --connect and --innodb_initialized)" >&2
            exit 1
            ;;
    esac
done
