/* SPDX-License-Identifier: MIT
 * compute_service.c — the thin front of the seam: checks what every implementation may rely on, then
 * calls it.
 *
 * Nothing here knows a platform. The checks are the caller's own invariants, so they are assertions; what
 * depends on a system's state is answered by the implementation, which owns that state.
 */
#include "hcs/compute_service.h"

#include "async/check.h"

static const struct uvm__hcs_ops *ops_of(const struct uvm__hcs_system *s) {
    UVM_ASSERT(s != NULL && s->service != NULL && s->service->ops != NULL);
    return s->service->ops;
}

int uvm__hcs_create(struct uvm__hcs *h, const struct uvm__hcs_create_params *params,
                    uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    UVM_ASSERT(h != NULL && params != NULL);
    if (params->id == NULL || params->document == NULL ||
        (params->fds_count != 0 && params->fds == NULL)) {
        return -UVM_E_INVAL;
    }
    return h->ops->create(h, params, scope, on_done, arg, ret_op);
}

struct uvm__hcs_system *uvm__hcs_create_result(const struct uvm__hcs *h, uvm_op *op) {
    UVM_ASSERT(h != NULL && op != NULL);
    return h->ops->create_result(op);
}

int uvm__hcs_start(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                   uvm_op **ret_op) {
    return ops_of(s)->start(s, scope, on_done, arg, ret_op);
}

int uvm__hcs_terminate(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                       uvm_op **ret_op) {
    return ops_of(s)->terminate(s, scope, on_done, arg, ret_op);
}

int uvm__hcs_pause(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                   uvm_op **ret_op) {
    return ops_of(s)->pause(s, scope, on_done, arg, ret_op);
}

int uvm__hcs_resume(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                    uvm_op **ret_op) {
    return ops_of(s)->resume(s, scope, on_done, arg, ret_op);
}

int uvm__hcs_modify(struct uvm__hcs_system *s, const struct uvm__hcs_modify_params *params,
                    uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    UVM_ASSERT(params != NULL);
    if (params->request == NULL || (params->fds_count != 0 && params->fds == NULL)) {
        return -UVM_E_INVAL;
    }
    const struct uvm__hcs_ops *ops = ops_of(s);
    if (ops->modify == NULL) {
        return -UVM_E_UNSUPPORTED;
    }
    return ops->modify(s, params, scope, on_done, arg, ret_op);
}

int uvm__hcs_image_bytes(struct uvm__hcs_system *s, const char *path, uint64_t *ret,
                         struct uvm__fail *f) {
    UVM_ASSERT(path != NULL);
    const struct uvm__hcs_ops *ops = ops_of(s);
    if (ops->image_bytes == NULL) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0, "%s: images cannot be looked at", ops->name);
    }
    return ops->image_bytes(s, path, ret, f);
}

int uvm__hcs_location(struct uvm__hcs_system *s, const char *resource,
                      char ret[UVM__HCS_LOCATION_BYTES]) {
    UVM_ASSERT(resource != NULL);
    const struct uvm__hcs_ops *ops = ops_of(s);
    return ops->location == NULL ? -UVM_E_NOTFOUND : ops->location(s, resource, ret);
}

int uvm__hcs_nic_config(struct uvm__hcs_system *s, const char *guid,
                        struct uvm__hcs_nic_config *ret) {
    const struct uvm__hcs_ops *ops = ops_of(s);
    return ops->nic_config == NULL ? -UVM_E_NOTFOUND : ops->nic_config(s, guid, ret);
}

const char *uvm__hcs_properties(struct uvm__hcs_system *s) {
    return ops_of(s)->properties(s);
}

int uvm__hcs_statistics(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                        uvm_op **ret_op) {
    const struct uvm__hcs_ops *ops = ops_of(s);

    return ops->statistics == NULL ? -UVM_E_UNSUPPORTED
                                   : ops->statistics(s, scope, on_done, arg, ret_op);
}

const char *uvm__hcs_statistics_result(const struct uvm__hcs_system *s, uvm_op *op) {
    UVM_ASSERT(op != NULL);
    return ops_of(s)->statistics_result(op);
}

void uvm__hcs_close(struct uvm__hcs_system *s, void (*on_closed)(void *arg), void *arg) {
    ops_of(s)->close(s, on_closed, arg);
}

void uvm__hcs_service_close(struct uvm__hcs *h, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(h != NULL);
    h->ops->close_service(h, on_closed, arg);
}

const char *uvm__hcs_exit_text(enum uvm__hcs_exit exit) {
    switch (exit) {
    case UVM__HCS_EXIT_NONE:
        return "has not ended";
    case UVM__HCS_EXIT_GUEST_SHUTDOWN:
        return "guest shut down";
    case UVM__HCS_EXIT_GUEST_RESET:
        return "guest reset";
    case UVM__HCS_EXIT_GUEST_PANIC:
        return "guest panicked";
    case UVM__HCS_EXIT_TERMINATED:
        return "terminated";
    case UVM__HCS_EXIT_VMM_DIED:
        return "VMM died";
    case UVM__HCS_EXIT_STUCK:
        return "VMM was killed and does not end";
    }
    return "unknown";
}
