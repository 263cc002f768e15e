#!/bin/sh
# SPDX-License-Identifier: MIT
#
# lint.sh: everything that can be said about the sources without running them. Goes on after a
# failed check, so that one run names all there is; exit status 1 when any failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
[ -t 1 ] || quiet="--noshow_progress --color=no"
failed=

# check NAME COMMAND...
check() {
    name=$1
    shift
    begin=$(date +%s)
    echo "== lint: $name"
    if ! "$@"; then
        failed="$failed, $name"
        echo "== lint: $name FAILED"
    fi
    echo "== lint: $name took $(($(date +%s) - begin)) s"
}

bazel_build() {
    # shellcheck disable=SC2086
    bazel build ${quiet:-} --keep_going --noshow_loading_progress --show_result=0 \
        --ui_event_filters=-info "$@"
}

objects() {
    python3 tests/tidy/objects.py "$(bazel info --ui_event_filters=-info bazel-bin 2> /dev/null)"
}

# Each C target, those tagged manual too: fuzzers and what only plain_binary builds.
tidy() {
    targets=$(bazel query --ui_event_filters=-info --noshow_progress \
        'kind("cc_(library|binary|test) rule", //... except //third_party/...)') || return 1
    # shellcheck disable=SC2086
    [ -z "$targets" ] || bazel_build --config=tidy $targets
}

check tree python3 tests/tidy/tree.py
check format build/bin/format.sh --check
check gcc bazel_build //...
check objects objects
check "clang and layering" bazel_build --config=clang //...
check tidy tidy

if [ -n "$failed" ]; then
    echo "lint: failed: ${failed#, }"
    exit 1
fi
echo "lint: all well"
