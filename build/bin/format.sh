#!/bin/sh
# SPDX-License-Identifier: MIT
#
# format.sh [--check]: brings every C file that git knows into the shape of .clang-format, or
# (--check) names those that are not in it.
set -eu
cd "$(dirname "$0")/../.."

files() {
    git ls-files -z --cached --others --exclude-standard -- '*.c' '*.h'
}

case "${1:-}" in
--check)
    wrong=$(files | xargs -0 -r clang-format --dry-run --ferror-limit=1 -Werror 2>&1 |
        sed -n 's/: error: .*//p')
    [ -z "$wrong" ] || {
        echo "$wrong"
        echo "format: \`make format\` puts these in order"
        exit 1
    }
    ;;
'') files | xargs -0 -r clang-format -i ;;
*)
    echo "usage: format.sh [--check]" >&2
    exit 2
    ;;
esac
