#!/usr/bin/env bash
# Takes back what install.sh did. What users made (/var/lib/minidock: images, containers, volumes) stays.
#
# Usage: scripts/uninstall.sh     (make uninstall; PREFIX as at the installation). Read next: install.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prefix=${PREFIX:-/usr/local}
units=/etc/systemd/system

if [ -d /run/systemd/system ] && [ -e "$units/minidock.service" ]; then
    as_root systemctl disable --now minidock.service minidock.socket
fi
as_root rm -f "$units/minidock.service" "$units/minidock.socket"
[ ! -d /run/systemd/system ] || as_root systemctl daemon-reload
remove_network
remove_profile
for command in minidock minidockd; do
    # Only our own link: a command of that name from elsewhere is not ours to remove.
    [ "$(readlink "$prefix/bin/$command" || true)" != "$prefix/lib/minidock/bin/$command" ] ||
        as_root rm -f "$prefix/bin/$command"
done
for file in "${completions[@]}"; do as_root rm -f "$prefix/$file"; done
as_root rm -rf "$prefix/lib/minidock" "$prefix/share/doc/minidock"
say "uninstalled; images, containers and volumes are still in /var/lib/minidock, the group minidock still exists"
