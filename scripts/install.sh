#!/usr/bin/env bash
# Installs minidock for the whole system: a venv of its own in /usr/local/lib/minidock, the two commands in
# /usr/local/bin, the systemd units, the group whose members may use the socket. Starts nothing.
#
# Usage: scripts/install.sh     (make install; PREFIX=/usr/local by default). Run again it updates.
# Read next: ../packaging/systemd/minidock.service, uninstall.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

prefix=${PREFIX:-/usr/local}
home=$prefix/lib/minidock
units=/etc/systemd/system

cd "$top"
python=$(find_python) || die "no Python 3.11 or newer found"
# The interpreter itself, not a version manager's stub: the daemon starts without a login.
python=$("$python" -c 'import sys; print(sys.executable)')
say "installing into $home with $python"
as_root "$python" -m venv --clear "$home"
as_root "$home/bin/python" -m pip install -q --disable-pip-version-check --use-pep517 .
quick_start "$home"
as_root mkdir -p "$prefix/bin" "$prefix/share/doc/minidock"
as_root ln -sf "$home/bin/minidock" "$home/bin/minidockd" "$prefix/bin/"
as_root install -m 644 README.md CHANGELOG.md LICENSE "$prefix/share/doc/minidock/"
as_root cp -R docs "$prefix/share/doc/minidock/"

say "shell completion for bash, zsh and fish"
for shell in "${!completions[@]}"; do
    as_root mkdir -p "$(dirname "$prefix/${completions[$shell]}")"
    "$home/bin/minidock" completion "$shell" | as_root tee "$prefix/${completions[$shell]}" >/dev/null
done

getent group minidock >/dev/null || as_root groupadd --system minidock
if [ -d "$units" ]; then
    for unit in minidock.service minidock.socket; do
        sed "s|/usr/local|$prefix|g" "packaging/systemd/$unit" | as_root tee "$units/$unit" >/dev/null
    done
    [ ! -d /run/systemd/system ] || as_root systemctl daemon-reload
fi
say "installed; to start it: sudo systemctl enable --now minidock.socket minidock.service"
say "to use it without sudo (as good as root on this machine): sudo usermod -aG minidock \$USER, then log in again"
