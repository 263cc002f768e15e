#!/bin/sh
# SPDX-License-Identifier: MIT
#
# install_test.sh: installs into a folder; builds against what is there, and only that, as embedders
# do: C, C++, shared, static, and the program of docs/embedding.md with the words of that page, which
# then boots a VM; takes everything away again.
. tests/install/kit.sh
dest=$work/dest

refuses "begin with /" env PREFIX=opt DESTDIR="$dest" build/bin/install.sh --from dist
refuses "no blanks" env PREFIX="/o p t" DESTDIR="$dest" build/bin/install.sh --from dist
refuses "lacks what" env PREFIX=/opt DESTDIR="$dest" build/bin/install.sh --from "$work"
refuses "usage" build/bin/install.sh --form dist
[ ! -e "$dest" ] || fail "what was refused left files"

# DESTDIR stands before paths and in no file.
PREFIX=/opt/u DESTDIR=$dest build/bin/install.sh --from dist > "$work/list"
(cd "$dest" && find . ! -type d | sed "s|^\.|$dest|" | LC_ALL=C sort) > "$work/there"
LC_ALL=C sort "$work/list" | cmp - "$work/there" || fail "what is told is not what is there"
! grep -rqF "$work" "$dest/opt/u/lib/pkgconfig" "$dest/opt/u/include" "$dest/opt/u/share" ||
    fail "DESTDIR is in a file"
has "$dest/opt/u/lib/pkgconfig/uvm.pc" '^prefix=/opt/u$'
touch "$dest/opt/u/lib/uvm/mine"
PREFIX=/opt/u DESTDIR=$dest build/bin/install.sh --uninstall 2> "$work/said"
has "$work/said" "lib/uvm stays"
rm "$dest/opt/u/lib/uvm/mine"
PREFIX=/opt/u DESTDIR=$dest build/bin/install.sh --uninstall
left=$(find "$dest" ! -type d -o -name uvm)
[ -z "$left" ] || fail "left after uninstall: $left"

# From here on as a person has it: PREFIX alone. (Not as root: the loader's cache stays as it is.)
prefix=$work/usr lib=$work/usr/lib
PREFIX=$prefix DESTDIR=/ build/bin/install.sh --from dist > /dev/null
PREFIX=$prefix DESTDIR=/ build/bin/install.sh --from dist > /dev/null # over itself
[ "$(readlink "$lib/libuvm.so")" = libuvm.so.0 ] || fail "libuvm.so is no link to libuvm.so.0"
[ "$(readlink "$lib/libuvm.so.0")" = "libuvm.so.$version" ] || fail "libuvm.so.0 is no link"
for mode in 755:bin/uvmctl 755:libexec/uvm/uvm-launch 644:lib/uvm/vmlinux 644:include/uvm/uvm.h; do
    [ "$(stat -c %a "$prefix/${mode#*:}")" = "${mode%%:*}" ] || fail "the mode of ${mode#*:}"
done

# The page's table of what is where.
awk -F '|' '/^\| `/ { print $2 }' docs/install.md | tr ',' '\n' | tr -d '` ' > "$work/told"
[ "$(wc -l < "$work/told")" -gt 8 ] || fail "docs/install.md tells little: $(cat "$work/told")"
while read -r path; do
    [ -e "$prefix/$path" ] || fail "docs/install.md tells of $path, which is not there"
done < "$work/told"

# uvmctl finds what it needs beside itself.
"$prefix/bin/uvmctl" doctor > "$work/doctor" || true
has "$work/doctor" "^ok *kernel *$lib/uvm/vmlinux: "
has "$work/doctor" "^ok *initrd *$lib/uvm/initrd.img: "
has "$work/doctor" "^ok *uvm-launch *$prefix/libexec/uvm/uvm-launch$"
"$prefix/bin/uvmctl" --version | grep -qx "uvmctl $version" || fail "the version of uvmctl"
page=$prefix/share/man/man1/uvmctl.1
has "$page" "^.TH UVMCTL 1 .*uvm $version"
"$prefix/bin/uvmctl" help | sed -n 's/^  \([a-z]*\)  .*/\1/p' > "$work/verbs"
grep -qx boot "$work/verbs" || fail "no verbs in the help"
while read -r verb; do
    [ "$verb" = help ] || has "$page" "^.SS \"uvmctl $verb "
    has "$prefix/share/bash-completion/completions/uvmctl" "$verb"
done < "$work/verbs"
bash -n "$prefix/share/bash-completion/completions/uvmctl" || fail "the completion is no bash"
if command -v groff > /dev/null; then
    groff -man -ww -Tutf8 "$page" > "$work/page" 2> "$work/said"
    [ ! -s "$work/said" ] || fail "groff about the page: $(cat "$work/said")"
fi

# Each library shows what its headers declare: not less, not more. declared HEADER...
declared() {
    for header; do
        echo "#include <uvm/${header##*/}>"
    done > "$work/all.c"
    # What others' headers declare goes with the line that says whose it is.
    cc -E -I"$prefix/include" "$work/all.c" |
        awk -v wanted=" $* " '/^# / { gsub("\"", "", $3); on = index(wanted, " " $3 " ") } on' |
        grep -oE '\buvm_[a-z0-9_]+\(' | tr -d '(' | LC_ALL=C sort -u
}
harness=$(echo "$prefix"/include/uvm/harness*.h)
library=$(echo "$prefix"/include/uvm/*.h | tr ' ' '\n' | grep -v /harness | paste -sd' ')
so=$lib/libuvm.so.$version
readelf -d "$so" > "$work/dynamic"
has "$work/dynamic" 'SONAME.*\[libuvm.so.0\]'
! grep -q TEXTREL "$work/dynamic" || fail "the shared library is not position-independent"
nm -D --defined-only "$so" | sed -n 's/.* T \([^@]*\).*/\1/p' | LC_ALL=C sort > "$work/shown"
# shellcheck disable=SC2086
declared $library > "$work/declared"
[ "$(wc -l < "$work/declared")" -gt 40 ] || fail "few functions are declared: $(cat "$work/declared")"
diff "$work/declared" "$work/shown" || fail "the library shows other functions than the headers declare"
[ "$(nm -D --defined-only "$so" | grep -c ' [BDRVWu] ')" = 0 ] || fail "the library shows data"
nm --defined-only "$lib/libuvm-harness.a" 2> /dev/null | sed -n 's/.* T \(uvm_[^_].*\)/\1/p' |
    LC_ALL=C sort > "$work/shown"
# shellcheck disable=SC2086
declared $harness > "$work/declared"
[ "$(wc -l < "$work/declared")" -gt 20 ] || fail "few functions are declared: $(cat "$work/declared")"
diff "$work/declared" "$work/shown" || fail "the harness shows other functions than its headers declare"

# Each struct that grows has its test. (The harness is static: it and its headers are of one version.)
# shellcheck disable=SC2086
params=$(cat $library | sed -n 's/^struct \(uvm_[a-z0-9_]*_params\) {$/\1/p')
[ "$(echo "$params" | wc -l)" -ge 5 ] || fail "few params structs are declared: $params"
for name in $params; do
    has tests/sim/params_test.c "PLACE($name, "
    has tests/sim/params_test.c "offsetof(struct $name, "
done

# A library that was built under a sanitizer wants a program that is, too.
PKG_CONFIG_PATH=$lib/pkgconfig LD_LIBRARY_PATH=$lib sanitize=
export PKG_CONFIG_PATH LD_LIBRARY_PATH
if nm -D "$so" | grep -q __asan_init; then
    sanitize="-fsanitize=address,undefined"
fi
for standard in c++11 c++20; do
    # shellcheck disable=SC2046,SC2086
    c++ -std=$standard -pedantic -Wall -Wextra -Werror $sanitize -o "$work/embed++" \
        tests/install/embed.cc $(pkg-config --cflags --libs uvm)
    "$work/embed++" | grep -qx "$version" || fail "the embedder in $standard"
done
for header in "$prefix"/include/uvm/*.h; do # each alone
    for compiler in "cc -std=c99" "clang -std=c11" "clang++ -std=c++11"; do
        echo "#include <uvm/${header##*/}>" > "$work/one.c"
        $compiler -pedantic -Wall -Wextra -Werror -fsyntax-only -I"$prefix/include" \
            -x "$(case $compiler in *++*) echo c++ ;; *) echo c ;; esac)" "$work/one.c" ||
            fail "$compiler about ${header##*/}"
    done
done
[ "$(pkg-config --modversion uvm)" = "$version" ] || fail "the version of uvm.pc"

# block LANGUAGE PAGE: the first such block of the page.
block() {
    awk -v begin="\`\`\`$1" '$0 == begin { on = 1; next } on && /^```$/ { exit } on' "$2"
}
mkdir "$work/bin" "$work/page.d"
printf '#!/bin/sh\nexec gcc -Werror %s "$@"\n' "$sanitize" > "$work/bin/cc"
chmod +x "$work/bin/cc"
block c docs/embedding.md > "$work/page.d/embed.c"
block sh docs/embedding.md > "$work/page.d/build.sh"
[ "$(wc -l < "$work/page.d/embed.c")" -lt 150 ] || fail "the example is not small any more"
(cd "$work/page.d" && PATH="$work/bin:$PATH" sh -eu build.sh) || fail "the page's program does not build"
# Statically too; the same program, with no libuvm.so to find.
# shellcheck disable=SC2046
(cd "$work/page.d" && "$work/bin/cc" -o embed-static embed.c -DUVM_LAUNCH='""' -DUVM_BOOT_FILES='""' \
    $(pkg-config --cflags uvm) "$lib/libuvm.a" $(pkg-config --libs libuv libcjson))
! readelf -d "$work/page.d/embed-static" | grep -q libuvm || fail "the static program is none"
readelf -d "$work/page.d/embed" | grep -q 'NEEDED.*libuvm.so.0' || fail "the page's program is static"

status=0
LD_LIBRARY_PATH="" "$work/page.d/embed-static" > "$work/out" 2> "$work/err" || status=$?
[ "$status" = 125 ] || fail "without a command: $status"
has "$work/err" "usage: embed"
status=0
"$work/page.d/embed" sh -c 'uname -s; echo warned >&2; exit 7' > "$work/out" 2> "$work/err" ||
    status=$?
[ "$status" = 7 ] || fail "the command's status: $status, $(cat "$work/err")"
[ "$(cat "$work/out")" = Linux ] || fail "the command said: $(cat "$work/out")"
has "$work/err" "^warned$"
status=0
LD_LIBRARY_PATH="" "$work/page.d/embed-static" true > "$work/out" 2> "$work/err" || status=$?
[ "$status" = 125 ] || fail "without boot files: $status"
has "$work/err" "^embed: .*vmlinux"

# The page about tests: its program, and what it says of a leak.
block c docs/harness.md > "$work/page.d/vm_test.c"
block sh docs/harness.md > "$work/page.d/build.sh"
[ "$(wc -l < "$work/page.d/vm_test.c")" -lt 60 ] || fail "the test is not small any more"
(cd "$work/page.d" && PATH="$work/bin:$PATH" sh -eu build.sh) || fail "the page's test does not build"
"$work/page.d/vm_test" > "$work/out" 2>&1 || fail "the page's test: $(cat "$work/out")"
[ ! -s "$work/out" ] || fail "the page's test said: $(cat "$work/out")"
status=0
LEAVE=1 "$work/page.d/vm_test" > "$work/out" 2>&1 || status=$?
[ "$status" = 1 ] || fail "the page's test with a leak: $status"
sed -n '/^\$ LEAVE=1/,/^```$/{/^[$`]/!p}' docs/harness.md > "$work/page.d/said"
has "$work/page.d/said" "^  descriptor 3: /dev/zero$"
sed 's/descriptor [0-9]*:/descriptor 3:/' "$work/out" | sed '/^$/d' | cmp - "$work/page.d/said" ||
    fail "the page does not say: $(cat "$work/out")"

PREFIX=$prefix DESTDIR=/ build/bin/install.sh --uninstall
left=$(find "$prefix" ! -type d)
[ -z "$left" ] || fail "left after uninstall: $left"
echo "install_test: well"
