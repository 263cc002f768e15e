#!/bin/sh
# SPDX-License-Identifier: MIT
#
# marks_test.sh MARK_H SUITE...: the suites together must pass each mark of async/mark.h; those that none
# of them passes are listed, and fail the test. The one called "nowhere" must be among them: else it is
# this test that sees nothing.
set -u
header=$1
shift
hits=$TEST_TMPDIR/hits
log=$TEST_TMPDIR/log
failed=0
unhit=

for suite in "$@"; do
    hit=$hits.${suite##*/}
    if ! UVM_MARKS=$hit timeout 200 "$suite" > "$log" 2>&1; then
        failed=1
        echo "${suite##*/} FAILS"
        tail -n 20 "$log"
    fi
done

# Mark, times, programs that passed it.
for mark in $(sed -n 's/^    X(\([a-z_]*\), ".*/\1/p' "$header"); do
    by=$(grep -l "^$mark " "$hits".*)
    if [ -z "$by" ]; then
        unhit="$unhit $mark"
        continue
    fi
    times=$(grep -h "^$mark " "$hits".* | awk '{ n += $2 } END { print n }')
    printf '%-24s %9s %s\n' "$mark" "$times" \
        "$(for path in $by; do printf '%s ' "${path##*hits.}"; done)"
done

case " $unhit " in
*' nowhere '*) ;;
*)
    failed=1
    echo 'nowhere, which no code passes, counts as passed'
    ;;
esac
for mark in $unhit; do
    if [ "$mark" != nowhere ]; then
        failed=1
        echo "NEVER PASSED: $(grep "^    X($mark, " "$header" | tr -d '\\')"
    fi
done
exit $failed
