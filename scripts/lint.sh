#!/usr/bin/env bash
# Everything that reads the sources without running them: ruff, mypy, clang-format; shellcheck and actionlint if there.
#
# Usage: scripts/lint.sh     (make lint). All of them are run before it fails. Nothing is changed;
# `.venv/bin/ruff format .` and `.venv/bin/clang-format -i FILE` put a file into shape. Read next: ../pyproject.toml.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$top" || exit 1
failed=
check() {
    local name=$1
    shift
    "$@" || failed="$failed $name"
}

sources() { git ls-files --cached --others --exclude-standard -- "$@"; }

check ruff "$venv/bin/ruff" check .
check ruff-format "$venv/bin/ruff" format --check .
check mypy "$venv/bin/mypy"
mapfile -t c_files < <(sources 'csrc/*.c' 'csrc/*.h' 'tests/*.c')
[ ${#c_files[@]} = 0 ] || check clang-format "$venv/bin/clang-format" --dry-run -Werror "${c_files[@]}"
mapfile -t shell_files < <(sources '*.sh' .ci/run)
if have shellcheck; then check shellcheck shellcheck -x -P SCRIPTDIR "${shell_files[@]}"; else warn "no shellcheck here: not run"; fi
if have actionlint; then check actionlint actionlint; else warn "no actionlint here: not run"; fi
[ -z "$failed" ] || die "lint failed:$failed"
say "lint: nothing to say"
