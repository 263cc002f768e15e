#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""tools.py OUT PROGRAM...: the tools disk, an ext4 image with Debian's programs that few guests need.

A program is a name, looked up in PATH and the sbin folders. On the disk are

    sbin/NAME                the programs
    lib/                     every library that one of them needs, and the loader
    etc/mke2fs.conf          what mkfs.ext4 goes by

so that a guest without any of Debian runs one by `lib/LOADER --library-path lib sbin/NAME`. The
image is as small as its contents allow, has no journal, and is only ever mounted read-only. No
privileges are needed. What these packages are is packages.txt's to say.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

SEARCH = "/usr/sbin:/sbin:/usr/bin:/bin"
LOADER = "/lib64/ld-linux-x86-64.so.2"
CONFIGS = ("/etc/mke2fs.conf",)
BLOCK = 4096


class Missing(Exception):
    pass


def find(name):
    path = shutil.which(name, path=SEARCH)
    if path is None:
        raise Missing("%s: not installed; `make setup` installs what packages.txt lists" % name)
    return path


def libraries(program):
    """The paths of all libraries that the program needs, as the loader itself finds them."""
    text = subprocess.run([LOADER, "--list", program], check=True, capture_output=True,
                          text=True).stdout
    return re.findall(r"=> (/\S+)", text)


def copy(source, folder, name=None):
    os.makedirs(folder, exist_ok=True)
    target = os.path.join(folder, name or os.path.basename(source))
    shutil.copyfile(os.path.realpath(source), target)
    os.chmod(target, 0o755)
    os.utime(target, (0, 0))


def fill(root, programs):
    copy(LOADER, os.path.join(root, "lib"), os.path.basename(LOADER))
    for name in programs:
        path = find(name)
        copy(path, os.path.join(root, "sbin"), name)
        for library in libraries(path):
            if os.path.basename(library) != os.path.basename(LOADER):
                copy(library, os.path.join(root, "lib"))
    for path in CONFIGS:
        copy(path, os.path.join(root, "etc"))


def size_of(root):
    """Bytes for a file system with these contents: an inode and whole blocks each, and room."""
    total, files = 0, 0
    for folder, _, names in os.walk(root):
        files += 1 + len(names)
        total += sum(-(-os.path.getsize(os.path.join(folder, n)) // BLOCK) * BLOCK for n in names)
    return -(-(total + files * 512 + total // 16 + (1 << 20)) // (1 << 20)) * (1 << 20)


def make_image(root, out):
    env = dict(os.environ, E2FSPROGS_FAKE_TIME="1")
    subprocess.run([find("mkfs.ext4"), "-q", "-F", "-d", root, "-b", str(BLOCK), "-m", "0",
                    "-O", "^has_journal,^resize_inode,^metadata_csum", "-L", "uvm-tools",
                    "-U", "75766d2d-746f-6f6c-732d-6469736b0000",
                    "-E", "hash_seed=75766d2d-746f-6f6c-732d-6469736b0000,root_owner=0:0",
                    out, "%dk" % (size_of(root) // 1024)], check=True, env=env)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as root:
        try:
            os.chmod(root, 0o755)
            fill(root, sys.argv[2:])
            make_image(root, sys.argv[1])
        except (Missing, OSError, subprocess.CalledProcessError) as e:
            sys.exit("tools.py: %s" % e)


if __name__ == "__main__":
    main()
