#!/bin/sh
# SPDX-License-Identifier: MIT
#
# agent_test.sh KERNEL INITRD INITRD.PY GUEST.SH: the agent in the one place where it is the machine's
# master: under our own /init in a VM. A script plays its host; a shutdown must switch the power off,
# which the VMM reports by ending with status 0, not 1 as for a panic.
set -eu
kernel=$1 initrd=$2 initrd_py=$3 guest=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "agent_test: $*; the console:" >&2
    cat "$work/console" >&2
    exit 1
}

echo "file /check.sh 755 guest" > "$work/list"
"$initrd_py" "$work/list" "$work/guest.img" guest="$guest"
cat "$initrd" "$work/guest.img" > "$work/initrd.img"

status=0
timeout 120 qemu-system-x86_64 -nodefaults -no-user-config -display none -accel tcg -cpu max \
    -machine q35 -m 256M -kernel "$kernel" -initrd "$work/initrd.img" \
    -append "console=ttyS0 quiet -- -e 1 /check.sh" -serial stdio -no-reboot \
    -device pvpanic-pci,bus=pcie.0,addr=0x1e -action panic=exit-failure \
    < /dev/null > "$work/console" || status=$?

! grep FAILED "$work/console" || fail "a check in the guest failed"
[ "$status" = 0 ] || fail "the VMM ended with $status, not with the 0 of a power-off"
[ "$(grep -c '^ok ' "$work/console")" = 7 ] || fail "not all checks were made"
grep -e "^ok" -e "^RssAnon" "$work/console"
