#!/bin/sh
# Finishes the root file system $1 after its packages are installed. Runs outside of it; `unpack` comes from the builder.
set -eu
root=$1

# Administration programs of the full package, without its dependencies.
unpack mariadb-client "$root" ./usr/bin/mariadb-admin ./usr/bin/mariadb-dump ./usr/bin/mariadb-tzinfo-to-sql
ln -sf mariadb-admin "$root/usr/bin/mysqladmin"
ln -sf mariadb-dump "$root/usr/bin/mysqldump"
ln -sf mariadb-tzinfo-to-sql "$root/usr/bin/mysql_tzinfo_to_sql"

# useradd and groupadd are not among the essential packages.
echo 'mysql:x:999:' >>"$root/etc/group"
echo 'mysql:x:999:999:MariaDB:/var/lib/mysql:/usr/sbin/nologin' >>"$root/etc/passwd"

# 1777: the image also runs as any other user (--user).
install -d -m 1777 -o 999 -g 999 "$root/run/mysqld" "$root/var/lib/mysql"
install -d "$root/docker-entrypoint-initdb.d" "$root/etc/mysql/conf.d" "$root/etc/mysql/mariadb.conf.d"
rm -f "$root"/etc/mysql/mariadb.conf.d/*.cnf "$root/usr/bin/innochecksum"
