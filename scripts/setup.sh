#!/usr/bin/env bash
# Gets a machine ready: system packages that are missing, .venv, the C build, the images that need no registry.
#
# Usage: scripts/setup.sh [--test]     (--test: also what only the tests need)
# Serves: make setup, and through it run, test, bench and install. Every step looks first and does nothing where
# nothing is missing, so that a second run takes a second. Works as root and as a user with sudo, on Debian 12 and 13
# and on Ubuntu 22.04 and 24.04. Read next: lib.sh.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# ---- system packages: asked for only where the program or header itself is missing --------------------------------

missing=()
want_program() { have "$1" || missing+=("$2"); }
want_header() { printf '#include <%s>\n' "$1" | gcc -E -x c - >/dev/null 2>&1 || missing+=("$2"); }

base_packages() {
    want_program git git
    want_program make make
    want_program nft nftables
    want_program ip iproute2
    want_program unshare util-linux
    want_program ps procps
    want_program xz xz-utils
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    if have gcc; then
        want_header stdio.h libc6-dev
        want_header linux/openat2.h linux-libc-dev
        want_header sys/capability.h libcap-dev
        want_header seccomp.h libseccomp-dev
    else
        missing+=(gcc libc6-dev linux-libc-dev libcap-dev libseccomp-dev)
    fi
}

python_packages() {
    local python version
    if ! python=$(find_python); then
        # Ubuntu 22.04's python3 is 3.10; its universe has 3.11 beside it.
        if apt-cache show python3.11 >/dev/null 2>&1; then version=python3.11; else version=python3; fi
        missing+=("$version" "$version-venv" "$version-dev")
        return
    fi
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$version-venv")
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        missing+=("$version-dev")
}

test_packages() {
    want_program skopeo skopeo
    want_program strace strace
    want_program docker-compose docker-compose
    want_program iptables-nft iptables
    want_program zsh zsh
    want_program fish fish
    want_program openssl openssl
    want_program ssh openssh-client
    # of the sshd that test_tools unpacks
    have sshd || ldconfig -p | grep -q 'libwrap\.so\.0' || missing+=(libwrap0)
}

install_missing() {
    missing=()
    base_packages
    have apt-cache && { find_python >/dev/null || apt_refresh; }
    python_packages
    [ -z "$with_tests" ] || test_packages
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# ---- .venv and the C build ------------------------------------------------------------------------------------------

# Newer than the stamp: the package must be installed again, which also compiles csrc/.
build_inputs() { find pyproject.toml setup.py csrc -path csrc/build -prune -o -type f -newer "$1" -print 2>/dev/null; }

python_environment() {
    local python extras=rootfs stamp=$venv/.minidock-built
    if [ -n "$with_tests" ]; then extras=rootfs,test stamp=$stamp-for-tests; fi
    if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        python=$(find_python) || die "no Python 3.11 or newer found (tried python3.14 … python3.11, python3)"
        say "making .venv with $python"
        rm -rf "$venv"
        "$python" -m venv "$venv"
    fi
    if [ ! -e "$stamp" ] || [ -n "$(build_inputs "$stamp")" ] || ! built; then
        say "installing the package with [$extras] into .venv, compiling csrc/"
        touch "$venv/.minidock-building"
        # compat: a plain path entry; the import hook of the other editable mode would slow each start of the client.
        "$venv/bin/python" -m pip install -q --disable-pip-version-check --use-pep517 \
            --config-settings editable_mode=compat -e ".[$extras]"
        built || die "the build left no minidock/_shim*.so or no minidock/linux/minidock-monitor"
        mv "$venv/.minidock-building" "$stamp"
        [ -z "$with_tests" ] || cp -p "$stamp" "$venv/.minidock-built"
    fi
}

# The client's start is mostly imports, and root's daemon and tests write no bytecode into a user's tree.
bytecode() { "$venv/bin/python" -m compileall -q minidock; }

entry_script() { grep -qs 'gc.disable' "$venv/bin/minidock" || quick_start "$venv"; }

built() { compgen -G 'minidock/_shim*.so' >/dev/null && [ -x minidock/linux/minidock-monitor ]; }

# ---- images ---------------------------------------------------------------------------------------------------------

# A static busybox is the source of the busybox image. Where there is none it is unpacked, not installed: Debian's
# busybox-static would push out a dynamic busybox that is installed and that the boot files may need. Sets $busybox.
static_busybox() {
    for busybox in /bin/busybox /usr/bin/busybox "$tools/bin/busybox"; do
        [ ! -x "$busybox" ] || ldd "$busybox" >/dev/null 2>&1 || return 0
    done
    fetch_tool busybox busybox-static || die "no static busybox here, and none to be had"
}

images() {
    [ -e rootfs/build/alpine-3.23.tar ] || "$venv/bin/python" -m rootfs.alpine
    [ -e rootfs/build/busybox.tar ] || "$venv/bin/python" -m rootfs.busybox --busybox "$busybox"
}

# The docker CLI of Debian 12, which speaks an older API, beside whichever `docker` comes first on PATH.
debian_docker_cli() {
    [ ! -x "$tools/bin/docker-20.10" ] || return 0
    ! /usr/bin/docker --version 2>/dev/null | grep -q 'version 20\.10\.' || return 0
    apt_refresh
    if apt-cache policy docker.io | grep -q 'Candidate: 20\.10\.'; then
        fetch_tool docker:docker-20.10 docker.io || true
    else
        with_suite bookworm fetch_tool docker:docker-20.10 docker.io ||
            warn "no docker CLI 20.10 to be had; the tests with it will be skipped"
    fi
}

# Compose in Go, beside Debian 12's in Python: from the next Debian, whose version the recorded sessions are of.
second_compose() {
    [ ! -x "$tools/bin/docker-compose-2.26" ] || return 0
    ! docker-compose --version 2>/dev/null | grep -q 'version v\?2\.26\.' || return 0
    apt_refresh
    with_suite trixie fetch_tool docker-compose:docker-compose-2.26 docker-compose ||
        warn "no docker-compose 2.26 to be had; the tests with it will be skipped"
}

test_tools() {
    have docker || [ -x "$tools/bin/docker" ] || fetch_tool docker docker-cli docker.io || true
    debian_docker_cli
    second_compose
    have docker-registry || [ -x "$tools/bin/docker-registry" ] || fetch_tool docker-registry docker-registry || true
    have sshd || [ -x "$tools/bin/sshd" ] || fetch_tool sshd openssh-server || true
}

cd "$top"
with_tests=
[ "${1:-}" != --test ] || with_tests=yes
install_missing
python_environment
bytecode
entry_script
static_busybox
images
[ -z "$with_tests" ] || test_tools
