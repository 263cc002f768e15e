#!/bin/sh
# SPDX-License-Identifier: MIT
#
# init_test.sh KERNEL INITRD INITRD.PY GUEST.SH: boots the guest's image as it is built, without an
# engine and without a vsock device. /init starts a script in the agent's place (a second archive
# behind the image brings it) and ends with it, which the VMM must report as a panic: status 1.
set -eu
kernel=$1 initrd=$2 initrd_py=$3 guest=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "init_test: $*; the console:" >&2
    cat "$work/console" >&2
    exit 1
}

# said PATTERN: a line of the console has it.
said() {
    grep -q -e "$1" "$work/console" || fail "'$1' is not there"
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
said "^init: no entropy from host port 1: No such device"
said "^init: started at [0-9]* ms; modules "
said "^ok relay-status"
said "^last words"
said "^init: /check.sh ended with status 3"
said "Attempted to kill init! exitcode=0x00000300"
[ "$status" = 1 ] || fail "the VMM ended with $status, not with the 1 of a panic"
grep -e "^init: started" -e "^ok" "$work/console"
