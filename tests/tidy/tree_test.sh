#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The tree's rules as a test. It looks at the checkout that this build was made from, not at copies
# in a sandbox: git says which files there are.
set -eu
root=$(dirname "$(readlink -f WORKSPACE)")
exec python3 tests/tidy/tree.py "$root"
