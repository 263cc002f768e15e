#!/bin/sh
# SPDX-License-Identifier: MIT
#
# install.sh [--uninstall] [--from DIR]: puts what `make all` built (in out/, or DIR) below $PREFIX
# (/usr/local), or takes it away again. Libraries go to $LIBDIR ($PREFIX/lib); $DESTDIR stands before
# every path where a package is made. Builds only what is not there yet, so that `make all` is an
# ordinary user's and `sudo make install` copies. Each file is replaced in one step: what runs keeps
# what it opened.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
prefix=${PREFIX:-/usr/local} destdir=${DESTDIR:-}
libdir=${LIBDIR:-$prefix/lib}
from=$top/out uninstall=
while [ $# -gt 0 ]; do
    case $1 in
    --from) from=$2 && shift 2 ;;
    --uninstall) uninstall=yes && shift ;;
    *)
        echo "usage: install.sh [--uninstall] [--from DIR]" >&2
        exit 2
        ;;
    esac
done

version=$("$top/build/bin/version.sh" "$top/uvm/uvm.h")
so=libuvm.so.$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case $prefix$libdir in
*[!A-Za-z0-9._+/=@%~-]*)
    echo "install: PREFIX and LIBDIR are also written to uvm.pc: no blanks or other signs in them" >&2
    exit 2
    ;;
/*) ;;
*)
    echo "install: PREFIX and LIBDIR begin with /: $prefix, $libdir" >&2
    exit 2
    ;;
esac

# Each file: its mode, where it comes from, where it goes to.
list() {
    cat << END
755 bin/uvmctl $prefix/bin/uvmctl
755 bin/uvm-launch $prefix/libexec/uvm/uvm-launch
755 gcs $prefix/lib/uvm/gcs
644 vmlinux $prefix/lib/uvm/vmlinux
644 initrd.img $prefix/lib/uvm/initrd.img
644 tools.img $prefix/lib/uvm/tools.img
644 rootfs.tar.gz $prefix/lib/uvm/rootfs.tar.gz
644 delta.tar.gz $prefix/lib/uvm/delta.tar.gz
644 lib/libuvm.a $libdir/libuvm.a
644 lib/libuvm-harness.a $libdir/libuvm-harness.a
644 lib/libuvm.so $libdir/$so
644 share/uvmctl.1 $prefix/share/man/man1/uvmctl.1
644 share/uvmctl.bash $prefix/share/bash-completion/completions/uvmctl
END
    for header in "$from"/include/uvm/*.h; do
        echo "644 include/uvm/${header##*/} $prefix/include/uvm/${header##*/}"
    done
}

# The links of the library, by which it is found when a program starts, and when it is linked.
links() {
    printf '%s\n' "$so $libdir/libuvm.so.0" "libuvm.so.0 $libdir/libuvm.so"
}

is_built() {
    list | while read -r _ file _; do
        [ -e "$from/$file" ] || exit 1
    done
}

put() { # MODE FILE TO
    mkdir -p "$destdir${3%/*}"
    cp "$2" "$destdir$3.new"
    chmod "$1" "$destdir$3.new"
    mv -f "$destdir$3.new" "$destdir$3"
    echo "$destdir$3"
}

# A program that starts asks the loader's cache; without root, or in a package, that is for others.
refresh() {
    [ -n "$destdir" ] || [ "$(id -u)" != 0 ] || ldconfig
}

if [ -n "$uninstall" ]; then
    {
        list | sed 's/[^ ]* [^ ]* //'
        # Whatever version put them there: the folder is ours.
        find "$destdir$prefix/include/uvm" -name '*.h' 2> /dev/null | sed "s|^$destdir||"
        links | sed 's/[^ ]* //'
        printf '%s\n' "$libdir/pkgconfig/uvm.pc" "$libdir/pkgconfig/uvm-harness.pc"
    } | while read -r path; do
        rm -f "$destdir$path"
    done
    # Ours, unless something else is in them.
    for folder in lib/uvm libexec/uvm include/uvm; do
        rmdir "$destdir$prefix/$folder" 2> /dev/null || [ ! -d "$destdir$prefix/$folder" ] ||
            echo "install: $destdir$prefix/$folder stays: it is not empty" >&2
    done
    refresh
    exit 0
fi

if ! is_built; then
    if [ "$from" != "$top/out" ]; then
        echo "install: $from lacks what \`make all\` builds" >&2
        exit 1
    fi
    make --no-print-directory -C "$top" all
fi
umask 022
list | while read -r mode file to; do
    put "$mode" "$from/$file" "$to"
done
links | while read -r target to; do
    ln -sf "$target" "$destdir$to"
    echo "$destdir$to"
done
for pc in uvm.pc uvm-harness.pc; do
    sed -e "s|@PREFIX@|$prefix|" -e "s|@LIBDIR@|$libdir|" -e "s|@VERSION@|$version|" \
        "$top/build/$pc.in" > "$work/$pc"
    put 644 "$work/$pc" "$libdir/pkgconfig/$pc"
done
refresh
