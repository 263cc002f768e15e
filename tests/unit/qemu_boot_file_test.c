/* SPDX-License-Identifier: MIT
 * qemu_boot_file_test.c — kernels and initrds that are not what they should be, made by hand.
 */
#include "hcs/qemu/boot_file.h"
#include "tests/unit/cm.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/uvm-boot-XXXXXX";

static int set_up(void **state) {
    (void)state;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int tear_down(void **state) {
    (void)state;
    return rmdir(dir);
}

static const char *path_of(const char *name) {
    static char path[64];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *path, const void *data, size_t bytes, mode_t mode) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* ---- kernels ------------------------------------------------------------------------------ */

#define NOTES_AT 256u
#define LOAD_AT 512u
#define KERNEL_BYTES 1024u
#define NOTES_BYTES_MAX 65536u /* boot_file.c */

struct image {
    uint8_t bytes[KERNEL_BYTES + NOTES_BYTES_MAX + 64];
    size_t size;
};

static Elf64_Ehdr *header(struct image *k) {
    return (Elf64_Ehdr *)(void *)k->bytes;
}
static Elf64_Phdr *segment(struct image *k, unsigned i) {
    return (Elf64_Phdr *)(void *)(k->bytes + sizeof(Elf64_Ehdr)) + i;
}
static Elf64_Nhdr *note(struct image *k, size_t at) {
    return (Elf64_Nhdr *)(void *)(k->bytes + NOTES_AT + at);
}

/* The smallest kernel that passes: one segment, two notes, of which the second is the PVH entry. */
static struct image good_kernel(void) {
    struct image k = {.size = KERNEL_BYTES};
    Elf64_Ehdr *eh = header(&k);
    memcpy(eh->e_ident, ELFMAG, SELFMAG);
    eh->e_ident[EI_CLASS] = ELFCLASS64;
    eh->e_ident[EI_DATA] = ELFDATA2LSB;
    eh->e_type = ET_EXEC;
    eh->e_machine = EM_X86_64;
    eh->e_phoff = sizeof *eh;
    eh->e_phentsize = sizeof(Elf64_Phdr);
    eh->e_phnum = 2;
    *segment(&k, 0) = (Elf64_Phdr){.p_type = PT_LOAD,
                                   .p_offset = LOAD_AT,
                                   .p_filesz = KERNEL_BYTES - LOAD_AT,
                                   .p_memsz = 4u << 20,
                                   .p_paddr = 16u << 20};
    *segment(&k, 1) = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = NOTES_AT, .p_filesz = 44};
    *note(&k, 0) = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 5, .n_type = 6};
    memcpy(k.bytes + NOTES_AT + 12, "Xen", 4);
    *note(&k, 24) = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 4, .n_type = 18};
    memcpy(k.bytes + NOTES_AT + 36, "Xen", 4);
    return k;
}

static void expect_kernel(const struct image *k, int code, const char *message) {
    struct uvm__boot_file file = UVM__BOOT_FILE_INIT;
    struct uvm__fail f = {0};
    const char *path = path_of("kernel");
    write_file(path, k->bytes, k->size, 0644);
    int rc = uvm__boot_file_kernel(path, &file, &f);
    unlink(path);
    if (rc != -code || (code != 0 && strstr(f.msg, message) == NULL)) {
        fail_msg("%d \"%s\", expected \"%s\"", rc, f.msg, message);
    }
    if (code == 0) {
        assert_int_equal(file.bytes, k->size);
        assert_int_equal(file.memory_bytes, 20u << 20);
        assert_true(file.world_readable);
        assert_true(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
    } else {
        assert_int_equal(file.fd, -1);
        assert_non_null(strstr(f.msg, path)); /* the file is named */
        assert_non_null(strchr(f.msg, ';'));  /* and a remedy */
    }
    uvm__boot_file_close(&file);
}

/* The entry's note at the end of so many bytes of notes. */
static struct image many_notes(uint32_t bytes) {
    struct image k = good_kernel();
    uint8_t *notes = k.bytes + KERNEL_BYTES;
    Elf64_Nhdr other = {.n_namesz = 4, .n_descsz = bytes - 20 - 16, .n_type = 6};
    k.size = KERNEL_BYTES + bytes;
    segment(&k, 1)->p_offset = KERNEL_BYTES;
    segment(&k, 1)->p_filesz = bytes;
    memcpy(notes, &other, sizeof other);
    memcpy(notes + bytes - 20, k.bytes + NOTES_AT + 24, 20);
    return k;
}

static void kernels_with_many_notes(void **state) {
    (void)state;
    struct image k = many_notes(8192);
    expect_kernel(&k, UVM_OK, "");
    k = many_notes(NOTES_BYTES_MAX);
    expect_kernel(&k, UVM_OK, "");
    k = many_notes(NOTES_BYTES_MAX + 4);
    expect_kernel(&k, UVM_E_INVAL, "no PVH entry");
}

static void kernels(void **state) {
    (void)state;
    struct image k = good_kernel();
    expect_kernel(&k, UVM_OK, "");

    k.size = 0;
    expect_kernel(&k, UVM_E_INVAL, "is empty");
    k = good_kernel();
    k.size = 63;
    expect_kernel(&k, UVM_E_INVAL, "not an ELF file");
    memset(&k, 'x', sizeof k.bytes);
    k.size = KERNEL_BYTES;
    expect_kernel(&k, UVM_E_INVAL, "not an ELF file");
    memcpy(k.bytes + 0x202, "HdrS", 4);
    expect_kernel(&k, UVM_E_INVAL, "compressed bzImage; extract");
    k = good_kernel();
    header(&k)->e_ident[EI_CLASS] = ELFCLASS32;
    expect_kernel(&k, UVM_E_INVAL, "another machine");
    k = good_kernel();
    header(&k)->e_machine = EM_AARCH64;
    expect_kernel(&k, UVM_E_INVAL, "another machine");
    k = good_kernel();
    header(&k)->e_type = ET_REL;
    expect_kernel(&k, UVM_E_INVAL, "no program");
    k = good_kernel();
    header(&k)->e_phnum = 129;
    expect_kernel(&k, UVM_E_INVAL, "129 program headers");
    k = good_kernel();
    header(&k)->e_phentsize = 32;
    expect_kernel(&k, UVM_E_INVAL, "program headers of 32 bytes");
    k = good_kernel();
    header(&k)->e_phoff = UINT64_MAX - 8;
    expect_kernel(&k, UVM_E_INVAL, "is cut off");
    k = good_kernel();
    k.size = KERNEL_BYTES - 1;
    expect_kernel(&k, UVM_E_INVAL, "is cut off at 1023 bytes (segment 0");
    k = good_kernel();
    segment(&k, 0)->p_offset = UINT64_MAX;
    expect_kernel(&k, UVM_E_INVAL, "is cut off");
    k = good_kernel();
    segment(&k, 0)->p_memsz = 8;
    expect_kernel(&k, UVM_E_INVAL, "does not fit below 4 GiB");
    k = good_kernel();
    segment(&k, 0)->p_paddr = UINT64_MAX;
    expect_kernel(&k, UVM_E_INVAL, "does not fit below 4 GiB");
    k = good_kernel();
    segment(&k, 0)->p_type = PT_NULL;
    expect_kernel(&k, UVM_E_INVAL, "loads nothing");
    k = good_kernel();
    note(&k, 24)->n_type = 17;
    expect_kernel(&k, UVM_E_INVAL, "has no PVH entry");
    k = good_kernel();
    note(&k, 0)->n_descsz = UINT32_MAX; /* reaches over the end: the rest is not looked at */
    expect_kernel(&k, UVM_E_INVAL, "has no PVH entry");
    k = good_kernel();
    note(&k, 0)->n_namesz = UINT32_MAX;
    expect_kernel(&k, UVM_E_INVAL, "has no PVH entry");
    k = good_kernel();
    segment(&k, 1)->p_filesz = 40; /* the value is cut off */
    expect_kernel(&k, UVM_E_INVAL, "has no PVH entry");
}

static void not_even_files(void **state) {
    (void)state;
    struct uvm__boot_file file = UVM__BOOT_FILE_INIT;
    struct uvm__fail f = {0};
    assert_int_equal(uvm__boot_file_kernel("/nonexistent/vmlinux", &file, &f), -UVM_E_NOTFOUND);
    assert_string_equal(f.msg, "kernel /nonexistent/vmlinux: No such file or directory; give an "
                               "uncompressed x86-64 kernel (vmlinux)");
    assert_int_equal(uvm__boot_file_initrd("/nonexistent/i", &file, &f), -UVM_E_NOTFOUND);
    assert_int_equal(uvm__boot_file_initrd("/tmp", &file, &f), -UVM_E_INVAL);
    assert_non_null(strstr(f.msg, "/tmp: not a regular file"));
    const char *fifo = path_of("fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(uvm__boot_file_kernel(fifo, &file, &f), -UVM_E_INVAL); /* does not block */
    unlink(fifo);
    assert_int_equal(file.fd, -1);
}

/* ---- initrds ------------------------------------------------------------------------------ */

static void initrds(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        int code;
        bool compressed;
    } rows[] = {
        {"070701xxxxx", 11, UVM_OK, false},
        {"070702", 6, UVM_OK, false},
        {"\x1f\x8b\x08", 3, UVM_OK, true},
        {"\xfd\x37zXZ\0", 6, UVM_OK, true},
        {"\x02\x21\x4c\x18.", 5, UVM_OK, true},
        {"\x28\xb5\x2f\xfd.", 5, UVM_OK, true},
        {"BZh9", 4, UVM_OK, true},
        {"\x5d\0\0.", 4, UVM_OK, true},
        {"\x89LZO\0\r\n\x1a\n", 9, UVM_OK, true},
        {"", 0, UVM_E_INVAL, false},
        {"0707", 4, UVM_E_INVAL, false},
        {"070707xxxxxx", 12, UVM_E_INVAL, false},
        {"\x7f"
         "ELF",
         4, UVM_E_INVAL, false},
        {"hello world", 11, UVM_E_INVAL, false},
    };
    const char *path = path_of("initrd");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct uvm__boot_file file = UVM__BOOT_FILE_INIT;
        struct uvm__fail f = {0};
        write_file(path, rows[i].bytes, rows[i].length, 0600);
        int rc = uvm__boot_file_initrd(path, &file, &f);
        if (rc != -rows[i].code || file.compressed != rows[i].compressed) {
            fail_msg("row %zu: %d %s", i, rc, f.msg);
        }
        assert_false(file.world_readable);
        uvm__boot_file_close(&file);
    }
    unlink(path);
}

/* ---- copies ------------------------------------------------------------------------------- */

static void a_copy_is_sealed_and_equal(void **state) {
    (void)state;
    size_t bytes = (9u << 20) + 5; /* three pieces */
    uint8_t *data = malloc(bytes), *back = malloc(bytes);
    assert_true(data != NULL && back != NULL);
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)(i * 31 >> 3);
    }
    static const char magic[] = {'0', '7', '0', '7', '0', '1'};
    memcpy(data, magic, sizeof magic);
    const char *path = path_of("initrd");
    write_file(path, data, bytes, 0600);
    struct uvm__boot_file file = UVM__BOOT_FILE_INIT;
    struct uvm__boot_copy copy = UVM__BOOT_COPY_INIT;
    struct uvm__fail f = {0};
    assert_int_equal(uvm__boot_file_initrd(path, &file, &f), 0);
    int steps = 1;
    while (uvm__boot_copy_step(&copy, &file, path, &f) == 1) {
        steps++;
    }
    assert_int_equal(steps, 3);
    unlink(path);
    assert_int_equal(copy.fd, -1);
    assert_true(file.world_readable);
    assert_int_equal(fcntl(file.fd, F_GET_SEALS),
                     F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    struct stat st;
    assert_int_equal(fstat(file.fd, &st), 0);
    assert_true((st.st_mode & S_IROTH) != 0); /* another uid may open it again */
    assert_int_equal(pread(file.fd, back, bytes, 0), bytes);
    assert_memory_equal(back, data, bytes);
    uvm__boot_file_close(&file);
    free(data);
    free(back);
}

static void a_file_that_shrinks_is_told(void **state) {
    (void)state;
    const char *path = path_of("initrd");
    write_file(path, "070701", 6, 0600);
    struct uvm__boot_file file = UVM__BOOT_FILE_INIT;
    struct uvm__boot_copy copy = UVM__BOOT_COPY_INIT;
    struct uvm__fail f = {0};
    assert_int_equal(uvm__boot_file_initrd(path, &file, &f), 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(uvm__boot_copy_step(&copy, &file, path, &f), -UVM_E_IO);
    assert_non_null(strstr(f.msg, "became shorter"));
    unlink(path);
    uvm__boot_copy_close(&copy);
    uvm__boot_file_close(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels),
        cmocka_unit_test(kernels_with_many_notes),
        cmocka_unit_test(not_even_files),
        cmocka_unit_test(initrds),
        cmocka_unit_test(a_copy_is_sealed_and_equal),
        cmocka_unit_test(a_file_that_shrinks_is_told),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
