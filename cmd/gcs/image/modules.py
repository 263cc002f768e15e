#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""modules.py DEB OUTDIR --boot NAME... [--list LIST NAME...]...: the modules in the guest's image.

Takes the named modules and all that they depend on (as depmod finds it) out of a kernel package
into OUTDIR/lib/modules/RELEASE, with lists of paths in the order in which they load: modules.load,
for /init before its first dial, and modules.LIST for what is loaded when it is needed, each without
what modules.load has. A NAME may have parameters behind it, "NAME PARAMETER=VALUE". So nothing in the guest needs to know of dependencies; modules.dep is there
for a person with modprobe.

The files lose what only costs the guest's boot: symbols for debugging, the tables of the unwinder
(.orc_*), a quarter of a file, which the kernel would sort (a trace through a module is a guess
then, as the kernel says itself), and the type information (.BTF), for whose sake the kernel would
parse its own at the first module. Signatures go with them;
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
        self.parameters = {}
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
            name, _, parameters = name.partition(" ")
            key = name.replace("-", "_")
            if key in self.paths:
                visit(self.paths[key])
                if parameters:
                    self.parameters[self.paths[key]] = parameters
            elif key not in self.built_in:
                raise BadPackage("it has no module %s" % name)
        return added

    def line(self, path):
        return " ".join((path, self.parameters.get(path, ""))).rstrip()


def copy(source, target, paths):
    for path in paths:
        to = os.path.join(target, path)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        subprocess.run(["objcopy", "--strip-debug", "--remove-section=.BTF",
                        "--remove-section=.comment", "--remove-section=.orc_*",
                        "--remove-section=.rela.orc_*", os.path.join(source, path), to], check=True)


def write_lines(path, lines):
    with open(path, "w") as f:
        f.writelines(line + "\n" for line in lines)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("deb")
    args.add_argument("out")
    args.add_argument("--boot", nargs="*", default=[])
    args.add_argument("--list", nargs="+", action="append", default=[], metavar="NAME")
    args = args.parse_args()
    root = args.out + ".all"
    try:
        release = unpack(args.deb, root)
        depmod(root, release)
        source = os.path.join(root, "lib/modules", release)
        target = os.path.join(args.out, "lib/modules", release)
        modules, loaded = Modules(source), set()
        lists = {"modules.load": modules.load_order(args.boot, loaded)}
        for name, *names in args.list:
            lists["modules." + name] = modules.load_order(names, set(loaded))
        os.makedirs(target, exist_ok=True)
        copy(source, target, sorted(set().union(*lists.values())))
        for name, paths in lists.items():
            write_lines(os.path.join(target, name), map(modules.line, paths))
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
