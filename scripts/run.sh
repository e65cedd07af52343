#!/usr/bin/env bash
# The first run: a daemon in the background if none answers, the images loaded, then a shell in a real Alpine.
#
# Usage: scripts/run.sh     (after setup.sh; `make run` does both)
# On a terminal it ends in `minidock run --rm -it alpine sh`; without one, in tour.sh, which shows what a container
# sees and exits 0. The daemon stays: `make stop` ends it. MINIDOCKD_FLAGS goes to the daemon (e.g. --bip 10.9.0.1/16),
# MINIDOCK_SOCKET names another socket. Read next: tour.sh, stop.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_daemon() {
    say "starting minidockd (log $logfile, pid file $pidfile)"
    # setsid: the terminal's Ctrl-C and hang-up are the shell's, not the daemon's. The inner shell opens the log as root.
    # shellcheck disable=SC2016,SC2086
    as_root setsid --fork sh -c 'log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null' sh "$logfile" \
        "$venv/bin/minidockd" --host "unix://$socket" --pidfile "$pidfile" ${MINIDOCKD_FLAGS:-}
    local tries=0
    until daemon_answers; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ]; then
            as_root tail -n 15 "$logfile" >&2 || true
            die "minidockd did not answer on $socket in time; the end of its log stands above"
        fi
        sleep 0.1
    done
}

minidock() { as_root "$venv/bin/minidock" -H "unix://$socket" "$@"; }

load_images() {
    minidock inspect --type image alpine:latest >/dev/null 2>&1 || minidock load -q -i "$top/rootfs/build/alpine-3.23.tar"
    minidock inspect --type image busybox:latest >/dev/null 2>&1 || minidock load -q -i "$top/rootfs/build/busybox.tar"
}

daemon_answers || start_daemon
load_images
if [ -t 0 ] && [ -t 1 ]; then
    say "minidock run --rm -it alpine sh      (leave with exit; minidock is $venv/bin/minidock)"
    status=0
    minidock run --rm -it alpine sh || status=$?
    say "the daemon goes on; make stop ends it"
    # What the shell ended with is the user's affair; 125 to 127 mean that there was no shell.
    case $status in 125 | 126 | 127) exit "$status" ;; *) exit 0 ;; esac
fi
. "$(dirname "${BASH_SOURCE[0]}")/tour.sh"
tour
