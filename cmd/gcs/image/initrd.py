#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""initrd.py LIST OUT [NAME=PATH...]: an archive of a guest's files, made from a list.

OUT is a cpio archive for the kernel, or, where its name ends in .tar.gz, a layer for whoever makes
images: the same entries in a compressed tar.

One entry a line, `#` begins a comment:

    dir   PATH [MODE]             an empty folder (parents come by themselves, mode 755)
    node  PATH MODE MAJOR MINOR   a character device
    link  PATH TARGET             a symbolic link
    links FOLDER TARGET NAME...   many of them
    file  PATH MODE NAME          the file that the command line calls NAME; a program is stripped
    text  PATH MODE TEXT          a file of one line (\\n in it begins another)
    tree  PATH NAME               everything below the folder NAME
    include NAME                  the entries of the list NAME

The formats are newc (Documentation/driver-api/early-userspace/buffer-format.rst) and POSIX's ustar.
The bytes depend on the list and the contents only: entries are sorted, owned by root, dated 1970, and
numbered in their order. No privileges are needed, for the archive is written, not copied from a file system.
"""
import gzip
import io
import os
import stat
import struct
import subprocess
import sys
import tarfile

ET_EXEC, ET_DYN, PT_INTERP = 2, 3, 3


class BadList(Exception):
    pass


class Entry:
    def __init__(self, mode, data=b"", device=(0, 0)):
        self.mode, self.data, self.device = mode, data, device


class Archive:
    def __init__(self):
        self.entries = {}

    def add(self, path, entry):
        path = path.strip("/")
        if path in self.entries:
            old = self.entries[path]
            if not (stat.S_ISDIR(old.mode) and stat.S_ISDIR(entry.mode)):
                raise BadList("/%s is there twice" % path)
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.add(parent, Entry(stat.S_IFDIR | 0o755))
        elif parent and not stat.S_ISDIR(self.entries[parent].mode):
            raise BadList("/%s lies below /%s, which is no folder" % (path, parent))
        self.entries[path] = entry

    def bytes(self):
        """Sorted, so a folder stands before what is in it."""
        records = [record(path, e, i + 1) for i, (path, e) in enumerate(sorted(self.entries.items()))]
        records.append(record("TRAILER!!!", Entry(0), 0))
        return b"".join(records)

    def layer(self):
        """The same entries as a compressed tar."""
        out = io.BytesIO()
        with gzip.GzipFile("", "wb", 9, out, 0) as packed:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                for path, e in sorted(self.entries.items()):
                    tar.addfile(member(path, e), io.BytesIO(e.data))
        return out.getvalue()


def member(path, entry):
    info = tarfile.TarInfo(path)
    info.mode = stat.S_IMODE(entry.mode)
    if stat.S_ISDIR(entry.mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(entry.mode):
        info.type, info.linkname = tarfile.SYMTYPE, entry.data.decode()
    elif stat.S_ISCHR(entry.mode):
        info.type = tarfile.CHRTYPE
        info.devmajor, info.devminor = entry.device
    else:
        info.size = len(entry.data)
    return info


def record(path, entry, inode):
    name = path.encode() + b"\0"
    fields = (inode, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % f for f in fields) + name
    return pad(head) + pad(entry.data)


def pad(data):
    return data + b"\0" * (-len(data) % 4)


def is_program(data):
    """Whether these are an ELF program's bytes; one that needs libraries has no place here."""
    if data[:4] != b"\x7fELF" or struct.unpack_from("<H", data, 16)[0] not in (ET_EXEC, ET_DYN):
        return False
    phoff, = struct.unpack_from("<Q", data, 32)
    phentsize, phnum = struct.unpack_from("<HH", data, 54)
    for i in range(phnum):
        if struct.unpack_from("<I", data, phoff + i * phentsize)[0] == PT_INTERP:
            raise BadList("a program that is not static")
    return True


class Builder:
    """An archive in the making, and the files that its list calls by name."""

    def __init__(self, files, scratch):
        self.archive, self.files, self.scratch = Archive(), files, scratch

    def content(self, path):
        """A file's bytes, without its symbols if it is a program."""
        with open(path, "rb") as f:
            data = f.read()
        if is_program(data):
            subprocess.run(["strip", "-o", self.scratch, path], check=True)
            with open(self.scratch, "rb") as f:
                data = f.read()
            os.remove(self.scratch)
        return data

    def tree(self, at, folder):
        for base, _, names in os.walk(folder, followlinks=True):
            for name in names:
                path = os.path.join(base, name)
                with open(path, "rb") as f:
                    entry = Entry(stat.S_IFREG | 0o644, f.read())
                self.archive.add(at + "/" + os.path.relpath(path, folder), entry)

    def read(self, list_path):
        with open(list_path) as f:
            for number, line in enumerate(f, 1):
                words = line.split("#")[0].split()
                try:
                    if words:
                        self.line(*words)
                except (BadList, KeyError, TypeError, ValueError) as e:
                    sys.exit("%s:%d: %s" % (list_path, number, e))

    def line(self, kind, path, *args):
        add = self.archive.add
        if kind == "include" and not args:
            self.read(self.files[path])
        elif kind == "dir" and len(args) <= 1:
            add(path, Entry(stat.S_IFDIR | int(args[0] if args else "755", 8)))
        elif kind == "node" and len(args) == 3:
            device = (int(args[1]), int(args[2]))
            add(path, Entry(stat.S_IFCHR | int(args[0], 8), device=device))
        elif kind == "link" and len(args) == 1:
            add(path, Entry(stat.S_IFLNK | 0o777, args[0].encode()))
        elif kind == "links" and len(args) >= 2:
            for name in args[1:]:
                self.line("link", path + "/" + name, args[0])
        elif kind == "file" and len(args) == 2:
            data = self.content(self.files[args[1]])
            add(path, Entry(stat.S_IFREG | int(args[0], 8), data))
        elif kind == "text" and len(args) >= 2:
            text = " ".join(args[1:]).replace("\\n", "\n") + "\n"
            add(path, Entry(stat.S_IFREG | int(args[0], 8), text.encode()))
        elif kind == "tree" and len(args) == 1:
            self.tree(path, self.files[args[0]])
        else:
            raise BadList("what is `%s`?" % " ".join((kind, path) + args))


def main(list_path, out, *named):
    builder = Builder(dict(n.split("=", 1) for n in named), out + ".scratch")
    builder.read(list_path)
    with open(out, "wb") as f:
        archive = builder.archive
        f.write(archive.layer() if out.endswith(".tar.gz") else archive.bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
