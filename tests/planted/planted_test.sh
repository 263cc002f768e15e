#!/bin/sh
# SPDX-License-Identifier: MIT
#
# planted_test.sh PLANT_H SUITE...: each bug of async/plant.h must be caught by the suites that are said
# here to catch it, and without a bug each suite must pass: it is the bug that fails it, nothing else.
set -u
header=$1
shift
log=$TEST_TMPDIR/log
failed=0

# bug, suites that must find it
table='
drop_late_success sweep_test
skip_undo scsi_test sweep_test system_test
done_twice sweep_test exec_fault_test system_test
done_inline sweep_test system_test
cancel_stops_undo sweep_test exec_fault_test system_test
forget_quarantine sweep_test system_test
leak_fd sock_test
leak_stream exec_fault_test system_test
join_failed sweep_test
first_cancels_all sweep_test system_test
slot_early sweep_test system_test
detach_uncounted scsi_test sweep_test system_test
'

# say BUG SUITE WHAT
say() {
    printf '%-20s %-16s %s\n' "$1" "$2" "$3"
}

# suite NAME: its path among the arguments
suite() {
    for path in $suites; do
        [ "${path##*/}" = "$1" ] && echo "$path" && return
    done
}

# run BUG SUITE: exit status of the suite, its words in $log
run() {
    set -- "$1" "$(suite "$2")"
    case $2 in
    */system_test) set -- "$@" --runs 6 --shrink 0 ;; # few seeds must do
    */sweep_test) set -- "$@" attach detach exec ;;    # rows, likewise
    esac
    bug=$1
    shift
    UVM_PLANT=$bug timeout 200 "$@" > "$log" 2>&1
}

suites=$*
for path in $suites; do
    if run none "${path##*/}"; then
        say none "${path##*/}" passes
    else
        failed=1
        say none "${path##*/}" 'FAILS without any bug'
        tail -n 20 "$log"
    fi
done

for bug in $(sed -n 's/^    X(\([a-z_]*\), ".*/\1/p' "$header"); do
    finders=$(printf '%s' "$table" | sed -n "s/^$bug //p")
    if [ -z "$finders" ]; then
        failed=1
        say "$bug" - 'nobody looks for it'
    fi
    for name in $finders; do
        run "$bug" "$name"
        status=$?
        case $status in
        0 | 99 | 12[4-7])
            failed=1
            say "$bug" "$name" "NOT CAUGHT (exit status $status)"
            ;;
        *)
            say "$bug" "$name" "caught: $(grep -m 1 -E '\.[ch]:[0-9]+: |ERROR: |not freed' "$log" |
                cut -c 1-120)"
            ;;
        esac
    done
done

# A random run that fails is cut down to few of its steps.
UVM_PLANT=slot_early timeout 600 "$(suite system_test)" --seed 1 > "$log" 2>&1
left=$(sed -n 's/^seed 1 fails with \([0-9]*\) of its [0-9]* steps:$/\1/p' "$log")
if [ -n "$left" ] && [ "$left" -le 8 ]; then
    say slot_early system_test "shrunk to $left steps"
else
    failed=1
    say slot_early system_test "NOT SHRUNK (${left:-no} steps)"
fi
exit $failed
