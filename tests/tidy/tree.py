#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tree.py [ROOT]: the rules of the tree that no compiler knows.

Each rule is one function over the files that git knows, and each finding one line,
`FILE:LINE: what, and what to do`. EXCUSED is the one list of exceptions, each with its reason.
Exit status 1 when there is any finding.
"""

import fnmatch
import os
import re
import subprocess
import sys

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70

# The rooms of the library: everything but programs, tests and the build.
LIBRARY = ("async/", "hvsock/", "vmbus/", "hcs/", "bridge/", "devices/", "uvm/")
# The doors to time, randomness, files, sockets and processes; nobody else may know them.
DOORS = (
    "async/*",
    "hvsock/dial_*",
    "hvsock/guest_mem*",
    "hvsock/stream_fd*",
    "hvsock/vhost_user*",
    "hvsock/virtio_vsock*",
    "hvsock/virtqueue*",
    "hvsock/vsock_*",
    "hvsock/af_*",
    "hcs/qemu/*",
    "hcs/windows/*",
    "cmd/*",
)

# Rule and files: why they may.
EXCUSED = {
    ("library", "async/check.c"): "a failed assertion says what failed before it aborts",
    ("alloc", "async/engine.c"): "the allocator of an engine that was given none is malloc's",
    ("alloc", "async/alloc.c"): "the allocator of an engine that was given none is malloc's",
    ("door", "tests/sim/system_test.c"): "a run that fails must not take the others with it: a process each",
    ("page", "tests/install/deb_test.sh"): "it names pages where the package puts them",
    ("spdx", "build/coverage_tools/none.sh"): "two lines that nobody runs",
}

# Calls, by the rule that forbids them. A name stands alone before its parenthesis, so that
# `alloc->free(` or `uvm__time(` are no hits.
NOT_BEFORE = r"(?<![\w.>])"


def calls(*names):
    return re.compile(NOT_BEFORE + r"(" + "|".join(names) + r")\s*\(")


UNSAFE = calls("sprintf", "vsprintf", "strcpy", "strcat", "stpcpy", "strncpy", "strncat", "gets",
               "strtok", "atoi", "atol", "atoll", "atof", "sscanf", "scanf", "tmpnam", "mktemp",
               "tempnam", "system", "popen", "sleep", "usleep", "nanosleep", "alloca", "asctime",
               "ctime", "gmtime", "localtime", "inet_ntoa", "vfork")
LIBRARY_ONLY = calls("printf", "fprintf", "puts", "putchar", "perror", "vprintf", "exit", "_exit",
                     "quick_exit", "atexit", "getenv", "setenv", "putenv", "unsetenv", "signal",
                     "sigaction", "uv_signal_start", "uv_spawn", "uv_queue_work", "uv_thread_create",
                     "pthread_create", "uv_default_loop", "getaddrinfo", "uv_getaddrinfo", "daemon",
                     "cJSON_InitHooks", "fork", "setlocale")
ALLOCATION = calls("malloc", "calloc", "realloc", "reallocarray", "free", "strdup", "strndup",
                   "asprintf", "vasprintf", "posix_memalign", "aligned_alloc")
OUTSIDE = calls(r"uv_timer_\w+", r"uv_fs_\w+", "uv_now", "uv_hrtime", "uv_update_time", "uv_random",
                "uv_clock_gettime", "uv_gettimeofday", r"uv_(?:pipe|tcp|udp|tty|poll)_\w+",
                "clock_gettime", "clock_nanosleep", "gettimeofday", "time", "rand", "random", "srand",
                "srandom", "drand48", "getrandom", "getentropy", "timerfd_create", "alarm",
                "open", "openat", "open64", "creat", "fopen", "fdopen", "opendir", "stat", "lstat",
                "fstat", "access", "unlink", "rename", "mkdir", "socket", "socketpair", "connect",
                "bind", "accept", "accept4", "listen", "sendmsg", "recvmsg", "send", "recv", "read",
                "write", "readv", "writev", "pipe", "pipe2", "poll", "ppoll", "select", "epoll_wait",
                r"exec[vl]p?e?", "posix_spawn", "posix_spawnp", "clone", "kill", "waitpid", "waitid",
                "memfd_create", "mmap")

# Marks of unfinished work, and paths of one machine. Put together here, so that this file is clean.
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
ONE_MACHINE = re.compile(r"(?<![\w.])/(?:" + "|".join(["work", "farm", "home", "Users"]) + r")/\w|\.\./" + "shared")
# A page by its name, and what points into papers that are not in the tree: numbered sections (but those
# of the virtio specification, which is public) and the names of such papers.
PAGE = re.compile(r"[\w./-]*\w\.m" + r"d\b")
ELSEWHERE = re.compile(r"(?<!virtio 1\.2 )\u00a7|\b(?:DES" + r"IGN|STY" + r"LE|spe" + r"c/)|\btra" + r"ps? \d")
VMM_NAME = re.compile("qemu", re.IGNORECASE)

TEXT = ("*.c", "*.h", "*.py", "*.sh", "*.bzl", "*.bazel", "*.md", "*.txt", "*.yml", "Makefile",
        "WORKSPACE", ".bazelrc", ".clang-*", ".gitignore", ".ci/*")


class Tree:
    def __init__(self, root):
        self.root = root
        self.findings = []
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
        self.files = sorted(f for f in set(listed) if f and os.path.isfile(os.path.join(root, f)))
        self.lines = {}

    def match(self, *patterns):
        return [f for f in self.files
                if any(fnmatch.fnmatch(f, p) or fnmatch.fnmatch(os.path.basename(f), p)
                       for p in patterns)]

    def read(self, file):
        if file not in self.lines:
            with open(os.path.join(self.root, file), encoding="utf-8", errors="replace") as f:
                self.lines[file] = f.read().split("\n")
        return self.lines[file]

    def found(self, rule, file, number, text):
        if not any(rule == r and fnmatch.fnmatch(file, p) for r, p in EXCUSED):
            self.findings.append(f"{file}:{number}: {text} [{rule}]")


def code_lines(lines):
    """The lines without comments and without what is in quotes, so that only code is looked at."""
    text = "\n".join(lines)
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)

    def blank(match):
        kept = "\n" * match.group().count("\n")
        return ('""' if match.group()[0] == '"' else "0" if match.group()[0] == "'" else " ") + kept

    return token.sub(blank, text).split("\n")


def is_door(file):
    return any(fnmatch.fnmatch(file, d) for d in DOORS)


def grep(tree, rule, files, pattern, text, code=True):
    for file in files:
        lines = tree.read(file)
        for number, line in enumerate(code_lines(lines) if code else lines, 1):
            match = pattern.search(line)
            if match:
                tree.found(rule, file, number, text.format(match.group().rstrip("( ")))


def rule_calls(tree):
    sources = tree.match("*.c", "*.h")
    library = [f for f in sources if f.startswith(LIBRARY)]
    grep(tree, "unsafe", sources, UNSAFE, "{} is not used here: take the bounded or async one")
    grep(tree, "library", library, LIBRARY_ONLY,
         "{} in the library: it has no output, environment, signals, threads or exits of its own")
    grep(tree, "alloc", library, ALLOCATION, "{} past the engine's allocator (async/alloc.h)")
    inside = [f for f in library if not is_door(f)] + [f for f in sources if f.startswith("tests/sim/")]
    grep(tree, "door", inside, OUTSIDE, "{} outside the doors that DOORS names: ask async/")


def rule_names(tree):
    inside = [f for f in tree.match("*.c", "*.h")
              if f.startswith(LIBRARY) and not f.startswith("hcs/qemu/")]
    grep(tree, "vmm", inside, VMM_NAME, "the VMM is named in hcs/qemu/ only", code=False)


def rule_words(tree):
    text = [f for f in tree.match(*TEXT) if f != "LICENSE"]
    grep(tree, "unfinished", text, UNFINISHED, "{}: finish it or say why in a sentence", code=False)
    grep(tree, "machine", text, ONE_MACHINE, "a path of one machine", code=False)


def rule_references(tree):
    """A clone stands alone: who follows a reference finds it in the tree or in public."""
    text = [f for f in tree.match(*TEXT) if f != "LICENSE"]
    grep(tree, "elsewhere", text, ELSEWHERE,
         "{}: point to a page of this tree by its heading, or to the public source", code=False)
    pages = ["/" + f for f in tree.match("*.md")]
    for file in text:
        for number, line in enumerate(tree.read(file), 1):
            for name in PAGE.findall(re.sub(r"https?://\S+", "", line)):
                path = "/" + name.lstrip("./")
                if not any(page.endswith(path) for page in pages):
                    tree.found("page", file, number, f"{name} is not in the tree")


def rule_spdx(tree):
    for file in tree.match("*.c", "*.h", "*.S", "*.sh", "*.py"):
        head = tree.read(file)[:2]
        if not any("SPDX-License-Identifier: MIT" in line for line in head):
            tree.found("spdx", file, 1, "no SPDX-License-Identifier: MIT in the first lines")


def rule_shape(tree):
    for file in tree.match("*.c", "*.h", "*.py", "*.sh"):
        lines = tree.read(file)
        if len(lines) - 1 > FILE_LINES_MAX:
            tree.found("file", file, 0, f"{len(lines) - 1} lines: split it at {FILE_LINES_MAX}")
    for file in tree.match("*.c"):
        lines = tree.read(file)
        comment = 0
        while comment < len(lines) and "*/" not in lines[comment]:
            comment += 1
        if not lines[0].startswith("/*") or not 2 <= comment <= 30:
            tree.found("comment", file, 1, "a .c file begins with its purpose, design and dangers, "
                       "in 3 to 20 lines")
    for file in tree.match("*.h"):
        if not any(line.startswith("#pragma once") for line in tree.read(file)):
            tree.found("once", file, 1, "no #pragma once")
    for file in tree.match("*.c", "*.h", "*.py", "*.sh", "*.bzl", "*.bazel"):
        for number, line in enumerate(tree.read(file), 1):
            if line != line.rstrip():
                tree.found("blank", file, number, "blanks at the end of the line")


def rule_functions(tree):
    for file in tree.match("*.c", "*.h"):
        begin = 0
        for number, line in enumerate(code_lines(tree.read(file)), 1):
            if re.match(r"[A-Za-z_].*\(", line) and not line.rstrip().endswith(";"):
                begin = number
            elif line == "}" and begin:
                length = number - begin + 1
                if length > FUNCTION_LINES_MAX:
                    tree.found("function", file, begin,
                               f"{length} lines: a function has at most {FUNCTION_LINES_MAX}")
                begin = 0
            elif re.match(r"\}", line):
                begin = 0


def rule_orphans(tree):
    """Each source is named by its package's BUILD file or macros, or matched by one of its globs."""
    packages = {os.path.dirname(f): f for f in tree.match("BUILD.bazel")}
    for file in tree.match("*.c", "*.h", "*.S"):
        folder = os.path.dirname(file)
        while folder not in packages and folder:
            folder = os.path.dirname(folder)
        if folder not in packages:
            tree.found("orphan", file, 0, "in no Bazel package")
            continue
        name = os.path.relpath(file, folder or ".")
        build = [f for f in tree.match("*.bzl") if os.path.dirname(f) == folder] + [packages[folder]]
        quoted = re.findall(r'"([^"\n]+)"', "\n".join("\n".join(tree.read(f)) for f in build))
        # A pair of brackets around a stem, `"%s.c" % n for n in […]`, names it as well.
        stem = os.path.splitext(name)[0]
        if not any(q == name or q == stem or ("*" in q and fnmatch.fnmatch(name, q)) for q in quoted):
            tree.found("orphan", file, 0, f"no target in {packages[folder]} has it")


RULES = (rule_calls, rule_names, rule_words, rule_references, rule_spdx, rule_shape, rule_functions,
         rule_orphans)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    tree = Tree(os.path.realpath(root))
    for rule in RULES:
        rule(tree)
    for finding in sorted(tree.findings):
        print(finding)
    print(f"tree: {len(tree.files)} files, {len(tree.findings)} findings")
    return 1 if tree.findings else 0


if __name__ == "__main__":
    sys.exit(main())
