#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fuzz.sh [SECONDS]: runs every fuzzer (build/fuzz.bzl) for so long, one after the other, from the
# kept corpus. New inputs stay in out/fuzz/NAME; one that breaks something stays there too and is
# named. A new kind of input worth keeping is copied into the fuzzer's corpus folder by hand.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-60}
targets=$(bazel query --noshow_progress --ui_event_filters=-info \
    'attr(tags, fuzz, kind("cc_binary rule", //tests/fuzz/...))')
# shellcheck disable=SC2086
bazel build --config=fuzz --noshow_loading_progress --show_result=0 --ui_event_filters=-info $targets
bin=$(bazel info --config=fuzz --ui_event_filters=-info bazel-bin 2> /dev/null)
failed=
for target in $targets; do
    name=${target#*:}
    folder=${target#//}
    folder=${folder%%:*}
    mkdir -p "out/fuzz/$name"
    echo "== fuzz: $name for $seconds s"
    "$bin/$folder/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -verbosity=0 -artifact_prefix="out/fuzz/$name/" "out/fuzz/$name" "$folder/corpus/$name" ||
        failed="$failed $name"
done
[ -z "$failed" ] || {
    echo "fuzz: failed:$failed (inputs in out/fuzz/)" >&2
    exit 1
}
