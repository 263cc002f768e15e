#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""devices.py [--write] [ROOT]: the state diagrams and tables of docs/devices.md against the code's.

A kind is a row of the control socket's table (uvm/control_devices.c). What it asks of the host and of
the guest is what devices/KIND*.c asks; its states and what each end of a call leads to are the tables
that devices/single.c or devices/scsi_turn.c walk. Everything below MARK in the page is made by --write;
without it the page is compared, and exit status 1 says that it differs.
"""

import glob
import os
import re
import sys

PAGE = "docs/devices.md"
MARK = "<!-- What follows is made from the code's tables: tests/tidy/devices.py --write -->"
ENDS = ("done", "refused", "the host did not say", "connection lost")
# Which X-macros a kind's life is: (what it is of, header, its states, its calls).
SINGLE = [("", "devices/single_int.h", "UVM__SINGLE_STATES", "UVM__SINGLE_CALLS")]
SCSI = [("the disk", "devices/scsi_int.h", "UVM__SCSI_STATES", "UVM__SCSI_CALLS"),
        ("a mount of it", "devices/scsi_int.h", "UVM__SCSI_MOUNT_STATES", "UVM__SCSI_MOUNT_CALLS")]


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def rows(text, macro):
    """The rows X(...) of a macro, each a list of its arguments without quotes."""
    body = re.search(r"#define " + macro + r"\(X\)((?:.*\\\n)*.*\n)", text)[1]
    joined = re.sub(r'"\s*\\?\s*"', "", body.replace("\\\n", " "))
    found = re.findall(r'X\(((?:[^()"]|"[^"]*")*)\)', joined)
    return [[a.strip('"') for a in re.findall(r'"[^"]*"|[^,\s"]+', r)] for r in found]


def kinds(root):
    """Name and settings of each kind, in the order of the control socket's table."""
    text = read(root, "uvm/control_devices.c")
    table = text[text.index("static const struct attach_kind kinds[]"):]
    table = table[:table.index("};")]
    for name, keys in re.findall(r'\{\s*"(\w+)",\s*\(const char \*const\[\]\)\{(.*?)\}', table, re.DOTALL):
        yield name, re.findall(r'"(\w+)"', keys)


def sources(root, kind):
    paths = sorted(glob.glob(os.path.join(root, "devices", kind + "*.c")))
    return "".join(read(root, os.path.relpath(p, root)) for p in paths)


def patterns(root):
    table = re.findall(r"\[(UVM__MODIFY_\w+)\] = \{\s*((?:\"[^\"]*\"\s*)+)", read(root, "hcs/modify_doc.c"))
    names = {"%g": "<guid>", "%n": "<number>", "%o": "<offset>"}
    return {name: re.sub(r"%[gno]", lambda m: names[m[0]], "".join(re.findall(r'"([^"]*)"', text)))
            for name, text in table}


def asks(root, kind):
    """ResourcePaths and guest resources that a kind's manager uses."""
    text, of = sources(root, kind), patterns(root)
    used = re.findall(r"UVM__MODIFY_\w+|uvm__modify_\w+_path", text)
    used = ["UVM__MODIFY_SCSI" if u == "uvm__modify_scsi_path" else u for u in used]
    host = [of[u] for u in dict.fromkeys(used) if u in of]
    guest = dict.fromkeys(re.findall(r'uvm__guest_request\(\s*"(\w+)"', text))
    return host, list(guest)


def life(states, calls, guest):
    """Diagram and table of one machine."""
    say = {name: name.lower() for name, _ in states}
    out = ["", "```mermaid", "stateDiagram-v2", f"    [*] --> {say[states[0][0]]}"]
    before = {}  # a call begins where a refusal leads back to
    for call in calls:
        before.setdefault(call[3], []).append(call)
    for name, text in states:
        out.append(f"    {say[name]}: {name.lower()} ({text.split(':')[0]})")
    for name, _ in states:
        asked = before.get(name, [])
        if not asked and name == "MOUNTED":  # the guest is not asked to let go
            asked = [c for c in calls if c[0] == "REMOVING"]
        for call in asked:
            out.append(f"    {say[name]} --> {say[call[0]]}: {label(call[1], guest)}")
    for call in calls:
        ends = {}
        for end, to in zip(ENDS, call[2:]):
            ends.setdefault(to, []).append(end)
        for to, names in ends.items():
            out.append(f"    {say[call[0]]} --> {say[to]}: {', '.join(names)}")
    if "UNKNOWN" in say:
        out += [f"    unknown --> {say[states[0][0]]}: RELEASED",
                f"    unknown --> {say[calls[-1][3]]}: detach again"]
    out += ["```", "", "| while | what is asked | " + " | ".join(ENDS) + " |", "|---|---|---|---|---|---|"]
    for call in calls:
        out.append("| " + " | ".join([say[call[0]], label(call[1], guest)] + [say[c] for c in call[2:]]) + " |")
    return out


def label(call, guest):
    if call.startswith("guest") and " of " not in call and guest:
        return f"{call} of {' or '.join(guest)}"
    return call


def make(root):
    lines = []
    for kind, settings in kinds(root):
        text = sources(root, kind)
        machines = SINGLE if "uvm__single_turn" in text else SCSI
        host, guest = asks(root, kind)
        lines += ["", f"### {kind}", "", "| | |", "|---|---|",
                  "| asked of the host | " + "<br>".join(f"`{h}`" for h in host) + " |",
                  "| asked of the guest | " + (", ".join(f"`{g}`" for g in guest) or "nothing") + " |",
                  "| settings of an attach | " + ", ".join(f"`{s}`" for s in settings) + " |"]
        for of, header, states, calls in machines:
            if of:
                lines += ["", f"{of[0].upper()}{of[1:]}:"]
            head = read(root, header)
            states, calls = rows(head, states), rows(head, calls)
            if machines is SINGLE and "single.unmount" not in text:  # the guest is not asked to let go
                states, calls = ([r for r in t if r[0] != "UNMOUNTING"] for t in (states, calls))
            lines += life(states, calls, guest)
    return "\n".join(lines) + "\n"


def main():
    args = [a for a in sys.argv[1:] if a != "--write"]
    root = os.path.realpath(args[0] if args else ".")
    page, made = read(root, PAGE), make(root)
    if MARK not in page:
        print(f"{PAGE} has no line {MARK}")
        return 1
    head = page.split(MARK)[0] + MARK + "\n"
    if "--write" in sys.argv:
        with open(os.path.join(root, PAGE), "w", encoding="utf-8") as f:
            f.write(head + made)
        return 0
    if page == head + made:
        return 0
    there, wanted = page.split("\n"), (head + made).split("\n")
    for line in [w for w in wanted if w not in there] + ["no longer: " + t for t in there if t not in wanted]:
        print(f"{PAGE}: {line}")
    print(f"{PAGE} is not what the tables say: tests/tidy/devices.py --write")
    return 1


if __name__ == "__main__":
    sys.exit(main())
