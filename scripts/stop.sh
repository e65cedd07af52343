#!/usr/bin/env bash
# Ends the daemon that run.sh started, by its pid file. Its containers stay, as they do for every daemon's stop.
#
# Usage: scripts/stop.sh     (make stop). A daemon that systemd runs is systemd's: `systemctl stop minidock`.
# Read next: run.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The pid counts only while it is a minidockd: after a crash the number may be somebody else's.
is_daemon() { grep -qs minidockd "/proc/$1/cmdline"; }

pid=$(as_root cat "$pidfile" 2>/dev/null || true)
if [ -z "$pid" ] || ! is_daemon "$pid"; then
    say "no daemon of ours runs (pid file $pidfile)"
    exit 0
fi
as_root kill -TERM "$pid"
for _ in $(seq 150); do
    is_daemon "$pid" || { say "minidockd (pid $pid) has stopped"; exit 0; }
    sleep 0.1
done
die "minidockd (pid $pid) did not stop within 15 s; its log is $logfile"
