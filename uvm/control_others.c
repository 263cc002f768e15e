/* SPDX-License-Identifier: MIT
 * control_others.c — who else lives in the state folder, and how much memory they were promised.
 *
 * A folder whose lock is held has a living owner. What its file says is believed within bounds: it was
 * written by our own user or root. One that cannot be read, for its owner is just writing it or is of another
 * version, counts as a VM without memory.
 */
#include "async/cleanup.h"
#include "async/folder.h"
#include "uvm/control_int.h"
#include <string.h>
#include <unistd.h>

struct count {
    const uvm_control *control;
    uint64_t ledger, vms, memory_mb;
};

/* False: it is one of ours. */
static bool read_about(const struct count *n, const char *name, uint64_t *ret_memory_mb) {
    char text[1024];
    struct uvm__fail ignored;
    cJSON *tree = NULL;
    uint64_t ledger = 0;
    UVM_CLEANUP_FD int fd = -1;
    if (uvm__folder_enter(n->control->parent_fd, name, &fd, &ignored) < 0) {
        return true;
    }
    int64_t bytes = uvm__folder_read(fd, UVM_CONTROL_ABOUT, text, sizeof text);
    if (bytes <= 0 || uvm__json_read(UVM__JSON_STRICT, text, (size_t)bytes, &tree, &ignored) < 0) {
        return true;
    }
    (void)uvm__json_u64(uvm__json_get(UVM__JSON_STRICT, tree, "ledger"), UINT64_MAX, &ledger);
    (void)uvm__json_u64(uvm__json_get(UVM__JSON_STRICT, tree, "memory_mb"), UVM_VM_MEMORY_MB_MAX,
                        ret_memory_mb);
    cJSON_Delete(tree);
    return ledger != n->ledger;
}

static bool look(const char *name, void *arg) {
    struct count *n = arg;
    uint64_t memory_mb = 0;
    bool candidate = uvm__folder_name_ok(name) && strcmp(name, n->control->vm->options.name) != 0;
    if (candidate && uvm__folder_lives(n->control->parent_fd, name) &&
        read_about(n, name, &memory_mb)) {
        n->vms++;
        n->memory_mb += memory_mb;
    }
    return true;
}

void uvm__control_others(const uvm_control *c, uint64_t *ret_vms, uint64_t *ret_memory_mb) {
    struct count n = {.control = c, .ledger = uvm__vm_ledger(c->vm)};
    struct uvm__fail ignored;
    (void)uvm__folder_list(c->parent_fd, look, &n, &ignored);
    *ret_vms = n.vms;
    *ret_memory_mb = n.memory_mb;
}
