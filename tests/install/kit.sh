# SPDX-License-Identifier: MIT
#
# What the tests of this folder share: a folder of their own in $work, and words for what is wrong.
# shellcheck shell=sh
set -eu
work=$(mktemp -d /tmp/uvm-installXXXXXX)
trap 'rm -rf "$work"' EXIT
version=$(build/bin/version.sh uvm/uvm.h)
export work version

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# refuses PATTERN COMMAND...: the command must fail with a line that has the pattern in it.
refuses() {
    pattern=$1
    shift
    if "$@" > "$work/said" 2>&1; then
        fail "not refused: $*"
    fi
    grep -q -e "$pattern" "$work/said" || fail "refused without '$pattern': $(cat "$work/said")"
}

# has FILE PATTERN
has() {
    grep -q -e "$2" "$1" || fail "no '$2' in $1: $(cat "$1")"
}
