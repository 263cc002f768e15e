#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""architecture.py [ROOT]: what the pages name is there.

In PAGES each `path/with/slashes` must exist, each Bazel label too, and each `function()` must be
defined: in the file that begins its table row; else, a plain (static) name in one of the files that
its section names, and one with a prefix anywhere. Macros and `struct x`, `enum x` must occur in the
code. Capitals stand for something in a path (`cmd/uvmctl/VERB.c`). In THREATS each row of a table names
the tests that show it, and those run the cases. Exit status 1 on any finding.
"""

import os
import re
import subprocess
import sys

THREATS = "docs/threat-model.md"
PAGES = ("ARCHITECTURE.md", "docs/PROTOCOL-bridge.md", "docs/LIMITS.md", "docs/STATES.md")
PREFIXED = ("uvm_", "gcs_")
SPAN = re.compile(r"`([^`\n]+)`")
FUNCTION = re.compile(r"^(\w+)\(\)$")
PATH = re.compile(r"^[\w.-]+(/[\w.-]+)*/?$")
LABEL = re.compile(r"//([\w/]+):(\w+)")
WORD = re.compile(r"^(?:(?:struct|enum) )?(UVM_\w+|GCS_\w+|uvm_\w+|gcs_\w+|run_\w+)$")


class Code:
    def __init__(self, root):
        self.root = root
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
        self.text = {}
        for file in listed:
            if file.endswith((".c", ".h")) and os.path.isfile(os.path.join(root, file)):
                with open(os.path.join(root, file), encoding="utf-8") as f:
                    self.text[file] = f.read()
        self.all = "\n".join(self.text.values())

    def defines(self, name, files):
        """Whether one of the files has a line that begins a definition of it."""
        begin = re.compile(rf"^[A-Za-z_][\w \t*]*\b{name}\((?![^{{}};]*\);)", re.MULTILINE)
        return any(begin.search(self.text[f]) for f in files if f in self.text)

    def has_word(self, word):
        return re.search(rf"\b{re.escape(word)}\b", self.all) is not None

    def has_label(self, package, target):
        for name in ("BUILD.bazel", "BUILD"):
            path = os.path.join(self.root, package, name)
            if os.path.isfile(path):
                with open(path, encoding="utf-8") as f:
                    return f'"{target}"' in f.read()
        return False


def sections(lines):
    """Yields the numbered lines of each section; a heading begins one."""
    section, fenced = [], False
    for number, line in enumerate(lines, 1):
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            yield section
            section = []
        section.append((number, line))
    yield section


def is_path(span):
    return PATH.match(span) and ("/" in span or span.endswith((".c", ".h"))) and \
        not re.search(r"[A-Z]{3,}\.|\d+/\d+", span)


def check_section(code, page, section):
    files = {s for _, line in section for s in SPAN.findall(line) if is_path(s)}
    for number, line in section:
        spans = SPAN.findall(line)
        first = spans[0] if line.startswith("| `") and spans and spans[0] in code.text else None
        for span in spans:
            where = f"{page}:{number}: {span}"
            function = FUNCTION.match(span)
            word = WORD.match(span)
            if function and not function[1].startswith("uv_"):
                name = function[1]
                if first and not code.defines(name, [first]):
                    yield f"{where} is not defined in {first}"
                elif not first and name.startswith(PREFIXED) and not code.defines(name, code.text):
                    yield f"{where} is defined nowhere"
                elif not first and not name.startswith(PREFIXED) and not code.defines(name, files):
                    yield f"{where} is defined in no file that its section names"
            elif is_path(span) and not os.path.exists(os.path.join(code.root, span)):
                yield f"{where} does not exist"
            elif word and not code.has_word(word[1]):
                yield f"{where} occurs nowhere"
            for package, target in LABEL.findall(span):
                if not code.has_label(package, target):
                    yield f"{page}:{number}: no target //{package}:{target}"


def check_threats(code, lines):
    """Each row of a table ends with the tests that show it: `file`: `case()`, …; each must be run by it."""
    for number, line in enumerate(lines, 1):
        cells = [c.strip() for c in line.strip("|").split(" | ")]
        if not line.startswith("| ") or cells[0] == "what it tries":
            continue
        file, cases = None, 0
        for span in SPAN.findall(cells[-1]):
            function = FUNCTION.match(span)
            if not function:
                if file is not None and cases == 0:
                    yield f"{THREATS}:{number}: {file} is named without a case"
                file, cases = span, 0
                if file not in code.text:
                    yield f"{THREATS}:{number}: {file} does not exist"
                continue
            cases += 1
            run = rf"\w\(\s*{function[1]}\s*[,)]"  # given to a macro of its table
            if file in code.text and not re.search(run, code.text[file]):
                yield f"{THREATS}:{number}: {file} runs no {span}"
        if cases == 0:
            yield f"{THREATS}:{number}: no test shows that"


def main():
    root = os.path.realpath(sys.argv[1] if len(sys.argv) > 1 else ".")
    code = Code(root)
    findings = []
    for page in PAGES:
        with open(os.path.join(root, page), encoding="utf-8") as f:
            lines = f.read().split("\n")
        for section in sections(lines):
            findings += check_section(code, page, section)
    with open(os.path.join(root, THREATS), encoding="utf-8") as f:
        findings += check_threats(code, f.read().split("\n"))
    print("\n".join(findings + [f"architecture: {len(PAGES) + 1} pages, {len(findings)} findings"]))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
