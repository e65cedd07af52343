#!/usr/bin/env bash
# All tiers of the tests that this machine can run: unit and api anywhere, root where we are or can become root, cgroup
# where a full cgroup v2 is, else inside the virtual machine that MINIDOCK_VM starts.
#
# Usage: scripts/test.sh [pytest arguments]
#   MINIDOCK_TEST_STRICT=1  a skipped test is a failure (tests/support/impossible.py has the exceptions)
#   MINIDOCK_TEST_SLOW=1    the counts of `make test-slow` instead of the small ones
#   MINIDOCK_VM=RUNNER      `RUNNER COMMAND …` runs a command as root under a kernel with all cgroup v2 controllers
# Read next: ../tests/conftest.py, ../CONTRIBUTING.md.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export PATH="$PATH:$tools/bin" PYTHONDONTWRITEBYTECODE=1
failed=

# pytest_run LABEL COMMAND...: one pytest run; exit status 5 (no test chosen) is no failure of a tier.
pytest_run() {
    local label=$1 status=0
    shift
    printf '\n== %s ==\n' "$label"
    "$@" </dev/null || status=$?
    [ "$status" = 0 ] || [ "$status" = 5 ] || failed="$failed $label"
}

# A command as root with our settings, which sudo would take out of the environment.
as_root_with_settings() {
    as_root env PATH="$PATH" PYTHONDONTWRITEBYTECODE=1 MINIDOCK_TEST_STRICT="${MINIDOCK_TEST_STRICT:-}" \
        MINIDOCK_TEST_SLOW="${MINIDOCK_TEST_SLOW:-}" "$@"
}

# In a network namespace: no bridge, rule or listening port of a test is ever the machine's.
root_pytest() {
    # shellcheck disable=SC2016
    as_root_with_settings unshare -n -- sh -c 'ip link set lo up && exec "$@"' sh \
        "$venv/bin/python" -m pytest -p no:cacheprovider "$@"
}

full_cgroup2() {
    local mount controller
    mount=$(awk '$(NF-2) == "cgroup2" { print $5; exit }' /proc/self/mountinfo)
    [ -n "$mount" ] || return 1
    for controller in cpu io memory pids; do
        grep -qw "$controller" "$mount/cgroup.controllers" || return 1
    done
}

# The runner shows the guest this machine's files and keeps its changes in memory, but /tmp is the guest's own: naming
# the tree (VMRUN_RW) makes it visible there wherever it lies.
vm_pytest() {
    local status=0
    as_root_with_settings VMRUN_RW="$top" timeout -k 5 1200 "$MINIDOCK_VM" \
        "$venv/bin/python" -m pytest -p no:cacheprovider "$@" || status=$?
    [ "$status" != 125 ] || warn "$MINIDOCK_VM did not boot"
    return "$status"
}

cgroup_tier() {
    if full_cgroup2; then
        pytest_run "cgroup" root_pytest tests/cgroup "$@"
    elif [ -n "${MINIDOCK_VM:-}" ]; then
        pytest_run "cgroup (in the machine of MINIDOCK_VM)" vm_pytest tests/cgroup "$@"
    else
        warn "cgroup tier skipped: no cgroup v2 with cpu, io, memory and pids here, and MINIDOCK_VM names no runner"
        [ -z "${MINIDOCK_TEST_STRICT:-}" ] || failed="$failed cgroup"
    fi
}

cd "$top"
if [ "$(id -u)" = 0 ]; then
    pytest_run "unit, api, root" root_pytest tests/unit tests/api tests/root "$@"
    cgroup_tier "$@"
else
    pytest_run "unit, api" "$venv/bin/python" -m pytest tests/unit tests/api "$@"
    if have sudo; then
        pytest_run "root" root_pytest tests/root "$@"
        cgroup_tier "$@"
    else
        warn "root and cgroup tiers skipped: not root, and no sudo"
        [ -z "${MINIDOCK_TEST_STRICT:-}" ] || failed="$failed root cgroup"
    fi
fi
[ -z "$failed" ] || die "failed:$failed"
