/* SPDX-License-Identifier: MIT
 *
 * Tests of the boot files as they are built: the initrd's bytes are read as the kernel reads them,
 * and what must hold for any content is checked (order, owners, dates, sizes, links that lead
 * somewhere, modules before their users). That the kernel likes it all is for the tests that boot.
 * argv: INITRD VMLINUX.
 */
#include "tests/unit/cm.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ENTRIES_MAX = 512, NEWC_BYTES = 110, UNPACKED_MAX = 14 << 20, BINARY_MAX = 2 << 20 };
enum { PVH_NOTE = 18 };

struct file {
    const uint8_t *bytes;
    size_t size;
};

struct entry {
    const char *path;
    uint32_t inode, mode, uid, gid, links, mtime, size, major, minor;
    const char *data;
};

static struct file initrd, vmlinux;
static struct entry entries[ENTRIES_MAX];
static size_t entries_count;

static struct file map(const char *path) {
    struct file f = {.size = 0};
    struct stat st = {.st_size = 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0);
    f.size = (size_t)st.st_size;
    f.bytes = mmap(NULL, f.size, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_ptr_not_equal(f.bytes, MAP_FAILED);
    close(fd);
    return f;
}

static uint32_t field(const uint8_t *header, size_t n) {
    char text[9] = "";
    char *end;
    uint32_t value;

    memcpy(text, header + 6 + 8 * n, 8);
    value = (uint32_t)strtoul(text, &end, 16);
    assert_int_equal(end - text, 8);
    return value;
}

/* Reads one entry; false at the trailer, which must be the file's end. */
static bool read_entry(size_t *at, struct entry *e) {
    const uint8_t *h = initrd.bytes + *at;
    uint32_t name_bytes;

    assert_true(*at + NEWC_BYTES <= initrd.size);
    assert_memory_equal(h, "070701", 6);
    *e = (struct entry){.inode = field(h, 0),
                        .mode = field(h, 1),
                        .uid = field(h, 2),
                        .gid = field(h, 3),
                        .links = field(h, 4),
                        .mtime = field(h, 5),
                        .size = field(h, 6),
                        .major = field(h, 9),
                        .minor = field(h, 10)};
    name_bytes = field(h, 11);
    e->path = (const char *)h + NEWC_BYTES;
    *at = (*at + NEWC_BYTES + name_bytes + 3) & ~(size_t)3;
    assert_true(*at <= initrd.size && strlen(e->path) + 1 == name_bytes);
    e->data = (const char *)initrd.bytes + *at;
    *at = (*at + e->size + 3) & ~(size_t)3;
    assert_true(*at <= initrd.size);
    return strcmp(e->path, "TRAILER!!!") != 0;
}

static const struct entry *find(const char *path) {
    for (size_t i = 0; i < entries_count; i++) {
        if (strcmp(entries[i].path, path) == 0) {
            return &entries[i];
        }
    }
    return NULL;
}

/* Where a link leads; only those without a leading slash, as ours are. */
static const struct entry *follow(const struct entry *link) {
    char path[256], target[128];
    const char *rest = target;
    char *end;

    snprintf(path, sizeof path, "%s", link->path);
    snprintf(target, sizeof target, "%.*s", (int)link->size, link->data);
    for (end = strrchr(path, '/'); strncmp(rest, "../", 3) == 0; rest += 3) {
        assert_non_null(end);
        *end = '\0';
        end = strrchr(path, '/');
    }
    end = end == NULL ? path : end + 1;
    snprintf(end, sizeof path - (size_t)(end - path), "%s", rest);
    return find(path);
}

static void archive_is_canonical(void **state) {
    size_t at = 0, unpacked = 0;
    struct entry e;

    (void)state;
    while (read_entry(&at, &e)) {
        assert_true(entries_count < ENTRIES_MAX);
        assert_true(entries_count == 0 || strcmp(entries[entries_count - 1].path, e.path) < 0);
        entries[entries_count++] = e;
        assert_int_equal(e.inode, entries_count);
        assert_int_equal(e.uid, 0);
        assert_int_equal(e.gid, 0);
        assert_int_equal(e.mtime, 0);
        assert_int_equal(e.links, 1);
        unpacked += e.size;
    }
    assert_int_equal(at, initrd.size);
    print_message("%zu entries, %zu bytes unpacked\n", entries_count, unpacked);
    assert_true(unpacked <= UNPACKED_MAX);
}

static void folders_stand_before_their_files(void **state) {
    (void)state;
    for (size_t i = 0; i < entries_count; i++) {
        char parent[256];
        char *slash;

        snprintf(parent, sizeof parent, "%s", entries[i].path);
        slash = strrchr(parent, '/');
        if (slash != NULL) {
            const struct entry *e;

            *slash = '\0';
            e = find(parent);
            assert_non_null(e);
            assert_true(S_ISDIR(e->mode) && e->inode < entries[i].inode);
        }
    }
}

static void links_lead_somewhere(void **state) {
    size_t links = 0;

    (void)state;
    for (size_t i = 0; i < entries_count; i++) {
        if (S_ISLNK(entries[i].mode)) {
            assert_true(entries[i].size < 100 && entries[i].data[0] != '/');
            assert_non_null(follow(&entries[i]));
            links++;
        }
    }
    assert_true(links > 10);
}

/* The archive aligns to four bytes only, so the structures are copied. */
static void assert_static_program(const struct entry *e) {
    Elf64_Ehdr elf;

    assert_non_null(e);
    assert_int_equal(e->mode, S_IFREG | 0755);
    assert_true(e->size > sizeof elf && memcmp(e->data, ELFMAG, SELFMAG) == 0);
    memcpy(&elf, e->data, sizeof elf);
    assert_true(elf.e_phnum > 0 && elf.e_phoff + elf.e_phnum * sizeof(Elf64_Phdr) <= e->size);
    for (int i = 0; i < elf.e_phnum; i++) {
        Elf64_Phdr ph;

        memcpy(&ph, e->data + elf.e_phoff + (size_t)i * sizeof ph, sizeof ph);
        assert_int_not_equal(ph.p_type, PT_INTERP);
    }
}

static void programs_are_there(void **state) {
    static const char *const names[] = {"init", "bin/vsockexec", "bin/uvm-launch",
                                        "bin/gcs-modules"};
    const struct entry *gcs = find("bin/gcs"), *console = find("dev/console");

    (void)state;
    assert_static_program(gcs);
    assert_true(gcs->size <= BINARY_MAX);
    assert_static_program(find("bin/busybox"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct entry *link = find(names[i]);

        assert_non_null(link);
        assert_ptr_equal(follow(link), gcs);
    }
    assert_ptr_equal(follow(find("bin/sh")), find("bin/busybox"));
    assert_non_null(console);
    assert_int_equal(console->mode, S_IFCHR | 0600);
    assert_int_equal(console->major, 5);
    assert_int_equal(console->minor, 1);
}

/* The list that /init loads, and the folder that it stands in. */
static const struct entry *modules_list(char *folder, size_t bytes) {
    static const char name[] = "/modules.load";

    for (size_t i = 0; i < entries_count; i++) {
        const char *at = strstr(entries[i].path, name);

        if (at != NULL && at[sizeof name - 1] == '\0') {
            snprintf(folder, bytes, "%.*s", (int)(at - entries[i].path), entries[i].path);
            return &entries[i];
        }
    }
    fail_msg("no modules.load");
    abort(); /* for the analyzer: fail_msg does not come back */
}

static void text_of(const struct entry *e, char *buf, size_t bytes) {
    assert_non_null(e);
    assert_true(e->size < bytes);
    memcpy(buf, e->data, e->size);
    buf[e->size] = '\0';
}

/* Each of the list is there, and stands behind the ones that it needs. */
static void modules_come_after_their_needs(void **state) {
    char folder[128], path[256], all[4096], lines[4096], deps[8192], *next = lines, *line;
    int count = 0;

    (void)state;
    text_of(modules_list(folder, sizeof folder), all, sizeof all);
    memcpy(lines, all, sizeof lines);
    snprintf(path, sizeof path, "%s/modules.dep", folder);
    text_of(find(path), deps, sizeof deps);
    assert_non_null(strstr(all, "pvpanic-pci.ko"));
    assert_true(strstr(all, "pvpanic") < strstr(all, "virtio"));
    while ((line = strsep(&next, "\n")) != NULL && *line != '\0') {
        char *needs, *need;

        snprintf(path, sizeof path, "%s/%s", folder, line);
        assert_non_null(find(path));
        snprintf(path, sizeof path, "%s:", line);
        needs = strstr(deps, path);
        assert_non_null(needs);
        snprintf(path, sizeof path, "%.*s", (int)strcspn(needs, "\n"), needs);
        needs = strchr(path, ':') + 1;
        while ((need = strsep(&needs, " ")) != NULL) {
            const char *at = strstr(all, need);

            assert_true(at != NULL && at <= all + (line - lines));
        }
        count++;
    }
    assert_true(count >= 6);
}

static void kernel_boots_by_pvh(void **state) {
    Elf64_Ehdr elf;
    bool pvh = false;

    (void)state;
    assert_true(vmlinux.size > sizeof elf);
    memcpy(&elf, vmlinux.bytes, sizeof elf);
    assert_memory_equal(elf.e_ident, ELFMAG, SELFMAG);
    assert_int_equal(elf.e_ident[EI_CLASS], ELFCLASS64);
    assert_int_equal(elf.e_machine, EM_X86_64);
    for (int i = 0; i < elf.e_phnum; i++) {
        Elf64_Phdr ph;

        memcpy(&ph, vmlinux.bytes + elf.e_phoff + (size_t)i * sizeof ph, sizeof ph);
        assert_true(ph.p_offset + ph.p_filesz <= vmlinux.size);
        for (uint64_t at = 0; ph.p_type == PT_NOTE && at + sizeof(Elf64_Nhdr) < ph.p_filesz;) {
            Elf64_Nhdr note;

            memcpy(&note, vmlinux.bytes + ph.p_offset + at, sizeof note);
            pvh = pvh || (note.n_type == PVH_NOTE && note.n_namesz == 4 &&
                          memcmp(vmlinux.bytes + ph.p_offset + at + sizeof note, "Xen", 4) == 0);
            at += sizeof note + ((note.n_namesz + 3u) & ~3u) + ((note.n_descsz + 3u) & ~3u);
        }
    }
    assert_true(pvh);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archive_is_canonical), /* fills the table that the others look at */
        cmocka_unit_test(folders_stand_before_their_files),
        cmocka_unit_test(links_lead_somewhere),
        cmocka_unit_test(programs_are_there),
        cmocka_unit_test(modules_come_after_their_needs),
        cmocka_unit_test(kernel_boots_by_pvh),
    };

    if (argc != 3) {
        fprintf(stderr, "usage: image_test INITRD VMLINUX\n");
        return 2;
    }
    initrd = map(argv[1]);
    vmlinux = map(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
