#!/bin/sh
# SPDX-License-Identifier: MIT
#
# dist.sh: builds //:dist and puts real copies of its files into out/. Each file is replaced in one
# step, so a program that is running, or a VM that is booting, keeps what it opened.
set -eu
cd "$(dirname "$0")/../.."
[ -t 1 ] || quiet="--noshow_progress --color=no"
# shellcheck disable=SC2086
bazel build ${quiet:-} --noshow_loading_progress --show_result=0 --ui_event_filters=-info //:dist
from=$(bazel info --ui_event_filters=-info bazel-bin 2> /dev/null)/dist
rm -rf out/.tmp
mkdir -p out/.tmp
# Only what the target has now: Bazel leaves files of earlier ones in place.
bazel cquery --noshow_progress --ui_event_filters=-info --output=starlark \
    --starlark:expr='"\n".join([f.short_path for f in target.files.to_list()])' //:dist |
    while read -r file; do
        path=${file#dist/}
        mkdir -p "out/.tmp/$(dirname "$path")" "out/$(dirname "$path")"
        cp -L "$from/$path" "out/.tmp/$path"
        chmod u+w "out/.tmp/$path"
        mv -f "out/.tmp/$path" "out/$path"
        echo "out/$path"
    done
rm -rf out/.tmp
