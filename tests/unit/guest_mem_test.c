/* SPDX-License-Identifier: MIT
 * guest_mem_test.c — the memory table: what is refused, what is left unmapped, translation and its edges.
 */
#include "async/engine.h"
#include "hvsock/guest_mem.h"
#include "tests/unit/cm.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ull
#define FILE_BYTES (64 * PAGE)

static struct {
    uvm_engine *engine;
    struct uvm__guest_mem mem;
    int fd; /* sealed */
} bed;

static int make_memfd(size_t bytes, int seals) {
    int fd = memfd_create("guest_mem_test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    uint8_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(at != MAP_FAILED);
    for (size_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(i / PAGE * 3 + i);
    }
    munmap(at, bytes);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static int setup(void **state) {
    (void)state;
    assert_int_equal(uvm__engine_new_virtual(NULL, 1, &bed.engine), 0);
    uvm__guest_mem_init(&bed.mem, bed.engine, 1 << 20);
    bed.fd = make_memfd(FILE_BYTES, F_SEAL_SHRINK | F_SEAL_GROW);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    uvm__guest_mem_deinit(&bed.mem);
    uvm__engine_free_virtual(bed.engine);
    close(bed.fd);
    return 0;
}

static int add(uint64_t gpa, uint64_t bytes, uint64_t user, uint64_t offset, int fd) {
    struct uvm__guest_region_desc d = {gpa, bytes, user, offset};
    struct uvm__fail f = {0};
    int rc = uvm__guest_mem_add(&bed.mem, &d, fd, &f);
    assert_int_equal(rc < 0, f.msg[0] != 0);
    return rc;
}

static void impossible_numbers(void **state) {
    (void)state;
    static const struct {
        uint64_t gpa, bytes, user, offset;
        int code;
    } rows[] = {
        {0, 0, 0, 0, -UVM_E_PROTOCOL},
        {UINT64_MAX, 2, 0, 0, -UVM_E_PROTOCOL},
        {0, 2, UINT64_MAX, 0, -UVM_E_PROTOCOL},
        {0, 2, 0, UINT64_MAX, -UVM_E_PROTOCOL},
        {0, 2, 0, INT64_MAX, -UVM_E_PROTOCOL},
        {0, UINT64_MAX, 0, 0, -UVM_E_PROTOCOL},
        {0, (uint64_t)INT64_MAX + 1, 0, 0, -UVM_E_PROTOCOL},
        {0, FILE_BYTES + 1, 0, 0, -UVM_E_PROTOCOL},
        {0, FILE_BYTES, 0, 1, -UVM_E_PROTOCOL},
        {0, 1, 0, FILE_BYTES, -UVM_E_PROTOCOL},
        {0, (1 << 20) + 1, 0, 0, -UVM_E_LIMIT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(add(rows[i].gpa, rows[i].bytes, rows[i].user, rows[i].offset, bed.fd),
                         rows[i].code);
    }
    assert_int_equal(bed.mem.count, 0);
    assert_int_equal(add(UINT64_MAX - PAGE + 1, PAGE, UINT64_MAX - PAGE + 1, 0, bed.fd), 0);
    uint64_t n = 100;
    assert_non_null(uvm__guest_mem_at(&bed.mem, UINT64_MAX, &n));
    assert_int_equal(n, 1);
}

static void regions_do_not_overlap(void **state) {
    (void)state;
    assert_int_equal(add(10 * PAGE, 2 * PAGE, 100 * PAGE, 0, bed.fd), 0);
    assert_int_equal(add(11 * PAGE, PAGE, 200 * PAGE, 0, bed.fd), -UVM_E_PROTOCOL);
    assert_int_equal(add(9 * PAGE, PAGE + 1, 200 * PAGE, 0, bed.fd), -UVM_E_PROTOCOL);
    assert_int_equal(add(5 * PAGE, 20 * PAGE, 200 * PAGE, 0, bed.fd), -UVM_E_PROTOCOL);
    assert_int_equal(add(10 * PAGE, 2 * PAGE, 100 * PAGE, 0, bed.fd), -UVM_E_PROTOCOL);
    assert_int_equal(add(20 * PAGE, PAGE, 101 * PAGE, 0, bed.fd), -UVM_E_PROTOCOL);
    assert_int_equal(add(9 * PAGE, PAGE, 99 * PAGE, 0, bed.fd), 0);
    assert_int_equal(add(12 * PAGE, PAGE, 102 * PAGE, 0, bed.fd), 0);
    assert_int_equal(bed.mem.count, 3);
    assert_int_equal(bed.mem.bytes, 4 * PAGE);
}

static void the_number_of_regions_is_limited(void **state) {
    (void)state;
    for (unsigned i = 0; i < UVM__GUEST_REGIONS_MAX; i++) {
        uint64_t at = (i * 263ull) % UVM__GUEST_REGIONS_MAX * 8; /* in no order */
        assert_int_equal(add(at, 8, at, at, bed.fd), 0);
    }
    assert_int_equal(add(1 << 19, 8, 1 << 19, 0, bed.fd), -UVM_E_LIMIT);
    for (unsigned i = 0; i < UVM__GUEST_REGIONS_MAX * 8; i++) {
        uint64_t n = 100;
        const uint8_t *at =
            uvm__guest_mem_at(&bed.mem, (i * 37ull) % (UVM__GUEST_REGIONS_MAX * 8ull), &n);
        assert_non_null(at);
        assert_in_range(n, 1, 8);
    }
}

static void translation(void **state) {
    (void)state;
    uint64_t n = PAGE;
    uint8_t buf[2 * PAGE];
    assert_null(uvm__guest_mem_at(&bed.mem, 0, &n));
    assert_int_equal(add(PAGE, PAGE, 7 * PAGE, 3 * PAGE + 100, bed.fd), 0); /* odd offset */
    assert_int_equal(add(2 * PAGE, PAGE, 9 * PAGE, 10 * PAGE, bed.fd), 0);
    assert_int_equal(add(8 * PAGE, PAGE, 20 * PAGE, 20 * PAGE, bed.fd), 0);
    uint8_t *at = uvm__guest_mem_at(&bed.mem, PAGE, &n);
    assert_int_equal(n, PAGE);
    assert_int_equal(at[0], (uint8_t)(9 + 3 * PAGE + 100));
    n = PAGE;
    at = uvm__guest_mem_at(&bed.mem, PAGE + 10, &n);
    assert_int_equal(n, PAGE - 10); /* one piece ends with its region */
    assert_int_equal(at[0], (uint8_t)(9 + 3 * PAGE + 110));
    n = 1;
    assert_null(uvm__guest_mem_at(&bed.mem, PAGE - 1, &n));
    assert_null(uvm__guest_mem_at(&bed.mem, 3 * PAGE, &n));
    assert_null(uvm__guest_mem_at(&bed.mem, UINT64_MAX, &n));
    /* Copying goes over the seam, and not into the hole. */
    assert_int_equal(uvm__guest_mem_read(&bed.mem, PAGE, buf, 2 * PAGE), 0);
    assert_int_equal(buf[PAGE], (uint8_t)(30 + 10 * PAGE));
    assert_int_equal(uvm__guest_mem_read(&bed.mem, PAGE + 1, buf, 2 * PAGE), -UVM_E_PROTOCOL);
    assert_int_equal(uvm__guest_mem_read(&bed.mem, 3 * PAGE, buf, 0), 0);
    /* The front end's addresses: whole ranges in one region. */
    assert_non_null(uvm__guest_mem_user(&bed.mem, 7 * PAGE, PAGE));
    assert_null(uvm__guest_mem_user(&bed.mem, 7 * PAGE, PAGE + 1));
    assert_null(uvm__guest_mem_user(&bed.mem, 7 * PAGE + 1, UINT64_MAX));
    assert_null(uvm__guest_mem_user(&bed.mem, PAGE, 1));
    at = uvm__guest_mem_user(&bed.mem, 9 * PAGE + 5, 1);
    assert_int_equal(at[0], (uint8_t)(30 + 10 * PAGE + 5));
}

static void files_that_may_shrink_stay_unmapped(void **state) {
    (void)state;
    int unsealed = make_memfd(FILE_BYTES, 0);
    int read_only = make_memfd(FILE_BYTES, F_SEAL_SHRINK | F_SEAL_WRITE);
    char path[] = "/tmp/guest_mem_test.XXXXXX";
    int disk = mkstemp(path);
    assert_true(disk >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ftruncate(disk, FILE_BYTES), 0);
    const int fds[] = {unsealed, read_only, disk};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t n = 1;
        assert_int_equal(add(i * FILE_BYTES, FILE_BYTES, i * FILE_BYTES, 0, fds[i]), 0);
        assert_null(uvm__guest_mem_at(&bed.mem, i * FILE_BYTES, &n));
        assert_null(uvm__guest_mem_user(&bed.mem, i * FILE_BYTES, 1));
        close(fds[i]);
    }
    assert_int_equal(bed.mem.count, 3);
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(add(1 << 30, PAGE, 1 << 30, 0, pipe_fds[0]), -UVM_E_PROTOCOL);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    assert_int_equal(add(1 << 30, PAGE, 1 << 30, 0, -1), -UVM_E_IO);
}

static void removal(void **state) {
    (void)state;
    assert_int_equal(add(0, PAGE, 0, 0, bed.fd), 0);
    assert_int_equal(add(PAGE, PAGE, PAGE, PAGE, bed.fd), 0);
    assert_int_equal(add(2 * PAGE, PAGE, 2 * PAGE, 2 * PAGE, bed.fd), 0);
    struct uvm__guest_region_desc d = {PAGE, PAGE, PAGE, 0}; /* the offset does not matter */
    const struct uvm__guest_region *r = uvm__guest_mem_find(&bed.mem, &d);
    assert_non_null(r);
    uvm__guest_mem_remove(&bed.mem, r);
    assert_null(uvm__guest_mem_find(&bed.mem, &d));
    d.bytes = 5;
    d.gpa = 0;
    assert_null(uvm__guest_mem_find(&bed.mem, &d));
    uint64_t n = 2 * PAGE;
    assert_null(uvm__guest_mem_at(&bed.mem, PAGE, &n));
    assert_non_null(uvm__guest_mem_at(&bed.mem, 2 * PAGE, &n));
    assert_int_equal(bed.mem.bytes, 2 * PAGE);
    assert_int_equal(add(PAGE, PAGE, PAGE, 5 * PAGE, bed.fd), 0);
    const uint8_t *at = uvm__guest_mem_at(&bed.mem, PAGE, &n);
    assert_int_equal(at[0], (uint8_t)(15 + 5 * PAGE));
}

/* A touch where the pool of huge pages is empty is SIGBUS; nobody keeps one filled for a front end. */
static void huge_pages_stay_unmapped(void **state) {
    (void)state;
    uint64_t n = PAGE;
    int fd = memfd_create("guest_mem_test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
    if (fd < 0) {
        skip(); /* a kernel without them */
    }
    assert_int_equal(ftruncate(fd, 2 << 20), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    assert_int_equal(add(0, 16 * PAGE, 0x100000, 0, fd), 0);
    assert_null(uvm__guest_mem_at(&bed.mem, 0, &n));
    assert_null(uvm__guest_mem_user(&bed.mem, 0x100000, PAGE));
    close(fd);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(impossible_numbers),
        CASE(regions_do_not_overlap),
        CASE(the_number_of_regions_is_limited),
        CASE(translation),
        CASE(files_that_may_shrink_stay_unmapped),
        CASE(huge_pages_stay_unmapped),
        CASE(removal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
