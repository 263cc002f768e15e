#!/bin/sh
# SPDX-License-Identifier: MIT
#
# agent_guest.sh: what /init starts in the guest of agent_test.sh. Plays the host to an agent whose
# bridge is on two fifos, looks at what it did to its machine, and asks it to power off. Says
# `ok WHAT` or `FAILED WHAT`; the status is seen only if the power stays on.
check() {
    what=$1
    shift
    if "$@"; then
        echo "ok $what"
    else
        echo "FAILED $what; the log:"
        cat /tmp/log
    fi
}

byte() {
    printf "\\$(printf %03o $(($1 & 255)))"
}

# word N BYTES: little-endian.
word() {
    n=$1
    for _ in $(seq "$2"); do
        byte "$n"
        n=$((n >> 8))
    done
}

# frame TYPE ID BODY
frame() {
    word "$1" 4
    word $((16 + ${#3})) 4
    word "$2" 8
    printf %s "$3"
}

# until_true COMMAND: polls a bounded number of times; each look starts a process, which takes its time.
until_true() {
    for _ in $(seq 2000); do
        "$@" > /dev/null 2>&1 && return 0
        /bin/true
    done
    return 1
}

null=00000000-0000-0000-0000-000000000000
mkfifo /tmp/in
gcs -v4 -log-format json -disable-time-sync -core-dump-location /tmp/core.%p -kmsgLogLevel 3 \
    -use-inouterr < /tmp/in > /tmp/out 2> /tmp/log &
exec 3> /tmp/in

frame $((0x10100b01)) 0 '{"MinimumVersion":4,"MaximumVersion":4}' >&3
check negotiated until_true grep -q '"Version":4' /tmp/out
check inside grep -q '"where":"utility VM"' /tmp/log
check core-pattern [ "$(cat /proc/sys/kernel/core_pattern)" = /tmp/core.%p ]
echo "<3>a kernel message" > /dev/kmsg
echo "<4>another one" > /dev/kmsg
check kmsg until_true grep -q '"kmsg_level":3,"kmsg":"a kernel message"' /tmp/log
check kmsg-level sh -c '! grep -q "another one" /tmp/log'
frame $((0x10100501)) 1 '{"ContainerId":"'$null'","Settings":{"ProcessParameters":"{\"CommandArgs\":[\"sh\",\"-c\",\"echo \\\"$0\\\" > /tmp/made; exit 3\"]}"}}' >&3
check process until_true grep -q '^sh$' /tmp/made
check anonymous-memory [ "$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$!/status)" -le 1024 ]
grep RssAnon /proc/$!/status
frame $((0x10100301)) 2 '{"ContainerId":"'$null'"}' >&3
wait $!
echo "FAILED power-off: the agent ended with $?"
cat /tmp/log
exit 9
