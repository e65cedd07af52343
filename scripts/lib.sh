# shellcheck shell=bash
# What the scripts of this folder share: where things are, how to say something, how to become root, which Python.
#
# Serves: setup.sh, run.sh, stop.sh, test.sh, lint.sh, install.sh; sourced, never run. The Makefile calls those.
# Read next: setup.sh, which gets a machine ready.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$top/.venv
tools=$top/.cache/tools            # programs that only the tests need, unpacked from Debian packages, never installed
# Read by run.sh and stop.sh.
# shellcheck disable=SC2034
{
    socket=${MINIDOCK_SOCKET:-/run/minidock.sock}
    pidfile=/run/minidockd.pid
    logfile=/var/log/minidockd.log
}

# Where each shell looks for the completion of a command, below the prefix. Read by install.sh and uninstall.sh.
# shellcheck disable=SC2034
declare -A completions=(
    [bash]=share/bash-completion/completions/minidock
    [zsh]=share/zsh/site-functions/_minidock
    [fish]=share/fish/vendor_completions.d/minidock.fish
)

say() { printf 'minidock: %s\n' "$*"; }
warn() { printf 'minidock: %s\n' "$*" >&2; }
die() { warn "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "need root for: $* (run as root, or install sudo)"
    fi
}

# Debian's sbin folders hold nft and ip, and a user's PATH often lacks them.
case ":$PATH:" in *:/usr/sbin:*) ;; *) PATH=$PATH:/usr/sbin:/sbin ;; esac

# apt_install PACKAGE...: one refresh of the lists a run, no questions, no recommended extras. Debian's policy for
# services is left alone: nothing in our lists brings a service (tools that would are unpacked by fetch_tool instead).
apt_install() {
    have apt-get || die "missing packages: $*; no apt-get here, install their like by hand and run this again"
    say "installing from the system's packages: $*"
    apt_refresh
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null ||
        die "apt-get install failed for: $*"
}

apt_refreshed=
apt_refresh() {
    [ -z "$apt_refreshed" ] || return 0
    as_root apt-get update -q >/dev/null || warn "apt-get update failed; going on with the lists that are here"
    apt_refreshed=yes
}

apt_options=()

# with_suite SUITE COMMAND...: runs a command that sees the packages of another suite of Debian, from wherever this
# machine has its own, and no others. The machine's lists stay as they are. Fails where none of them is Debian's.
with_suite() {
    local suite=$1 keys=/usr/share/keyrings/debian-archive-keyring.gpg own source status=0
    shift
    # shellcheck disable=SC2016  # apt's own variable
    source=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep '/debian/$' | head -n 1)
    [ -n "$source" ] && [ -e "$keys" ] || return 1
    own=$(mktemp -d)
    mkdir -p "$own/lists/partial"
    chmod 755 "$own"  # apt reads what it has fetched as a user of its own
    echo "deb [signed-by=$keys] $source $suite main" >"$own/sources.list"
    apt_options=(-o "Dir::Etc::SourceList=$own/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$own/lists" -o Dir::State::Status=/dev/null  # what is installed is no candidate
        -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache=
        -o Acquire::Languages=none)
    as_root apt-get "${apt_options[@]}" update -q >/dev/null 2>&1 && "$@" || status=1
    as_root rm -rf "$own"
    apt_options=()
    return "$status"
}

# fetch_tool PROGRAM[:NAME] PACKAGE...: the first of the packages that has the program is downloaded and unpacked below
# .cache/tools, under NAME. Unpacking instead of installing keeps a docker or registry service from being started.
fetch_tool() {
    local program=${1%%:*} name=${1##*:} package work found
    shift
    mkdir -p "$tools/bin"
    apt_refresh
    for package in "$@"; do
        work=$(mktemp -d)
        if (cd "$work" && apt-get "${apt_options[@]}" download -q "$package" >/dev/null 2>&1 && dpkg-deb -x ./*.deb root); then
            found=$(find "$work/root" \( -path "*bin/$program" -o -path "*cli-plugins/$program" \) -type f | head -n 1)
            if [ -n "$found" ]; then
                install -p -m 755 "$found" "$tools/bin/$name"
                say "unpacked $name from the package $package into .cache/tools"
                rm -rf "$work"
                return 0
            fi
        fi
        rm -rf "$work"
    done
    warn "$program is in none of the packages: $*; the tests that need it will be skipped"
    return 1
}

# The newest Python from 3.11 on that starts (a version manager's stub may be on PATH and yet not start). The system's
# before others: it is built with profiles and across files, which takes a fifth off each start of the client, and a
# version manager's often is not.
find_python() {
    local name names=(python3.14 python3.13 python3.12 python3.11 python3)
    for name in ${MINIDOCK_PYTHON:-"${names[@]/#//usr/bin/}" "${names[@]}"}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

# Whether a daemon answers on the socket. As root, since the socket is not open to everyone.
daemon_answers() { as_root "$venv/bin/minidock" -H "unix://$socket" version >/dev/null 2>&1; }

# quick_start VENV: puts our entry script in the place of pip's for the client, whose user waits for every import: without
# `site` (the interpreter's search for packages; they are known here) and without a garbage collection on the way in.
# A path that no #! line can hold keeps pip's.
quick_start() {
    local script=$1/bin/minidock made
    case $1 in *[[:space:]]*) return 0 ;; esac
    [ ${#1} -lt 100 ] || return 0
    made=$(mktemp)
    "$1/bin/python" - >"$made" <<'SCRIPT'
import os, sys, click, minidock
homes = [os.path.dirname(os.path.dirname(module.__file__)) for module in (minidock, click)]
print(f"""#!{sys.prefix}/bin/python -S
import gc
import sys

gc.disable()  # main() switches it on
sys.path[:1] = []
sys.path += {list(dict.fromkeys(homes))}
from minidock.cli.main import main

main()""")
SCRIPT
    as_root install -m 755 "$made" "$script"
    rm -f "$made"
}

# What daemons of ours made in the kernel's network: bridges by the mark that is their alias, rules by their name. Where
# containers still run, their networks stay.
remove_network() {
    local family name bridge
    have nft && have ip || return 0
    if ip -o link show type veth | grep -q ': md[0-9a-f]\{11\}@'; then
        say "containers still run: their networks and rules stay until a restart of this machine"
        return 0
    fi
    as_root nft list tables | while read -r _ family name; do
        case $name in minidock-*) as_root nft delete table "$family" "$name" ;; esac
    done
    ip -o link show type bridge | sed -n 's/^[0-9]*: \([^:]*\): .*alias minidock .*/\1/p' | while read -r bridge; do
        as_root ip link delete "$bridge"
    done
}

# The AppArmor profile, unless somebody is under it: who loses his profile runs on without.
remove_profile() {
    local policy=/sys/kernel/security/apparmor
    as_root grep -qs '^minidock-default ' "$policy/profiles" || return 0
    ! as_root grep -qs '^minidock-default ' /proc/[0-9]*/attr/current || return 0
    printf minidock-default | as_root tee "$policy/.remove" >/dev/null
}
