/* SPDX-License-Identifier: MIT
 * guest_mem.c — the memory table: checked, sorted by guest address, looked up with the last hit first.
 *
 * What could go wrong is that a region lies about its file: a touch beyond the file's end is SIGBUS for this
 * process. So the size is compared with the file's, and only a file sealed against shrinking is mapped at
 * all; a disk image that the guest has as persistent memory is such a file that is not, and no ring or buffer
 * has business there. Nor is a file of huge pages, whose pool may be empty when we touch it. Where another process can write the same memory nothing read twice need be the same:
 * copying in goes through a barrier, so that the compiler does not look again.
 */
#include "hvsock/guest_mem.h"
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

void uvm__guest_mem_init(struct uvm__guest_mem *m, uvm_engine *e, uint64_t bytes_max) {
    *m = (struct uvm__guest_mem){.engine = e, .bytes_max = bytes_max};
}

static void unmap(struct uvm__guest_region *r) {
    if (r->map != NULL) {
        int rc = munmap(r->map, r->map_bytes);
        UVM_ASSERT(rc == 0);
    }
}

void uvm__guest_mem_deinit(struct uvm__guest_mem *m) {
    for (uint32_t i = 0; i < m->count; i++) {
        unmap(&m->regions[i]);
    }
    uvm__free(m->engine, m->regions);
    uvm__guest_mem_init(m, m->engine, m->bytes_max);
}

/* ---- adding ------------------------------------------------------------------------------- */

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes) {
    return a < b ? b - a < a_bytes : a - b < b_bytes;
}

/* Numbers alone; the index where it belongs goes to *ret_at. */
static int check_numbers(const struct uvm__guest_mem *m, const struct uvm__guest_region_desc *d,
                         uint32_t *ret_at, struct uvm__fail *f) {
    if (d->bytes == 0 || d->bytes - 1 > UINT64_MAX - d->gpa ||
        d->bytes - 1 > UINT64_MAX - d->user || d->bytes > (uint64_t)INT64_MAX ||
        d->offset > (uint64_t)INT64_MAX - d->bytes) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0,
                         "memory region at %#" PRIx64 ": impossible size %#" PRIx64
                         " or offset %#" PRIx64,
                         d->gpa, d->bytes, d->offset);
    }
    if (m->count >= UVM__GUEST_REGIONS_MAX) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "more than %u memory regions", UVM__GUEST_REGIONS_MAX);
    }
    if (m->bytes > m->bytes_max || d->bytes > m->bytes_max - m->bytes) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "guest memory beyond the limit of %" PRIu64 " bytes",
                         m->bytes_max);
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct uvm__guest_region *r = &m->regions[i];
        if (overlap(r->gpa, r->bytes, d->gpa, d->bytes) ||
            overlap(r->user, r->bytes, d->user, d->bytes)) {
            return uvm__fail(f, UVM_E_PROTOCOL, 0,
                             "memory region at %#" PRIx64 " overlaps the one at %#" PRIx64, d->gpa,
                             r->gpa);
        }
        at = r->gpa < d->gpa ? i + 1 : at;
    }
    *ret_at = at;
    return 0;
}

/* Whether every byte below the file's end can be touched, now and later. */
static bool is_solid(int fd) {
    struct statfs fs;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && fstatfs(fd, &fs) == 0 &&
           fs.f_type != HUGETLBFS_MAGIC;
}

/* Checks the file and maps its part, or leaves the region unmapped when touching it is no good. */
static int map_file(struct uvm__guest_region *r, const struct uvm__guest_region_desc *d, int fd,
                    struct uvm__fail *f) {
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return uvm__fail(f, UVM_E_IO, errno, "memory region at %#" PRIx64 ": fstat", d->gpa);
    }
    if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size < d->offset ||
        (uint64_t)st.st_size - d->offset < d->bytes) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0,
                         "memory region at %#" PRIx64 ": its file has %lld bytes, it wants %" PRIu64
                         " at %" PRIu64,
                         d->gpa, (long long)st.st_size, d->bytes, d->offset);
    }
    if (!is_solid(fd)) {
        return 0;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t lead = d->offset & (page - 1);
    uint64_t bytes = (lead + d->bytes + page - 1) & ~(page - 1);
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                     (off_t)(d->offset - lead));
    if (map == MAP_FAILED) {
        if (errno == EPERM || errno == EACCES) {
            return 0; /* read-only: no place for rings or buffers either */
        }
        return uvm__fail(f, errno == ENOMEM ? UVM_E_NOMEM : UVM_E_IO, errno,
                         "memory region at %#" PRIx64 ": mapping %" PRIu64 " bytes", d->gpa, bytes);
    }
    (void)madvise(map, bytes, MADV_DONTDUMP);
    r->map = map;
    r->map_bytes = bytes;
    r->at = (uint8_t *)map + lead;
    return 0;
}

static int make_room(struct uvm__guest_mem *m) {
    if (m->count < m->capacity) {
        return 0;
    }
    uint32_t capacity = m->capacity == 0 ? 4 : m->capacity * 2;
    void *regions = uvm__realloc(m->engine, m->regions, capacity * sizeof *m->regions);
    if (regions == NULL) {
        return -UVM_E_NOMEM;
    }
    m->regions = regions;
    m->capacity = capacity;
    return 0;
}

int uvm__guest_mem_add(struct uvm__guest_mem *m, const struct uvm__guest_region_desc *d, int fd,
                       struct uvm__fail *f) {
    uint32_t at = 0;
    int rc = check_numbers(m, d, &at, f);
    if (rc == 0 && (rc = make_room(m)) < 0) {
        rc = uvm__fail(f, UVM_E_NOMEM, 0, "memory region at %#" PRIx64 ": out of memory", d->gpa);
    }
    struct uvm__guest_region r = {.gpa = d->gpa, .bytes = d->bytes, .user = d->user};
    if (rc == 0) {
        rc = map_file(&r, d, fd, f);
    }
    if (rc < 0) {
        return rc;
    }
    memmove(&m->regions[at + 1], &m->regions[at], (m->count - at) * sizeof r);
    m->regions[at] = r;
    m->count++;
    m->bytes += r.bytes;
    m->last = at;
    return 0;
}

const struct uvm__guest_region *uvm__guest_mem_find(const struct uvm__guest_mem *m,
                                                    const struct uvm__guest_region_desc *d) {
    for (uint32_t i = 0; i < m->count; i++) {
        const struct uvm__guest_region *r = &m->regions[i];
        if (r->gpa == d->gpa && r->bytes == d->bytes && r->user == d->user) {
            return r;
        }
    }
    return NULL;
}

void uvm__guest_mem_remove(struct uvm__guest_mem *m, const struct uvm__guest_region *r) {
    UVM_ASSERT(r >= m->regions && r < m->regions + m->count);
    uint32_t at = (uint32_t)(r - m->regions);
    m->bytes -= r->bytes;
    unmap(&m->regions[at]);
    memmove(&m->regions[at], &m->regions[at + 1], (m->count - at - 1) * sizeof *r);
    m->count--;
    m->last = 0;
}

/* ---- translation -------------------------------------------------------------------------- */

static bool holds(const struct uvm__guest_region *r, uint64_t gpa) {
    return gpa >= r->gpa && gpa - r->gpa < r->bytes;
}

static const struct uvm__guest_region *region_of(struct uvm__guest_mem *m, uint64_t gpa) {
    if (m->last < m->count && holds(&m->regions[m->last], gpa)) {
        return &m->regions[m->last];
    }
    uint32_t low = 0;
    uint32_t high = m->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct uvm__guest_region *r = &m->regions[middle];
        if (holds(r, gpa)) {
            m->last = middle;
            return r;
        }
        if (gpa < r->gpa) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

uint8_t *uvm__guest_mem_at(struct uvm__guest_mem *m, uint64_t gpa, uint64_t *bytes) {
    UVM_ASSERT(*bytes > 0);
    const struct uvm__guest_region *r = region_of(m, gpa);
    if (r == NULL || r->at == NULL) {
        return NULL;
    }
    uint64_t left = r->bytes - (gpa - r->gpa);
    *bytes = *bytes < left ? *bytes : left;
    return r->at + (gpa - r->gpa);
}

int uvm__guest_mem_read(struct uvm__guest_mem *m, uint64_t gpa, void *buf, size_t bytes) {
    uint8_t *to = buf;
    while (bytes > 0) {
        uint64_t n = bytes;
        const uint8_t *from = uvm__guest_mem_at(m, gpa, &n);
        if (from == NULL) {
            return -UVM_E_PROTOCOL;
        }
        memcpy(to, from, n);
        to += n;
        bytes -= n;
        if (bytes > 0 && n > UINT64_MAX - gpa) {
            return -UVM_E_PROTOCOL;
        }
        gpa += n;
    }
    __asm__ volatile("" ::: "memory");
    return 0;
}

uint8_t *uvm__guest_mem_user(const struct uvm__guest_mem *m, uint64_t user, uint64_t bytes) {
    for (uint32_t i = 0; i < m->count; i++) {
        const struct uvm__guest_region *r = &m->regions[i];
        if (user >= r->user && user - r->user < r->bytes) {
            uint64_t at = user - r->user;
            return r->at != NULL && r->bytes - at >= bytes ? r->at + at : NULL;
        }
    }
    return NULL;
}
