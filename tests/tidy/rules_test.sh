#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A small tree with one offence a file: tree.py must name each, by its rule, and nothing else.
set -eu
tree=$PWD/tests/tidy/tree.py
top=$TEST_TMPDIR/top
mkdir -p "$top/uvm" "$top/async" "$top/tests/unit"
cd "$top"
git init -q .

# put FILE BODY: a source file that is in order but for BODY.
put() {
    printf '/* SPDX-License-Identifier: MIT\n * A file.\n */\n%s\n' "$2" > "$1"
}

put async/clean.c 'int uvm__x(struct y *y) {
    /* malloc(1), sleep(1) */
    return y->time(0) + uvm__open("sprintf(") + y->n;
}'
put async/door.c 'int fd = open(path, 0);'
put async/unsafe.c 'void f(void) { sprintf(a, b); }'
put async/alloc_past.c 'void *p = malloc(3);'
put uvm/door.c 'int fd = open(path, 0);'
put uvm/library.c 'void f(void) { printf("x"); }'
put uvm/vmm.c "/* as Q""EMU does */"
put tests/unit/unfinished.c "/* TO""DO */"
put tests/unit/machine.c '/* /ho''me/me */'
echo "The plan." > uvm/plan.m""d
put async/clean_page.c "/* uvm/plan.m""d, plan.m""d, https://example.org/other.md, virtio 1.2 §2.7 */"
put tests/unit/page.c "/* see plan.m""d and no-plan.m""d */"
printf '/* SPDX-License-Identifier: MIT\n * A file.\n */\n/* as \302\2473 has it */\n' > tests/unit/section.c
put tests/unit/paper.c "/* DES""IGN says so */"
put tests/unit/blank.c 'int a; '
put tests/unit/orphan.c 'int a;'
echo 'int a;' > tests/unit/spdx.c
{ put tests/unit/function.c "static int f(void) {" && yes '    g();' | head -n 69 && echo '}'; } \
    > more && cat more >> tests/unit/function.c && rm more
put tests/unit/file.c "$(yes 'int a;' | head -n 800)"
echo '/* SPDX-License-Identifier: MIT */' > tests/unit/once.h
for d in uvm async; do echo 'x(srcs = glob(["*.c"]))' > $d/BUILD.bazel; done
{
    for f in unfinished machine page section paper blank function file spdx; do echo "x(\"$f.c\")"; done
    echo 'x("once.h")'
} > tests/unit/BUILD.bazel

cat > want <<'EOF'
alloc async/alloc_past.c:4
blank tests/unit/blank.c:4
comment tests/unit/spdx.c:1
door uvm/door.c:4
elsewhere tests/unit/paper.c:4
elsewhere tests/unit/section.c:4
file tests/unit/file.c:0
function tests/unit/function.c:4
library uvm/library.c:4
machine tests/unit/machine.c:4
once tests/unit/once.h:1
orphan tests/unit/orphan.c:0
page tests/unit/page.c:4
spdx tests/unit/spdx.c:1
unfinished tests/unit/unfinished.c:4
unsafe async/unsafe.c:4
vmm uvm/vmm.c:4
EOF
if python3 "$tree" . > report; then
    echo "it found nothing" >&2
    exit 1
fi
sed -n 's/^\([^ ]*\): .*\[\([a-z]*\)\]$/\2 \1/p' report | sort > got
diff -u want got || {
    cat report
    exit 1
}
