#!/bin/sh
# Finishes the root file system $1 after its packages are installed. Runs outside of it; `unpack` comes from the builder.
set -eu
root=$1

rm "$root/usr/local/bin/ucf" "$root/usr/local/bin/ucfr"

# WordPress itself. Debian's package is a web of links into other packages, /etc and /var: follow them all.
unpack wordpress "$root"
unpack wordpress-theme-twentytwentythree "$root"
# shellcheck disable=SC2016
chroot "$root" sh -eu -c '
    mkdir -p /usr/src/wordpress
    cd /usr/share/wordpress
    # Debian'\''s wp-config.php looks for one file a host name under /etc/wordpress; .htaccess lies there, too.
    find . -mindepth 1 -maxdepth 1 ! -name wp-config.php ! -name .htaccess ! -name wp-content \
        -exec cp -aL --target-directory=/usr/src/wordpress {} +
    cp -aL /var/lib/wordpress/wp-content /usr/src/wordpress/
    rm -rf /usr/src/wordpress/wp-content/uploads /usr/src/wordpress/wp-content/languages
    mkdir -p /usr/src/wordpress/wp-content/uploads
    ln -sf /etc/ssl/certs/ca-certificates.crt /usr/src/wordpress/wp-includes/certificates/ca-bundle.crt
    chown -R www-data:www-data /usr/src/wordpress
    rm -rf /usr/share/wordpress /var/lib/wordpress /etc/wordpress /usr/share/doc/wordpress
'
cp "$root/usr/src/wp-config-docker.php" "$root/usr/src/wordpress/wp-config-docker.php"
cp "$root/usr/src/htaccess" "$root/usr/src/wordpress/.htaccess"
rm "$root/usr/src/wp-config-docker.php" "$root/usr/src/htaccess"
chown 33:33 "$root/usr/src/wordpress/wp-config-docker.php" "$root/usr/src/wordpress/.htaccess"

# Apache: serve /var/www/html, read .htaccess, log to the container's output.
chroot "$root" a2enmod --quiet rewrite expires remoteip headers
chroot "$root" a2enconf --quiet wordpress
chroot "$root" a2disconf --quiet other-vhosts-access-log
rm -rf "$root"/var/www/html
install -d -m 1777 -o 33 -g 33 "$root/var/www/html"
install -d -m 1777 -o 33 -g 33 "$root/run/apache2" "$root/run/lock/apache2" "$root/var/log/apache2"
rm -f "$root/var/log/apache2/other_vhosts_access.log"
ln -sf /dev/stdout "$root/var/log/apache2/access.log"
ln -sf /dev/stderr "$root/var/log/apache2/error.log"

# Only a2enmod and its kin need perl, and it is a third of the layer.
perl=$(chroot "$root" dpkg-query -W -f '${Package}\n' | grep -E '^(perl|perl-modules-.*|libperl5\..*)$')
# shellcheck disable=SC2086
chroot "$root" dpkg --purge --force-depends $perl >/dev/null
