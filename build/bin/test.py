#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""test.py [BAZEL OPTION|TARGET]...: runs the tests under the sanitizers and counts their cases.

Without a target it runs all of them. The last line is `N passed, N failed` (and `, N skipped`
where some were): the cases of cmocka programs, and one for any other test. Results that Bazel
kept from an earlier run count like those of this one.

The cases are counted in each test's log rather than in an XML file: cmocka writes one or the
other, and the log is what a person wants to read. A program that died between two cases, ran out
of time, could not be built, or reported failure although no case failed counts as one failed case
more. Exit status: 0 all passed, 1 any failed or nothing ran, 2 Bazel itself could not run.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Not anchored: what a case prints without a line end stands before cmocka's mark.
MARK = re.compile(rb"\[ +(RUN|OK|FAILED|SKIPPED) +\] ")
# Bazel's exit codes that still mean: it worked, and the events say what came of it.
BUILD_FAILED, OK, TESTS_FAILED, NO_TESTS = 1, 0, 3, 4


class Test:
    """One test target: the last attempt of each of its shards and runs."""

    def __init__(self):
        self.attempts = {}

    def add(self, ident, result):
        place = (ident.get("run", 1), ident.get("shard", 1))
        attempt = ident.get("attempt", 1)
        if place not in self.attempts or self.attempts[place][0] <= attempt:
            self.attempts[place] = (attempt, result)

    def count(self):
        """Returns passed, failed, skipped."""
        total = [0, 0, 0]
        for _, result in self.attempts.values():
            for i, n in enumerate(count_result(result)):
                total[i] += n
        return total


def read_log(result):
    for output in result.get("testActionOutput", []):
        if output.get("name") == "test.log":
            path = urllib.parse.unquote(urllib.parse.urlparse(output.get("uri", "")).path)
            try:
                with open(path, "rb") as f:
                    return f.read()
            except OSError:
                return b""
    return b""


def count_result(result):
    run = ok = skipped = 0
    is_open = False
    for mark in MARK.findall(read_log(result)):
        if mark == b"RUN":
            run += 1
        elif is_open:
            # Only the first mark after RUN: at the end cmocka lists failed and skipped ones again.
            ok += mark == b"OK"
            skipped += mark == b"SKIPPED"
        is_open = mark == b"RUN"
    good = result.get("status") == "PASSED"
    if run == 0:
        return (1, 0, 0) if good else (0, 1, 0)
    # A case that was begun and neither ended well nor was skipped has failed.
    failed = run - ok - skipped
    return ok, failed if good else max(failed, 1), skipped


def read_events(path):
    """Yields the events that Bazel wrote."""
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.strip():
                yield json.loads(line)


def run_bazel(args, events):
    command = ["bazel", "test", "--config=asan", "--build_tests_only", "--keep_going"]
    command += ["--build_event_json_file=" + events, "--noshow_loading_progress"]
    if not sys.stdout.isatty():
        command += ["--noshow_progress", "--color=no"]
    return subprocess.run(command + args, cwd=ROOT, check=False).returncode


def collect(events):
    tests, unbuilt = {}, []
    for event in read_events(events):
        ident = event.get("id", {})
        if "testResult" in ident:
            label = ident["testResult"]["label"]
            tests.setdefault(label, Test()).add(ident["testResult"], event.get("testResult", {}))
        elif "targetCompleted" in ident:
            if not event.get("completed", {}).get("success"):
                unbuilt.append(ident["targetCompleted"]["label"])
        elif "unconfiguredLabel" in ident or "pattern" in ident:
            if "aborted" in event:
                unbuilt.append(event["aborted"].get("description", "a target").split("\n")[0])
    return tests, sorted(set(unbuilt) - set(tests))


def main():
    args = sys.argv[1:] or ["//..."]
    if all(a.startswith("-") for a in args):
        args.append("//...")
    with tempfile.TemporaryDirectory() as folder:
        events = os.path.join(folder, "events.json")
        try:
            code = run_bazel(args, events)
            tests, unbuilt = collect(events)
        except OSError as error:
            print(f"test: bazel did not run: {error}", file=sys.stderr)
            return 2
    passed = failed = skipped = 0
    bad = []
    for label in sorted(tests):
        ok, no, skip = tests[label].count()
        passed, failed, skipped = passed + ok, failed + no, skipped + skip
        if no:
            bad.append(f"{label}: {no} failed")
    failed += len(unbuilt)
    bad += [f"{label}: not built" for label in unbuilt]
    if code not in (OK, NO_TESTS) and not failed:
        bad.append(f"bazel ended with {code}")
        failed = 1
    print("\n".join(["", *bad, f"{passed} passed, {failed} failed"])
          + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
