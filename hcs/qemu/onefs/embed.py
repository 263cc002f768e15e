#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""embed.py FILE NAME: FILE's bytes as a C array NAME, on stdout."""
import sys

with open(sys.argv[1], "rb") as f:
    data = f.read()
print("/* SPDX-License-Identifier: MIT\n * Made by embed.py. */\n#pragma once")
print("static const unsigned char %s[%d] = {" % (sys.argv[2], len(data)))
for at in range(0, len(data), 16):
    print("    " + ", ".join("0x%02x" % b for b in data[at:at + 16]) + ",")
print("};")
