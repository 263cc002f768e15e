#!/bin/sh
# SPDX-License-Identifier: MIT
#
# deb.sh [--from DIR] [FILE]: makes a Debian package of what `make all` built (in out/, or DIR):
# programs, kernel, image, library and headers below /usr. The version is uvm.h's; what the package
# depends on are the Run packages of packages.txt, and the libraries that dpkg-shlibdeps finds.
# COMPRESS (xz) is dpkg-deb's. The same input gives the same bytes.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
from=$top/out
if [ "${1:-}" = --from ]; then
    from=$(cd "$2" && pwd)
    shift 2
fi
version=$("$top/build/bin/version.sh" "$top/uvm/uvm.h")
arch=$(dpkg --print-architecture)
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
file=${1:-$top/out/uvm_${version}_$arch.deb}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root doc=$work/root/usr/share/doc/uvm
umask 022

PREFIX=/usr LIBDIR=/usr/lib/$triplet DESTDIR=$root "$top/build/bin/install.sh" --from "$from" > "$work/log"

chmod u+w "$root/usr/bin/uvmctl"
strip --strip-unneeded "$root/usr/bin/uvmctl" "$root/usr/lib/uvm/gcs" \
    "$root/usr/libexec/uvm/uvm-launch" "$root/usr/lib/$triplet/libuvm.so.$version"
strip --strip-debug --enable-deterministic-archives "$root/usr/lib/$triplet"/*.a
gzip -9n "$root/usr/share/man/man1/uvmctl.1"

mkdir -p "$doc"
cp "$top"/docs/embedding.md "$top"/docs/harness.md "$top"/docs/install.md "$doc"
kernel=$(strings -n 12 "$root/usr/lib/uvm/vmlinux" | sed -n '/^Linux version [0-9]/{p;q}')
{
    echo "uvm is under the MIT licence:"
    echo
    cat "$top/LICENSE"
    cat << END

The package also has programs of others in it, unchanged, as Debian builds them; their licence is the
GNU General Public License, version 2 (/usr/share/common-licenses/GPL-2), and their source is that of
Debian's packages:

/usr/lib/uvm/vmlinux, and the modules in /usr/lib/uvm/initrd.img and rootfs.tar.gz: the Linux kernel (package linux),
$kernel

/usr/lib/uvm/initrd.img and rootfs.tar.gz, /bin/busybox in them: BusyBox (package busybox).

/usr/lib/uvm/tools.img, the programs and libraries in it: of the packages cryptsetup-bin, e2fsprogs,
xfsprogs and what they depend on (GPL-2, LGPL-2.1, BSD; libssl3: Apache-2.0; libc6: LGPL-2.1).

Linked into the programs for the guest are libuv (MIT), cJSON (MIT) and the GNU C Library (LGPL-2.1,
/usr/share/common-licenses/LGPL-2.1), as in Debian's packages of these names.
END
} > "$doc/copyright"

# A word a line: the Run section of the list, then what the dynamic programs link.
mkdir "$work/debian"
printf 'Source: uvm\nMaintainer: The uvm authors <uvm@localhost>\n\nPackage: uvm\nArchitecture: any\n' \
    > "$work/debian/control"
run=$(sed -n '/^# Run:/,/^$/{/^#/d;/^$/d;p}' "$top/packages.txt" | paste -sd, | sed 's/,/, /g')
shared=$(cd "$work" && dpkg-shlibdeps -O -xuvm "$root/usr/bin/uvmctl" \
    "$root/usr/lib/$triplet/libuvm.so.$version" 2> "$work/log" | sed -n 's/^shlibs:Depends=//p')
if [ -z "$run" ] || [ -z "$shared" ]; then
    cat "$work/log" >&2
    echo "deb: no dependencies found: run \"$run\", libraries \"$shared\"" >&2
    exit 1
fi

mkdir "$root/DEBIAN"
cat > "$root/DEBIAN/control" << END
Package: uvm
Version: $version
Architecture: $arch
Maintainer: The uvm authors <uvm@localhost>
Installed-Size: $(du -ks --apparent-size "$root/usr" | cut -f1)
Depends: $run, $shared
Suggests: libuv1-dev, libcjson-dev, pkgconf
Section: admin
Priority: optional
Description: utility VMs: boot one, run a command in it, leave nothing
 A utility VM is a small virtual machine that isolates a command, a container
 or a pod in a kernel of its own. This package has the command line, uvmctl,
 with the kernel and image that it boots, and libuvm with its headers, for
 programs that do the same on a libuv loop.
END
echo "activate-noawait ldconfig" > "$root/DEBIAN/triggers"
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums)
epoch=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2> /dev/null || echo 0)}
find "$root" -exec touch -h -d "@$epoch" {} +
mkdir -p "$(dirname "$file")"
SOURCE_DATE_EPOCH=$epoch dpkg-deb --root-owner-group -Z"${COMPRESS:-xz}" --build "$root" "$work/uvm.deb" \
    > "$work/log" || {
    cat "$work/log" >&2
    exit 1
}
mv "$work/uvm.deb" "$file"
echo "$file"
