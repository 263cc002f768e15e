#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""limits.py [--write] [ROOT]: docs/LIMITS.md against the limits that the headers name.

A limit is a macro with a number whose name says so (SUFFIX), in a header of a room or a program;
all of async/limits.h is one. What it bounds is the comment behind it, or NOTES here where the name
and its place leave no room for one; one of the two must be there. Everything below MARK in the
page is made by --write; without it the page is compared, and exit status 1 says that it differs.
"""

import os
import re
import subprocess
import sys

PAGE = "docs/LIMITS.md"
MARK = "<!-- What follows is made from the headers: tests/tidy/limits.py --write -->"
FIRST = "async/limits.h"
PLACES = ("async/", "hvsock/", "vmbus/", "hcs/", "bridge/", "uvm/", "cmd/")
SUFFIX = re.compile(r"_(MS|MAX|MIN|BYTES|RING)(_|$)")
# Sizes of formats and of texts of our own making: nothing can reach them.
FORMATS = re.compile(r"(_HEADER|_HR_TEXT|_LAUNCH_RECORD|_VHOST_CONFIG|_EXIT_TEXT|_CREDIT_LOW)_BYTES$")
DEFINE = re.compile(r"^#define[ \t]+(\w+)[ \t]+(?:\\\n[ \t]*)?(\(?\d[^/\n\"]*?)[ \t]*(?:/\*(.*?)\*/)?[ \t]*$",
                    re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"^\(?(\d+)u?(?:l|ll)?(?: << (\d+))?\)?$")

NOTES = {
    "UVM__JSON_DEPTH_MAX": "nested objects and lists in JSON from outside",
    "UVM__JSON_NODES_MAX": "values in one text of JSON from outside",
    "UVM__JSON_NODES_MIN": "... that any text may have, however dense it is",
    "UVM__JSON_BYTES_PER_NODE": "... and beyond them, of text for each further value",
    "UVM__DOCUMENT_BYTES_MAX": "a ComputeSystem document",
    "UVM__QMP_LINE_BYTES_MAX": "one message of the VMM's monitor",
    "UVM__GUEST_STACKS_BYTES_MAX": "the text of DumpStacks; it is cut on a line end",
    "UVM__GUEST_REGIONS_MAX": "memory regions that a front end may describe",
    "UVM__VHOST_PAYLOAD_MAX": "payload of one vhost-user message",
    "UVM__VHOST_FDS_MAX": "descriptors with one vhost-user message",
    "UVM__VSOCK_PAYLOAD_MAX": "payload of one vsock packet",
    "UVM__DOC_SCSI_CONTROLLERS_MAX": "SCSI controllers in a document",
    "UVM__DOC_SCSI_LUNS_MAX": "disks on one of them",
    "UVM__DOC_VPMEM_DEVICES_MAX": "virtual PMem devices in a document",
    "UVM__DOC_MEMORY_MB_MAX": "memory in a document",
    "UVM__DOC_PROCESSORS_MAX": "processors in a document",
    "UVM__QEMU_PROCESSORS_MAX": "processors of a VM on this VMM",
    "UVM__QEMU_VPMEM_GIB_MAX": "virtual PMem, all devices together",
    "UVM__QEMU_ARGS_MAX": "words of the VMM's command line",
    "UVM__QEMU_PATH_BYTES": "path of the VMM's program",
    "UVM__QEMU_NAME_BYTES": "name of a VM or descriptor, as the service keeps it",
    "UVM__VMM_UIDS_MAX": "uids that VMMs of one host share",
    "UVM__ACCEL_REASON_BYTES": "why there is (no) hardware acceleration, for people",
    "UVM__ENTROPY_BYTES": "random bytes fed to a guest that boots",
    "UVM__LOG_LINE_BYTES": "a line of the agent's log; longer ones are cut",
    "UVM_VM_NAME_BYTES_MAX": "name of a VM",
    "UVM_VM_CPUS_MAX": "processors that may be asked for",
    "UVM_VM_MEMORY_MB_MIN": "memory that may be asked for, at least",
    "UVM_VM_MEMORY_MB_MAX": "memory that may be asked for, at most",
    "UVM_VM_ANNOTATIONS_MAX": "annotations of a VM",
    "GCS_LOG_QUEUE_BYTES": "of the agent's log that its reader has not taken; then records are dropped",
    "GCS_SYNC_MS": "writing back file systems before the power goes off",
    "PATH_BYTES": "a path that a program looks up",
}


def headers(root):
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "*.h"], stdout=subprocess.PIPE,
                            check=True).stdout.decode().split("\0")
    found = sorted(f for f in listed if f.startswith(PLACES) and os.path.isfile(os.path.join(root, f)))
    return [FIRST] + [f for f in found if f != FIRST]


def limits(root, header):
    """Yields name, number and comment of each limit of a header."""
    with open(os.path.join(root, header), encoding="utf-8") as f:
        text = f.read()
    for name, expression, comment in DEFINE.findall(text):
        match = NUMBER.match(expression.strip())
        if match and (header == FIRST or SUFFIX.search(name)) and not FORMATS.search(name):
            words = " ".join(re.sub(r"\n[ \t]*\*", " ", comment or "").split())
            yield name, int(match[1]) << int(match[2] or 0), words


def in_units(number, steps, units):
    unit = 0
    while unit + 1 < len(units) and number >= steps[unit] and number % steps[unit] == 0:
        number //= steps[unit]
        unit += 1
    return f"{number} {units[unit]}"


def shown(name, number):
    if re.search(r"_MS(_|$)", name):
        return in_units(number, (1000, 60), ("ms", "s", "min"))
    if "_BYTES" in name or re.search(r"_(PAYLOAD|WINDOW)_(MAX|MIN)$", name):
        return in_units(number, (1024, 1024), ("bytes", "KiB", "MiB"))
    if "_MB_" in name:
        return in_units(number, (1024, 1024), ("MiB", "GiB", "TiB"))
    return f"{number} GiB" if "_GIB_" in name else str(number)


def make(root):
    """Returns the made part of the page, and what is wrong with the sources."""
    lines, wrong = [], []
    for header in headers(root):
        rows = list(limits(root, header))
        if not rows:
            continue
        lines += ["", f"## {header}", "", "| limit | value | of what |", "|---|---|---|"]
        for name, number, comment in rows:
            what = comment or NOTES.get(name, "")
            if not what:
                wrong.append(f"{header}: {name} says nowhere what it bounds (a comment, or NOTES)")
            lines.append(f"| `{name}` | {shown(name, number)} | {what.replace('|', '/')} |")
    return "\n".join(lines) + "\n", wrong


def main():
    args = [a for a in sys.argv[1:] if a != "--write"]
    root = os.path.realpath(args[0] if args else ".")
    path = os.path.join(root, PAGE)
    with open(path, encoding="utf-8") as f:
        page = f.read()
    head = page.split(MARK)[0] + MARK + "\n"
    made, wrong = make(root)
    print("\n".join(wrong), end="\n" if wrong else "")
    if "--write" in sys.argv:
        with open(path, "w", encoding="utf-8") as f:
            f.write(head + made)
    elif page != head + made:
        wrong.append(PAGE)
        there, wanted = page.split("\n"), (head + made).split("\n")
        for line in [w for w in wanted if w not in there] + ["no longer: " + t for t in there if t not in wanted]:
            print(f"{PAGE}: {line}")
        print(f"{PAGE} is not what the headers say: tests/tidy/limits.py --write")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
