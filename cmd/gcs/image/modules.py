#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""modules.py DEB OUTDIR --boot NAME... --late NAME...: the modules that the guest's image carries.

Takes the named modules and all that they depend on (as depmod finds it) out of a kernel package
into OUTDIR/lib/modules/RELEASE, with two lists of paths in the order in which they load:
modules.load, for /init before its first dial, and modules.late, for afterwards. So nothing in the
guest needs to know of dependencies; modules.dep is there for a person with modprobe.

The files lose what only costs the guest's boot: symbols for debugging, and the type information
(.BTF), for whose sake the kernel would parse its own at the first module. Signatures go with them;
this kernel loads modules without one.
"""
import argparse
import os
import shutil
import subprocess
import sys


class BadPackage(Exception):
    pass


def unpack(deb, root):
    os.makedirs(root)
    tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-xC", root, "./lib/modules"], stdin=tar.stdout, check=True)
    tar.stdout.close()
    tar.wait()
    releases = os.listdir(os.path.join(root, "lib/modules"))
    if len(releases) != 1:
        raise BadPackage("it holds %d kernels, not one" % len(releases))
    return releases[0]


def depmod(root, release):
    subprocess.run(["/sbin/depmod", "-b", root, release], check=True)


def name_of(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def lines_of(path):
    with open(path) as f:
        return f.read().splitlines()


class Modules:
    """What depmod says of one kernel: paths by name, and what each path needs first."""

    def __init__(self, folder):
        self.needs = {}
        for line in lines_of(os.path.join(folder, "modules.dep")):
            path, needs = line.split(":")
            self.needs[path] = needs.split()
        self.paths = {name_of(path): path for path in self.needs}
        self.built_in = {name_of(p) for p in lines_of(os.path.join(folder, "modules.builtin"))}

    def load_order(self, names, loaded):
        """The paths that loading `names` adds to those in `loaded`, which it extends."""
        added = []

        def visit(path):
            if path not in loaded:
                loaded.add(path)
                for need in reversed(self.needs[path]):
                    visit(need)
                added.append(path)

        for name in names:
            key = name.replace("-", "_")
            if key in self.paths:
                visit(self.paths[key])
            elif key not in self.built_in:
                raise BadPackage("it has no module %s" % name)
        return added


def copy(source, target, paths):
    for path in paths:
        to = os.path.join(target, path)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        subprocess.run(["objcopy", "--strip-debug", "--remove-section=.BTF",
                        "--remove-section=.comment", os.path.join(source, path), to], check=True)


def write_lines(path, lines):
    with open(path, "w") as f:
        f.writelines(line + "\n" for line in lines)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("deb")
    args.add_argument("out")
    args.add_argument("--boot", nargs="*", default=[])
    args.add_argument("--late", nargs="*", default=[])
    args = args.parse_args()
    root = args.out + ".all"
    try:
        release = unpack(args.deb, root)
        depmod(root, release)
        source = os.path.join(root, "lib/modules", release)
        target = os.path.join(args.out, "lib/modules", release)
        modules, loaded = Modules(source), set()
        lists = {name: modules.load_order(names, loaded)
                 for name, names in (("modules.load", args.boot), ("modules.late", args.late))}
        os.makedirs(target, exist_ok=True)
        for name, paths in lists.items():
            copy(source, target, paths)
            write_lines(os.path.join(target, name), paths)
        keep = {"kernel", "modules.dep", *lists}
        for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            shutil.copy(os.path.join(source, name), target)
        depmod(args.out, release)
        for name in set(os.listdir(target)) - keep:
            os.remove(os.path.join(target, name))
    except (BadPackage, subprocess.CalledProcessError) as e:
        sys.exit("%s: %s" % (args.deb, e))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
