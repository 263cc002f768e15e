#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""boot.py [CMD ARG...]: boots a utility VM with out/bin/uvmctl, runs CMD in it, shows the result.

Prints what the command wrote, its exit status, and the times of the boot; exits as uvmctl did.
"""

import json
import shlex
import subprocess
import sys

COMMAND = ["sh", "-c", "uname -srm; echo \"$(nproc) CPU, $(free -m | awk '/Mem/ {print $2}') MiB\""]


def main():
    command = sys.argv[1:] or COMMAND
    print("$ out/bin/uvmctl boot -- " + " ".join(shlex.quote(word) for word in command), flush=True)
    done = subprocess.run(["out/bin/uvmctl", "boot", "--json", "--"] + command,
                          stdout=subprocess.PIPE, check=False)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        # The engine's own failure: it said why on stderr.
        sys.stdout.buffer.write(done.stdout)
        return done.returncode or 1
    sys.stdout.write(result["stdout"])
    sys.stderr.write(result["stderr"])
    times = ", ".join(f"{name} {ms:g} ms" for name, ms in result["times_ms"].items())
    print(f"exit status {result['exit_code']}; accelerator {result['accel']}; {times}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
