#!/bin/bash
# Entry point of the wordpress image: copies WordPress into an empty working directory, writes wp-config.php once, then
# becomes the web server. The configuration reads the environment on each request, so changed variables count at once.
set -euo pipefail
shopt -s nullglob dotglob

source_folder=/usr/src/wordpress
unfinished=.wordpress-copy-unfinished

say() { echo "$*" >&2; }

owner_of_site() { # prints USER:GROUP that the site's files are to have
    if [ "$(id -u)" != 0 ]; then
        echo "$(id -u):$(id -g)"
        return
    fi
    local user=${APACHE_RUN_USER:-www-data} group=${APACHE_RUN_GROUP:-www-data}
    echo "${user#\#}:${group#\#}" # Apache also takes "#1000"
}

# The marker says that a copy began, and what was there before: one that was killed is begun again.
copy_wordpress() { # OWNER
    if [ "$(id -u)" = 0 ] && [ "$(stat -c %u:%g .)" = 0:0 ]; then
        chown "$1" . # a folder that the engine made for a mount
    fi
    say "WordPress not found in $PWD - copying now..."
    [ -e "$unfinished" ] || list_existing >"$unfinished"
    local excludes=(--anchored) entry
    while read -r entry; do
        say "WARNING: '$PWD/$entry' exists! (not copying the WordPress version)"
        excludes+=(--exclude "./$entry")
    done <"$unfinished"
    local flags=()
    [ "$(id -u)" = 0 ] || flags+=(--no-overwrite-dir) # "." may belong to somebody else
    tar --create --directory "$source_folder" --owner "${1%:*}" --group "${1#*:}" "${excludes[@]}" . \
        | tar --extract "${flags[@]}"
    rm -f "$unfinished"
    say "Complete! WordPress has been successfully copied to $PWD"
}

# Themes, plugins and an .htaccess that somebody mounted or made stay as they are, each as a whole.
list_existing() {
    local entry
    for entry in *; do
        if [ "$entry" != wp-content ] && [ "$entry" != "$unfinished" ]; then
            say "WARNING: $PWD is not empty! (copying anyhow)"
            break
        fi
    done
    for entry in "$source_folder"/.htaccess "$source_folder"/wp-content/*/*/; do
        entry=${entry#"$source_folder"/}
        entry=${entry%/}
        [ ! -e "$entry" ] || echo "$entry"
    done
}

write_configuration() { # OWNER
    local template variables=("${!WORDPRESS_@}" "${!MYSQL_PORT_3306_TCP@}" "${!MYSQL_ENV_@}")
    [ "${#variables[@]}" -gt 0 ] || return 0
    for template in wp-config-docker.php "$source_folder/wp-config-docker.php"; do
        [ -s "$template" ] || continue
        say "No 'wp-config.php' found in $PWD, but 'WORDPRESS_...' variables or a link to a database; copying '$template' (${variables[*]})"
        local half
        half=$(mktemp --tmpdir=. .wp-config.XXXXXXXX)
        # Every key and salt gets a value of its own.
        awk '
            function unique(    command, line) {
                command = "head -c 48 /dev/urandom | base64 -w 0"
                command | getline line
                close(command)
                return line
            }
            {
                while (at = index($0, "put your unique phrase here"))
                    $0 = substr($0, 1, at - 1) unique() substr($0, at + 27)
                print
            }
        ' "$template" >"$half"
        chmod 0644 "$half"
        if [ "$(id -u)" = 0 ]; then
            chown "$1" "$half" || true # some network file systems refuse; the file is readable all the same
        fi
        mv "$half" wp-config.php
        return
    done
}

if [[ ${1:-} == apache2* ]]; then
    # The first process of a container ignores signals that it has no handler for: a stop would wait for its time limit.
    trap 'exit 143' TERM INT WINCH
    owner=$(owner_of_site)
    if [ -e "$unfinished" ] || { [ ! -e index.php ] && [ ! -e wp-includes/version.php ]; }; then
        copy_wordpress "$owner"
    fi
    [ -s wp-config.php ] || write_configuration "$owner"
fi

exec "$@"
