/* SPDX-License-Identifier: MIT
 * control_ended.c — how a VM ended, for those who ask when it is no more.
 *
 * A file called as the VM in one folder beside the VMs' own; what it holds has the shape of the answer to
 * `properties`. It is written before the VM's folder goes, so whoever finds the name free finds the end, and
 * removed when the name is taken again. Few are kept, and not for long. None of this may hold up a close: what
 * cannot be written is logged and forgotten.
 */
#include "async/cleanup.h"
#include "async/folder.h"
#include "uvm/control_int.h"

static char *describe(uvm_control *c, size_t *ret_bytes) {
    cJSON *o = cJSON_CreateObject();
    cJSON *vm = uvm__control_raw(c->engine, uvm_vm_properties(c->vm));
    bool ok = o != NULL && vm != NULL && cJSON_AddItemToObject(o, "vm", vm);
    if (!ok) {
        cJSON_Delete(vm);
    }
    ok = ok && uvm__json_add_u64(o, "owner_pid", c->owner_pid) != NULL &&
         uvm__json_add_u64(o, "started_ms", c->started_ms) != NULL &&
         uvm__json_add_u64(o, "ended_ms", uvm__wall_ns(c->engine) / 1000000u) != NULL;
    char *text = ok ? uvm__json_print(c->engine, o, ret_bytes) : NULL;
    cJSON_Delete(o);
    return text;
}

static int write_end(uvm_control *c, const char *text, size_t bytes, struct uvm__fail *f) {
    UVM_CLEANUP_FD int fd = -1;
    int rc = bytes < UVM__CONTROL_ENDED_BYTES
                 ? 0
                 : uvm__fail(f, UVM_E_LIMIT, 0, "it takes %zu bytes to say", bytes);
    rc = rc < 0 ? rc : uvm__folder_make(c->parent_fd, UVM_CONTROL_ENDED, &fd, f);
    rc = rc < 0 ? rc : uvm__folder_write(fd, c->vm->options.name, text, bytes, f);
    if (rc == 0) {
        uvm__folder_prune(c->engine, fd, UVM__CONTROL_ENDED_MAX, UVM__CONTROL_ENDED_MS / 1000u);
    }
    return rc;
}

void uvm__control_remember(uvm_control *c) {
    struct uvm__fail f = {0};
    size_t bytes = 0;
    if (!uvm__vm_has_ended(c->vm)) {
        return; /* it never ran, or lives on without its socket */
    }
    char *text = describe(c, &bytes);
    if (text == NULL || write_end(c, text, bytes, &f) < 0) {
        uvm__log(c->engine, UVM_LOG_WARN, c->vm->options.name, "its end is not remembered: %s",
                 text == NULL ? "no memory" : f.msg);
    }
    uvm__free(c->engine, text);
}

void uvm__control_forget(uvm_control *c) {
    UVM_CLEANUP_FD int fd = -1;
    struct uvm__fail ignored;
    if (uvm__folder_enter(c->parent_fd, UVM_CONTROL_ENDED, &fd, &ignored) == 0) {
        (void)uvm__folder_unlink(fd, c->vm->options.name);
    }
}
