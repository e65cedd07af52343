#!/usr/bin/env bash
# Measures minidock against the engines that are installed, as root (bench/ makes namespaces and removes them).
#
# Usage: scripts/bench.sh [--rounds N] [--long-rounds N] [--only GROUPS]     (make bench). Read next: ../bench/__main__.py.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$top"
"$venv/bin/python" -m compileall -q minidock  # as an installed package is; a client that compiles itself is none
as_root env PATH="$PATH:$tools/bin" PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" -m bench "$@"
