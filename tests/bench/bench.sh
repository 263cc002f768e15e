#!/bin/sh
# SPDX-License-Identifier: MIT
#
# bench.sh VM_BENCH BENCH_INITRD GCS INITRD TINY VMLINUX LAUNCH UVMCTL STREAM_BENCH OWNERS_BENCH DISK_BENCH KINDS_BENCH:
# gives the paths to bench.py.
set -eu
here=$PWD
VM_BENCH=$here/$1 BENCH_INITRD=$here/$2 GCS=$here/$3 INITRD=$here/$4 TINY=$here/$5 VMLINUX=$here/$6
LAUNCH=$here/$7 UVMCTL=$here/$8 STREAM_BENCH=$here/$9 OWNERS_BENCH=$here/${10} DISK_BENCH=$here/${11}
KINDS_BENCH=$here/${12} VMM=$(command -v qemu-system-x86_64)
export VM_BENCH BENCH_INITRD GCS INITRD TINY VMLINUX LAUNCH UVMCTL STREAM_BENCH OWNERS_BENCH DISK_BENCH KINDS_BENCH VMM
exec python3 tests/bench/bench.py
