#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""objects.py BAZEL_BIN: what the compiled library shows of itself.

The library keeps no globals, so its objects hold no writable data; and whatever they offer to
others begins with uvm_, since they are linked into programs with names of their own. None of them
knows of the bugs that are planted for tests (async/plant.h), or of their marks (async/mark.h). Wants the archives of a plain build:
sanitizers add data. Exit status 1 when there is any finding.
"""

import os
import re
import subprocess
import sys

ROOMS = ("async", "hvsock", "vmbus", "hcs", "bridge", "devices", "uvm")
# value, flags (l, g, …; F, O, f, d), section, size, name
SYMBOL = re.compile(r"^[0-9a-f]+ (.{7}) (\S+)\s+[0-9a-f]+ (?:\.hidden )?(\S+)$")
WRITABLE = re.compile(r"^\.(data|bss|tdata|tbss)(?!\.rel\.ro)\b|^\*COM\*$")


def archives(root):
    for room in ROOMS:
        for folder, _, files in os.walk(os.path.join(root, room)):
            for name in sorted(files):
                if name.endswith(".a") and not name.endswith(".pic.a"):
                    yield os.path.join(folder, name)


def look(archive, root):
    """Yields the findings of one archive."""
    table = subprocess.run(["objdump", "-t", archive], stdout=subprocess.PIPE, check=True)
    unit = ""
    for line in table.stdout.decode().split("\n"):
        if ":     file format" in line:
            unit = os.path.relpath(archive, root) + "(" + line.split(":")[0] + ")"
        match = SYMBOL.match(line)
        if not match:
            continue
        flags, section, name = match.groups()
        if WRITABLE.match(section) and "O" in flags or section == "*COM*":
            yield f"{unit}: {name} is a global variable, in {section}"
        if name == "uvm__planted":
            yield f"{unit}: is built with the bugs of async/plant.h"
        if name == "uvm__marks":
            yield f"{unit}: is built with the marks of async/mark.h"
        if flags[0] == "g" and section != "*UND*" and not name.startswith("uvm_"):
            yield f"{unit}: {name} is offered without the prefix uvm_"


def main():
    root = os.path.realpath(sys.argv[1])
    count, findings = 0, []
    for archive in archives(root):
        count += 1
        findings += look(archive, root)
    print("\n".join(findings + [f"objects: {count} archives, {len(findings)} findings"]))
    return 1 if findings or not count else 0


if __name__ == "__main__":
    sys.exit(main())
