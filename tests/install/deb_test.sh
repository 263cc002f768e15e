#!/bin/sh
# SPDX-License-Identifier: MIT
#
# deb_test.sh: makes the Debian package, looks at what it says and has, makes it again and wants the
# same bytes, unpacks it into a folder and boots a VM with what is there and nothing else.
. tests/install/kit.sh
deb=$work/uvm.deb root=$work/root
SOURCE_DATE_EPOCH=1700000000 COMPRESS=none
export SOURCE_DATE_EPOCH COMPRESS

build/bin/deb.sh --from dist "$deb" > "$work/said"
[ "$(cat "$work/said")" = "$deb" ] || fail "it said: $(cat "$work/said")"
(umask 077 && TZ=Asia/Kathmandu build/bin/deb.sh --from dist "$work/again.deb" > /dev/null)
cmp "$deb" "$work/again.deb" || fail "a second package has other bytes"
refuses "lacks what" build/bin/deb.sh --from "$work" "$work/none.deb"
[ ! -e "$work/none.deb" ] || fail "what was refused left a package"

field() {
    dpkg-deb -f "$deb" "$1"
}
[ "$(field Package) $(field Version)" = "uvm $version" ] || fail "$(field Package) $(field Version)"
[ "$(field Architecture)" = "$(dpkg --print-architecture)" ] || fail "$(field Architecture)"
# All that running needs: the list's section, one by one, and the libraries with their versions.
field Depends | tr ',' '\n' | sed 's/^ *//' > "$work/depends"
sed -n '/^# Run:/,/^$/p' packages.txt | grep -v '^#' | grep . > "$work/run"
has "$work/run" '^qemu-system-x86$'
while read -r package; do
    grep -qx "$package" "$work/depends" || fail "it does not depend on $package"
done < "$work/run"
for library in libc6 libuv1 libcjson1; do
    has "$work/depends" "^$library (>= [0-9]"
done

# Everything is below /usr, root's, and nobody else's to write.
dpkg-deb -c "$deb" > "$work/contents"
odd=$(awk '$2 != "root/root" || $6 !~ /^\.\/(usr\/.*)?$/ ||
    $1 !~ /^(lrwxrwxrwx|drwxr-xr-x|-rwxr-xr-x|-rw-r--r--)$/' "$work/contents")
[ -z "$odd" ] || fail "odd in the package: $odd"
for file in bin/uvmctl libexec/uvm/uvm-launch lib/uvm/vmlinux lib/uvm/initrd.img lib/uvm/tools.img lib/uvm/gcs \
    include/uvm/uvm.h share/man/man1/uvmctl.1.gz share/bash-completion/completions/uvmctl \
    share/doc/uvm/copyright share/doc/uvm/embedding.md; do
    grep -q " ./usr/$file$" "$work/contents" || fail "the package has no $file"
done
dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./triggers | grep -q ldconfig || fail "no word to the loader"

dpkg-deb -x "$deb" "$root"
dpkg-deb --ctrl-tarfile "$deb" | tar -xO ./md5sums > "$work/md5sums"
(cd "$root" && md5sum -c --quiet "$work/md5sums") || fail "the sums are of other files"
[ "$(wc -l < "$work/md5sums")" = "$(find "$root" -type f | wc -l)" ] || fail "files without a sum"
has "$root/usr/share/doc/uvm/copyright" "^Linux version [0-9]"
! grep -rlF -e "$work" -e "$PWD" "$root" || fail "a path of this machine is in it"
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
has "$root/usr/lib/$triplet/pkgconfig/uvm.pc" '^prefix=/usr$'
[ -L "$root/usr/lib/$triplet/libuvm.so.0" ] || fail "no libuvm.so.0"
gzip -dc "$root/usr/share/man/man1/uvmctl.1.gz" | grep -q '^.TH UVMCTL' || fail "the page is none"

mkdir "$work/cwd"
cd "$work/cwd"
[ "$("$root/usr/bin/uvmctl" --version)" = "uvmctl $version" ] || fail "the version of uvmctl"
status=0
"$root/usr/bin/uvmctl" boot -- sh -c 'uname -s; exit 9' > "$work/out" 2> "$work/err" || status=$?
[ "$status $(cat "$work/out")" = "9 Linux" ] ||
    fail "the boot ended with $status: $(cat "$work/out" "$work/err")"
echo "deb_test: well"
