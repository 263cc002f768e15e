/* SPDX-License-Identifier: MIT
 * capacity.c — what this host has left for VMs: memory, and descriptors of this process.
 *
 * Guests take their memory page by page: how much of it each has touched is what its file has in blocks. What
 * images in virtual PMem have is theirs, too.
 */
#include "hcs/qemu/qemu_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "async/cleanup.h"
#include "hcs/qemu/host_memory.h"

#define VM_DESCRIPTORS 24u /* of a VM in this process: sockets, events, files, and a few streams */

static uint64_t blocks_of(int fd) {
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512u : 0;
}

static uint64_t touched_mb(const struct uvm__qemu *q) {
    const struct uvm__list *it;
    uint64_t bytes = 0;

    UVM__LIST_FOREACH(it, &q->systems) {
        const struct uvm__qemu_system *s =
            UVM__CONTAINER_OF((struct uvm__list *)(uintptr_t)it, struct uvm__qemu_system, link);
        bytes += blocks_of(s->ram_fd);
        for (unsigned i = 0; i < s->vpmem_count; i++) {
            bytes += blocks_of(s->vpmem[i]);
        }
    }
    return bytes >> 20;
}

static uint64_t free_descriptors(void) {
    struct rlimit limit;
    uint64_t used = 0;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return UINT64_MAX;
    }
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        return errno == EMFILE ? 0 : UINT64_MAX;
    }
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        used += d->d_name[0] != '.' ? 1 : 0;
    }
    closedir(dir);
    used -= used > 0 ? 1 : 0; /* the folder's own */
    return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

void uvm__qemu_capacity(struct uvm__hcs *h, struct uvm__hcs_capacity *ret) {
    UVM_CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct uvm__host_memory m = uvm__host_memory(root);

    *ret = (struct uvm__hcs_capacity){
        .memory_mb = m.total_mb,
        .memory_available_mb = m.available_mb,
        .memory_touched_mb = touched_mb(uvm__qemu_of(h)),
        .overhead_mb = UVM__VMM_OVERHEAD_MB,
        .descriptors = free_descriptors(),
        .descriptors_per_vm = VM_DESCRIPTORS,
    };
}
