#!/bin/sh
# SPDX-License-Identifier: MIT
#
# soak.sh [TARGET...]: runs the tests tagged soak (all there are), anew each time, and shows what they say.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- //...
exec bazel test --config=asan --noshow_progress --ui_event_filters=-info --test_tag_filters=soak \
    --build_tests_only --nocache_test_results --local_test_jobs=1 --test_output=all -- "$@"
