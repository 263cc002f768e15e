#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""vmlinux.py DEB OUT: the kernel of a Debian package as the ELF file that QEMU boots by PVH.

A bzImage holds the kernel proper as a compressed payload; unpacking it once here spares every boot
the kernel's own decompressor, which under emulation is seconds. The header's fields are those of
the x86 boot protocol (Documentation/arch/x86/boot.rst): setup_sects at 0x1f1, "HdrS" at 0x202,
payload_offset at 0x248, payload_length at 0x24c. The payload ends with its unpacked size. What
comes out must be a 64-bit x86 ELF with the PVH entry note (Xen note type 18), or the boot would
fail much later and say less.
"""
import struct
import subprocess
import sys

XEN_ELFNOTE_PHYS32_ENTRY = 18
PT_NOTE = 4
EM_X86_64 = 62


class BadKernel(Exception):
    pass


def kernel_of_package(deb):
    tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    image = subprocess.run(
        ["tar", "-xO", "--wildcards", "./boot/vmlinuz-*"],
        stdin=tar.stdout, stdout=subprocess.PIPE, check=True).stdout
    tar.stdout.close()
    tar.wait()
    if not image:
        raise BadKernel("no boot/vmlinuz-* in it")
    return image


def payload_of_bzimage(image):
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        raise BadKernel("its vmlinuz is no bzImage")
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    if length < 8 or start + length > len(image):
        raise BadKernel("the payload of its bzImage lies outside of the file")
    return image[start:start + length]


def unpack(payload):
    tools = {b"\xfd7zXZ\0": ["xz", "-dc"], b"\x02\x21\x4c\x18": ["lz4", "-dc"],
             b"\x28\xb5\x2f\xfd": ["zstd", "-dc"]}
    size = struct.unpack("<I", payload[-4:])[0]
    for magic, tool in tools.items():
        if payload.startswith(magic):
            elf = subprocess.run(tool, input=payload[:-4], stdout=subprocess.PIPE,
                                 check=True).stdout
            if len(elf) != size:
                raise BadKernel("its payload unpacks to %d bytes, not %d" % (len(elf), size))
            return elf
    raise BadKernel("its payload has the unknown magic %s" % payload[:6].hex())


def notes(elf):
    """(name, type) of each note in the file's PT_NOTE segments."""
    phoff, = struct.unpack_from("<Q", elf, 32)
    phentsize, phnum = struct.unpack_from("<HH", elf, 54)
    for i in range(phnum):
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", elf, phoff + i * phentsize)
        at, end = offset, offset + size
        while kind == PT_NOTE and at + 12 <= end:
            name_size, desc_size, note = struct.unpack_from("<III", elf, at)
            yield elf[at + 12:at + 12 + name_size].rstrip(b"\0"), note
            at += 12 + (name_size + 3 & ~3) + (desc_size + 3 & ~3)


def check(elf):
    if elf[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", elf, 18)[0] != EM_X86_64:
        raise BadKernel("its payload is no 64-bit x86 ELF file")
    if (b"Xen", XEN_ELFNOTE_PHYS32_ENTRY) not in notes(elf):
        raise BadKernel("it has no PVH entry note (CONFIG_PVH)")


def main(deb, out):
    try:
        elf = unpack(payload_of_bzimage(kernel_of_package(deb)))
        check(elf)
    except (BadKernel, subprocess.CalledProcessError, struct.error) as e:
        sys.exit("%s: %s" % (deb, e))
    with open(out, "wb") as f:
        f.write(elf)


if __name__ == "__main__":
    main(*sys.argv[1:])
