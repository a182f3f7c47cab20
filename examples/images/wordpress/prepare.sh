#!/bin/sh
# Runs before the packages in the root file system $1 are configured.
set -eu

# PHP's packages register 30 configuration files, each with two starts of perl, so that a later upgrade could ask about
# changes. Nothing is upgraded in an image: copying them saves a third of the installation. customize.sh removes these.
printf '#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\n[ -e "$2" ] || cp "$1" "$2"\n' >"$1/usr/local/bin/ucf"
printf '#!/bin/sh\n' >"$1/usr/local/bin/ucfr"
chmod 0755 "$1/usr/local/bin/ucf" "$1/usr/local/bin/ucfr"
