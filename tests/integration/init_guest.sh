#!/bin/sh
# SPDX-License-Identifier: MIT
#
# init_guest.sh: what /init starts in the guest of init_test.sh, in the agent's place. Looks at what
# it was given and says `ok WHAT` or `FAILED WHAT` for each; the status tells whether it ran to its
# end.
check() {
    what=$1
    shift
    if "$@" > /tmp/said 2>&1; then
        echo "ok $what"
    else
        echo "FAILED $what: $* ($?): $(cat /tmp/said)"
    fi
}

# fails STATUS COMMAND...
fails() {
    status=$1
    shift
    "$@"
    [ $? = "$status" ]
}

mounted() {
    grep -q "^[^ ]* $2 $1 " /proc/mounts
}

# Polls a bounded number of times; on one CPU each look lets PID 1 run in the end.
reaped() {
    sh -c 'true & echo $!' > /tmp/pid
    for _ in $(seq 2000); do
        [ -e "/proc/$(cat /tmp/pid)" ] || return 0
    done
    return 1
}

check marker [ "$UVM_INIT" = 1 ]
check path [ "$PATH" = /sbin:/usr/sbin:/bin:/usr/bin ]
check umask [ "$(umask)" = 0022 ]
check hostname [ "$(hostname)" = uvm ]
check session [ "$(cut -d' ' -f6 /proc/$$/stat)" = $$ ]
check proc mounted proc /proc
check sys mounted sysfs /sys
check dev mounted devtmpfs /dev
check pts mounted devpts /dev/pts
check shm mounted tmpfs /dev/shm
check run mounted tmpfs /run
check tmp mounted tmpfs /tmp
check cgroup mounted cgroup2 /sys/fs/cgroup
check fd [ -e /dev/fd/0 ]
check loopback ping -c 1 127.0.0.1
check vsock grep -q '^vmw_vsock_virtio_transport ' /proc/modules
check virtio grep -q '^virtio_pci ' /proc/modules
check pvpanic grep -q '^pvpanic_pci ' /proc/modules
check reaping reaped
check modules gcs-modules modules.scsi
check modules-again gcs-modules modules.scsi
check ext4 gcs-modules modules.ext4
check vfat gcs-modules modules.vfat
check xfs gcs-modules modules.xfs
check squashfs gcs-modules modules.squashfs
check erofs gcs-modules modules.erofs
check file-systems [ "$(grep -cwE "ext4|vfat|xfs|squashfs|erofs" /proc/filesystems)" = 5 ]
check no-marker fails 1 env -u UVM_INIT gcs-modules modules.scsi
check second-init fails 1 /init /bin/true
check unanswered-port fails 1 vsockexec -e 109 true
check relay-status fails 6 vsockexec -r -e 109 sh -c 'exit 6'
vsockexec -r -e 109 sh -c 'echo last words >&2'
exit 3
