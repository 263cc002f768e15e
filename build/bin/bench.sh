#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench.sh [ARG...]: builds the benchmarks without sanitizers and prints their table.
set -eu
cd "$(dirname "$0")/../.."
exec bazel run --noshow_progress --noshow_loading_progress --show_result=0 \
    --ui_event_filters=-info //tests/bench -- "$@"
