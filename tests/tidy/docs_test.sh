#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The pages say what the code says: names that are there, limits as they are. First on a small tree
# in which each of them lies once, then on the checkout that this build was made from.
set -eu
here=$PWD/tests/tidy
root=$(dirname "$(readlink -f WORKSPACE)")
top=$TEST_TMPDIR/top
mkdir -p "$top/docs" "$top/async"
cd "$top"
git init -q .
cat > async/limits.h <<'END'
#define UVM__SOME_MS 2000u /* of some */
#define UVM__OTHER_BYTES (1u << 20) /* of
                                     * other */
END
cat > async/some.c <<'END'
static int there(void) {
}
END
cat > ARCHITECTURE.md <<'END'
`async/some.c`: `there()`, `gone()`, `uvm__gone()`, `UVM__SOME_MS`, `UVM__GONE_MS`

## Elsewhere
`there()`, `async/gone.c`, `bazel test //async:gone`
END
echo '<!-- What follows is made from the headers: tests/tidy/limits.py --write -->' > docs/LIMITS.md
touch docs/PROTOCOL-bridge.md docs/STATES.md
cat > docs/threat-model.md <<'END'
| what it tries | what stops it | shown by |
|---|---|---|
| this | that | `tests/one_test.c`: `runs()`, `only_named()` |
| this | that | `tests/one_test.c`; `tests/gone_test.c`: `runs()` |
| this | that | trust |
END
mkdir tests
cat > tests/one_test.c <<'END'
static void only_named(void **state) {
}
CASE(runs),
END
git add .
cat > want <<'END'
ARCHITECTURE.md:1: UVM__GONE_MS occurs nowhere
ARCHITECTURE.md:1: gone() is defined in no file that its section names
ARCHITECTURE.md:1: uvm__gone() is defined nowhere
ARCHITECTURE.md:4: async/gone.c does not exist
ARCHITECTURE.md:4: no target //async:gone
ARCHITECTURE.md:4: there() is defined in no file that its section names
docs/threat-model.md:3: tests/one_test.c runs no only_named()
docs/threat-model.md:4: tests/gone_test.c does not exist
docs/threat-model.md:4: tests/one_test.c is named without a case
docs/threat-model.md:5: no test shows that
END
if python3 "$here/architecture.py" . > report; then
    echo "it found nothing" >&2
    exit 1
fi
grep '^ARCHITECTURE\|^docs/threat' report | sort | diff -u want -

if python3 "$here/limits.py" . > report; then
    echo "an empty page was right" >&2
    exit 1
fi
python3 "$here/limits.py" --write .
python3 "$here/limits.py" .
grep -qxF '| `UVM__SOME_MS` | 2 s | of some |' docs/LIMITS.md
grep -qxF '| `UVM__OTHER_BYTES` | 1 MiB | of other |' docs/LIMITS.md

python3 "$here/architecture.py" "$root"
python3 "$here/limits.py" "$root"

# The tables of the devices: what the page says is what is walked.
copy=$TEST_TMPDIR/copy
mkdir -p "$copy/docs" "$copy/uvm" "$copy/hcs"
cp -r "$root/devices" "$copy/"
cp "$root"/docs/devices.md "$copy/docs/"
cp "$root"/uvm/control_devices.c "$copy/uvm/"
cp "$root"/hcs/modify_doc.c "$copy/hcs/"
python3 "$here/devices.py" "$root"
sed -i 's/X(EJECTING, "guest Remove of SCSIDevice", EJECTED,/X(EJECTING, "guest Remove of SCSIDevice", NEW,/' "$copy/devices/scsi_int.h"
if python3 "$here/devices.py" "$copy" > report; then
    echo "a page that says something else than the table was right" >&2
    exit 1
fi
grep -q 'ejecting --> new: done' report
