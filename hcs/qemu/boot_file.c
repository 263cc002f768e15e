/* SPDX-License-Identifier: MIT
 * boot_file.c — checks of the kernel and the initrd, before a VMM gets them.
 *
 * A bad file would otherwise show as a VMM that ends with a terse line, or as a guest that hangs in
 * silence. The kernel must be an ELF with the note of the PVH entry (XEN_ELFNOTE_PHYS32_ENTRY), by which QEMU
 * starts it without a boot loader. The files are input from outside: every offset is checked against the
 * file's size before it is read. They are only read here, in a few small pieces.
 */
#include "hcs/qemu/boot_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "async/cleanup.h"

#define PVH_NOTE_NAME "Xen"
#define PVH_NOTE_TYPE 18u
#define PROGRAM_HEADERS_MAX 128u
#define NOTES_BYTES_MAX 65536u /* of a segment, looked through for the PVH entry */
#define COPY_STEP_BYTES (4u << 20)

/* 0, or -1 when the file has fewer bytes there. */
static int read_at(int fd, void *buf, size_t bytes, uint64_t offset) {
    size_t got = 0;

    while (got < bytes) {
        ssize_t n = pread(fd, (char *)buf + got, bytes - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -1;
        }
        got += (size_t)n;
    }
    return 0;
}

static int open_file(const char *what, const char *remedy, const char *path,
                     struct uvm__boot_file *ret, struct uvm__fail *f) {
    /* Non-blocking: opening a FIFO must not wait for its other end. */
    UVM_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0) {
        int err = errno;
        return uvm__fail(f, err == ENOENT ? UVM_E_NOTFOUND : UVM_E_IO, err, "%s %.120s: %s; %s",
                         what, path, strerror(err), remedy);
    }
    if (fstat(fd, &st) < 0) {
        return uvm__fail(f, UVM_E_IO, errno, "%s %.120s: %s", what, path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s %.120s: not a regular file; %s", what, path,
                         remedy);
    }
    if (st.st_size == 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "%s %.120s: is empty; %s", what, path, remedy);
    }
    ret->bytes = (uint64_t)st.st_size;
    ret->world_readable = (st.st_mode & S_IROTH) != 0;
    ret->fd = UVM_TAKE_FD(fd);
    return 0;
}

void uvm__boot_file_close(struct uvm__boot_file *file) {
    uvm__close_fd(&file->fd);
}

/* ---- kernel ------------------------------------------------------------------------------- */

#define KERNEL_REMEDY "give an uncompressed x86-64 kernel (vmlinux)"

/* Looks for the PVH note in a segment that lies within the file. Name and value are padded to four. */
static int check_notes(int fd, const Elf64_Phdr *ph, bool *ret_pvh) {
    uint64_t bytes = ph->p_filesz < NOTES_BYTES_MAX ? ph->p_filesz : NOTES_BYTES_MAX;
    uint64_t at = 0;

    while (!*ret_pvh && bytes - at >= sizeof(Elf64_Nhdr)) {
        char name[sizeof PVH_NOTE_NAME] = "";
        Elf64_Nhdr n;
        if (read_at(fd, &n, sizeof n, ph->p_offset + at) < 0) {
            return -1;
        }
        at += sizeof n;
        uint64_t name_bytes = ((uint64_t)n.n_namesz + 3) & ~3ull;
        uint64_t value_bytes = ((uint64_t)n.n_descsz + 3) & ~3ull;
        if (name_bytes > bytes - at || value_bytes > bytes - at - name_bytes) {
            return 0;
        }
        if (n.n_type == PVH_NOTE_TYPE && n.n_namesz == sizeof name && n.n_descsz >= 4) {
            if (read_at(fd, name, sizeof name, ph->p_offset + at) < 0) {
                return -1;
            }
            *ret_pvh = memcmp(name, PVH_NOTE_NAME, sizeof name) == 0;
        }
        at += name_bytes + value_bytes;
    }
    return 0;
}

/* A file that is no ELF: say what it is, where that helps. */
static int not_elf(const struct uvm__boot_file *file, const char *path, struct uvm__fail *f) {
    char magic[4];

    if (read_at(file->fd, magic, sizeof magic, 0x202) == 0 && memcmp(magic, "HdrS", 4) == 0) {
        return uvm__fail(
            f, UVM_E_INVAL, 0,
            "kernel %.120s: is a compressed bzImage; extract its vmlinux and give that", path);
    }
    return uvm__fail(f, UVM_E_INVAL, 0, "kernel %.120s: not an ELF file; " KERNEL_REMEDY, path);
}

static int check_segments(struct uvm__boot_file *file, const Elf64_Ehdr *eh, const char *path,
                          struct uvm__fail *f) {
    bool pvh = false;

    for (unsigned i = 0; i < eh->e_phnum; i++) {
        Elf64_Phdr ph;
        uint64_t offset = eh->e_phoff + (uint64_t)i * sizeof ph;
        bool cut = offset < eh->e_phoff || offset > file->bytes ||
                   read_at(file->fd, &ph, sizeof ph, offset) < 0;
        cut = cut || ph.p_offset > file->bytes || ph.p_filesz > file->bytes - ph.p_offset;
        if (!cut && ph.p_type == PT_NOTE) {
            cut = check_notes(file->fd, &ph, &pvh) < 0;
        }
        if (cut) {
            return uvm__fail(f, UVM_E_INVAL, 0,
                             "kernel %.120s: is cut off at %llu bytes (segment %u lies behind); "
                             "copy or build it again",
                             path, (unsigned long long)file->bytes, i);
        }
        if (ph.p_type == PT_LOAD) {
            if (ph.p_memsz < ph.p_filesz || ph.p_paddr > UINT32_MAX || ph.p_memsz > UINT32_MAX) {
                return uvm__fail(
                    f, UVM_E_INVAL, 0,
                    "kernel %.120s: segment %u does not fit below 4 GiB; " KERNEL_REMEDY, path, i);
            }
            uint64_t end = ph.p_paddr + ph.p_memsz;
            file->memory_bytes = end > file->memory_bytes ? end : file->memory_bytes;
        }
    }
    if (file->memory_bytes == 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "kernel %.120s: loads nothing; " KERNEL_REMEDY, path);
    }
    return pvh ? 0
               : uvm__fail(f, UVM_E_INVAL, 0,
                           "kernel %.120s: has no PVH entry; give one built with CONFIG_PVH=y",
                           path);
}

int uvm__boot_file_kernel(const char *path, struct uvm__boot_file *ret, struct uvm__fail *f) {
    struct uvm__boot_file file = UVM__BOOT_FILE_INIT;
    Elf64_Ehdr eh;
    int rc = open_file("kernel", KERNEL_REMEDY, path, &file, f);

    if (rc < 0) {
        return rc;
    }
    if (read_at(file.fd, &eh, sizeof eh, 0) < 0 || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0) {
        rc = not_elf(&file, path, f);
    } else if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB ||
               eh.e_machine != EM_X86_64) {
        rc = uvm__fail(
            f, UVM_E_INVAL, 0,
            "kernel %.120s: an ELF file of another machine (class %u, machine %u); " KERNEL_REMEDY,
            path, eh.e_ident[EI_CLASS], eh.e_machine);
    } else if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN) {
        rc = uvm__fail(f, UVM_E_INVAL, 0,
                       "kernel %.120s: an ELF file that is no program; " KERNEL_REMEDY, path);
    } else if (eh.e_phentsize != sizeof(Elf64_Phdr) || eh.e_phnum > PROGRAM_HEADERS_MAX) {
        rc = uvm__fail(f, UVM_E_INVAL, 0,
                       "kernel %.120s: %u program headers of %u bytes; " KERNEL_REMEDY, path,
                       eh.e_phnum, eh.e_phentsize);
    } else {
        rc = check_segments(&file, &eh, path, f);
    }
    if (rc < 0) {
        uvm__boot_file_close(&file);
        return rc;
    }
    *ret = file;
    return 0;
}

/* ---- initrd ------------------------------------------------------------------------------- */

#define INITRD_REMEDY "give a cpio archive (newc) or a compressed one"

static const struct magic {
    const char *bytes;
    size_t length;
    bool compressed;
} magics[] = {
    {"070701", 6, false},
    {"070702", 6, false}, /* cpio, newc */
    {"\x1f\x8b", 2, true},
    {"\xfd"
     "7zXZ\0",
     6, true}, /* gzip, xz */
    {"\x02\x21\x4c\x18", 4, true},
    {"\x28\xb5\x2f\xfd", 4, true}, /* lz4 as kernels read it, zstd */
    {"BZh", 3, true},
    {"\x5d\0\0", 3, true}, /* bzip2, lzma */
    {"\x89LZO\0\r\n\x1a\n", 9, true},
};

int uvm__boot_file_initrd(const char *path, struct uvm__boot_file *ret, struct uvm__fail *f) {
    struct uvm__boot_file file = UVM__BOOT_FILE_INIT;
    char begin[16] = {0};
    int rc = open_file("initrd", INITRD_REMEDY, path, &file, f);

    if (rc < 0) {
        return rc;
    }
    size_t bytes = file.bytes < sizeof begin ? (size_t)file.bytes : sizeof begin;
    bool readable = read_at(file.fd, begin, bytes, 0) == 0;
    for (size_t i = 0; readable && i < sizeof magics / sizeof magics[0]; i++) {
        if (magics[i].length <= bytes && memcmp(begin, magics[i].bytes, magics[i].length) == 0) {
            file.compressed = magics[i].compressed;
            *ret = file;
            return 0;
        }
    }
    uvm__boot_file_close(&file);
    return uvm__fail(
        f, UVM_E_INVAL, 0,
        "initrd %.120s: neither a cpio archive nor compressed as kernels know it; " INITRD_REMEDY,
        path);
}

/* ---- copy --------------------------------------------------------------------------------- */

void uvm__boot_copy_close(struct uvm__boot_copy *copy) {
    uvm__close_fd(&copy->fd);
    copy->done = 0;
}

static int copy_finish(struct uvm__boot_copy *copy, struct uvm__boot_file *file) {
    if (fcntl(copy->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) <
        0) {
        return -1;
    }
    uvm__close_fd(&file->fd);
    file->fd = UVM_TAKE_FD(copy->fd);
    file->world_readable = true;
    return 0;
}

int uvm__boot_copy_step(struct uvm__boot_copy *copy, struct uvm__boot_file *file, const char *path,
                        struct uvm__fail *f) {
    ssize_t n = 0;

    if (copy->fd < 0) {
        copy->fd = memfd_create("uvm-boot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        copy->done = 0;
    }
    if (copy->fd >= 0 && copy->done < file->bytes) {
        uint64_t left = file->bytes - copy->done;
        off_t from = (off_t)copy->done;
        n = sendfile(copy->fd, file->fd, &from, left < COPY_STEP_BYTES ? left : COPY_STEP_BYTES);
        if (n == 0) {
            return uvm__fail(f, UVM_E_IO, 0, "%.120s: became shorter while it was read", path);
        }
        copy->done += n > 0 ? (uint64_t)n : 0;
    }
    if (copy->fd < 0 || (n < 0 && errno != EINTR) ||
        (copy->done == file->bytes && copy_finish(copy, file) < 0)) {
        return uvm__fail(f, errno == ENOMEM ? UVM_E_NOMEM : UVM_E_IO, errno,
                         "%.120s: cannot be copied into memory: %s", path, strerror(errno));
    }
    return copy->fd < 0 ? 0 : 1;
}
