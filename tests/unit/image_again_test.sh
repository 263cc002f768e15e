#!/bin/sh
# SPDX-License-Identifier: MIT
#
# image_again_test.sh MODULES.PY INITRD.PY LIST DEB GCS BUSYBOX INITRD DELTA-LIST ROOTFS DELTA: makes the
# guest's image and its layers a second time, from the kernel's package on, in another folder, time zone and umask and with other
# dates on the files, and wants the same bytes. Then hands the tools what they must refuse.
set -eu
modules_py=$PWD/$1 initrd_py=$PWD/$2 list=$PWD/$3 deb=$PWD/$4 gcs=$5 busybox=$6 initrd=$PWD/$7
shift 7
delta=$PWD/$1 rootfs_tar=$PWD/$2 delta_tar=$PWD/$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "image_again_test: $*" >&2
    exit 1
}

# refuses PATTERN COMMAND...: the command must fail with a line that has the pattern in it.
refuses() {
    pattern=$1
    shift
    if "$@" 2> "$work/said"; then
        fail "not refused: $*"
    fi
    grep -q -e "$pattern" "$work/said" || fail "refused without '$pattern': $(cat "$work/said")"
}

cp -L "$gcs" "$work/gcs"
cp -L "$busybox" "$work/busybox"
touch -d 2001-02-03 "$work/gcs"
umask 077
export TZ=Asia/Kathmandu LC_ALL=C.UTF-8
cd "$work"

crc32c="crc32c-intel crc32c_generic"
# shellcheck disable=SC2086
"$modules_py" "$deb" elsewhere --boot pvpanic-pci vmw_vsock_virtio_transport virtio_pci \
    --list 9p 9p 9pnet_fd \
    --list crypt dm-crypt dm-integrity authenc xts aesni-intel sha256-ssse3 \
    --list dm dm-mod \
    --list erofs $crc32c erofs \
    --list ext4 $crc32c ext4 \
    --list net af_packet virtio_net \
    --list overlay overlay \
    --list pmem nfit nd_pmem \
    --list scsi "scsi_mod scan=manual" sd_mod virtio_scsi \
    --list squashfs squashfs \
    --list verity dm-verity \
    --list vfat vfat nls_ascii nls_cp437 \
    --list virtiofs virtiofs \
    --list xfs $crc32c xfs
again() { # LIST OUT OF-THE-BUILD
    "$initrd_py" "$1" "$2" delta="$delta" modules=elsewhere gcs=gcs busybox=busybox
    cmp "$2" "$3" || fail "a second build gives other bytes"
}
again "$list" again.img "$initrd"
again "$list" again.tar.gz "$rootfs_tar"
again "$delta" again_delta.tar.gz "$delta_tar"

# The layer has what the initrd has, the delta what the agent is; both belong to root, and to 1970.
tar -tzf again.tar.gz | sed 's|/$||' | sort > in_layer
grep -q '^bin/gcs$' in_layer || fail "the layer has no agent"
grep -q '^lib/modules/[^/]*/modules.load$' in_layer || fail "the layer has no modules"
for folder in dev etc proc run sys tmp var; do
    grep -q "^$folder\$" in_layer || fail "the layer has no /$folder"
done
[ "$(tar -tzf again_delta.tar.gz | tr '\n' ' ')" = \
    "bin/ bin/gcs bin/gcs-device bin/gcs-dhcp bin/gcs-modules bin/uvm-launch bin/vsockexec init " ] ||
    fail "the delta has $(tar -tzf again_delta.tar.gz)"
for layer in again.tar.gz again_delta.tar.gz; do
    ! tar --numeric-owner --full-time --utc -tvzf $layer | grep -v ' 0/0 .* 1970-01-01 00:00:00 ' ||
        fail "$layer: an owner or a date"
done

# A package of these few modules will do from here on.
mkdir -p small/DEBIAN
cp -r elsewhere/lib small
for kernel in small/lib/modules/*; do
    touch "$kernel/modules.order" "$kernel/modules.builtin" "$kernel/modules.builtin.modinfo"
done
printf 'Package: small\nVersion: 1\nArchitecture: all\nMaintainer: n <n@n>\nDescription: n\n' \
    > small/DEBIAN/control
chmod -R go+rX small
dpkg-deb -b small small.deb > /dev/null
refuses "no module no-such" "$modules_py" small.deb wrong --boot no-such
[ ! -e wrong.all ] || fail "what was unpacked is left behind"
"$modules_py" small.deb lists --boot virtio --list bus virtio-pci virtio --list net vsock virtio_pci
grep -q virtio_ring.ko lists/lib/modules/*/modules.load || fail "modules.load lacks a dependency"
grep -q virtio_pci.ko lists/lib/modules/*/modules.bus || fail "modules.bus lacks what it is for"
! grep -q virtio.ko lists/lib/modules/*/modules.bus || fail "modules.bus has what is loaded before"
grep -q virtio_pci.ko lists/lib/modules/*/modules.net || fail "modules.net relies on another list"
cp -r small/lib/modules/* small/lib/modules/other
dpkg-deb -b small two.deb > /dev/null
refuses "holds 2 kernels" "$modules_py" two.deb wrong

echo "file /init 755 sh" > dynamic.list
refuses "dynamic.list:1: a program that is not static" "$initrd_py" dynamic.list x.img "sh=$(command -v sh)"
printf 'dir /a\nfile /a 644 gcs\n' > twice.list
refuses "twice.list:2: /a is there twice" "$initrd_py" twice.list x.img gcs=gcs
echo "nod /dev/null 666 1 3" > kind.list
refuses "kind.list:1: what is" "$initrd_py" kind.list x.img
printf '# nothing\nfile /x 644 unknown\n' > name.list
refuses "name.list:2:" "$initrd_py" name.list x.img gcs=gcs
echo "include unknown" > unknown.list
refuses "unknown.list:1:" "$initrd_py" unknown.list x.img
[ ! -e x.img ] || fail "a refused list left an archive"
