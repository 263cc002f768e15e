#!/bin/sh
# SPDX-License-Identifier: MIT
#
# version.sh UVM.H: the version, MAJOR.MINOR.PATCH, from the one place where it stands.
set -eu
sed -n 's/^#define UVM_VERSION_\(MAJOR\|MINOR\|PATCH\) \([0-9]*\)$/\2/p' "$1" | paste -sd. |
    grep -x '[0-9]*\.[0-9]*\.[0-9]*'
