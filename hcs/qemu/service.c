/* SPDX-License-Identifier: MIT
 * service.c — the service itself: what its creator chose, and its closing.
 *
 * It counts who still uses it (systems whose memory lives, probes that run); closing waits for them, since a
 * system that nobody took ends by itself in the background.
 */
#include "hcs/qemu/modify.h"
#include "hcs/qemu/nic.h"
#include "hcs/qemu/statistics.h"
#include "hcs/qemu/vpmem.h"
#include "hcs/qemu/vsmb.h"

#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/engine.h"
#include "async/params.h"

static void on_closed(struct uvm__ready *r) {
    struct uvm__qemu *q = UVM__CONTAINER_OF(r, struct uvm__qemu, closed);
    uvm_engine *e = q->base.engine;
    void (*fn)(void *) = q->on_closed;
    void *arg = q->closed_arg;

    uvm__free(e, q->qemu_path);
    uvm__free(e, q->search_path);
    uvm__free(e, q->launch_path);
    uvm__free(e, q->cache_dir);
    uvm__free(e, q);
    if (fn != NULL) {
        fn(arg);
    }
    uvm__engine_release(e);
}

static void on_accel_idle(struct uvm__accel *a) {
    uvm__qemu_unuse(UVM__CONTAINER_OF(a, struct uvm__qemu, accel));
}

void uvm__qemu_unuse(struct uvm__qemu *q) {
    UVM_ASSERT(q->users > 0);
    if (--q->users == 0 && q->closing) {
        uvm__ready_push(q->base.engine, &q->closed);
    }
}

static void close_service(struct uvm__hcs *h, void (*fn)(void *arg), void *arg) {
    struct uvm__qemu *q = uvm__qemu_of(h);

    UVM_ASSERT(!q->closing);
    q->closing = true;
    q->on_closed = fn;
    q->closed_arg = arg;
    uvm__engine_hold(h->engine);
    q->users++;
    if (uvm__accel_idle(&q->accel, on_accel_idle)) {
        uvm__qemu_unuse(q);
    }
}

static const struct uvm__hcs_ops ops = {
    .name = "qemu",
    .create = uvm__qemu_create,
    .create_result = uvm__qemu_create_result,
    .start = uvm__qemu_start,
    .terminate = uvm__qemu_terminate,
    .pause = uvm__qemu_pause,
    .resume = uvm__qemu_resume,
    .capacity = uvm__qemu_capacity,
    .modify = uvm__qemu_modify,
    .image_bytes = uvm__qemu_image_bytes,
    .location = uvm__qemu_location,
    .nic_config = uvm__qemu_nic_config,
    .properties = uvm__qemu_properties,
    .statistics = uvm__qemu_statistics,
    .statistics_result = uvm__qemu_statistics_result,
    .close = uvm__qemu_close,
    .close_service = close_service,
};

/* A copy, or NULL for NULL; *failed when there is no memory. */
static char *copy(uvm_engine *e, const char *text, bool *failed) {
    char *ret = text == NULL ? NULL : uvm__strdup(e, text);
    *failed = *failed || (text != NULL && ret == NULL);
    return ret;
}

int uvm_qemu_service_new(uvm_engine *engine, const struct uvm_qemu_params *params,
                         struct uvm__hcs **ret_service) {
    struct uvm_qemu_params p = UVM_QEMU_PARAMS_INIT;
    bool failed = false;

    if (uvm__params_read_logged(engine, "uvm_qemu_params", params, sizeof p, &p) < 0 ||
        p.launch_path == NULL || p.accel < UVM_QEMU_ACCEL_AUTO || p.accel > UVM_QEMU_ACCEL_TCG) {
        return -UVM_E_INVAL;
    }
    if (uvm__engine_loop(engine) == NULL) {
        return -UVM_E_UNSUPPORTED;
    }
    struct uvm__qemu *q = uvm__zalloc(engine, sizeof *q);
    if (q == NULL) {
        return -UVM_E_NOMEM;
    }
    q->base.ops = &ops;
    q->base.engine = engine;
    q->qemu_path = copy(engine, p.qemu_path, &failed);
    q->search_path = copy(engine, p.search_path, &failed);
    q->launch_path = copy(engine, p.launch_path, &failed);
    q->cache_dir = copy(engine, p.cache_dir, &failed);
    q->drop = p.drop;
    q->uid_base = p.vmm_uid_base;
    q->processors_possible = p.processors_possible;
    q->base.admission.limits = (struct uvm__hcs_limits){p.vms_max, p.memory_mb_max};
    uvm__list_init(&q->systems);
    uvm__accel_init(&q->accel, engine);
    q->accel.option = p.accel;
    q->accel.drop = p.drop;
    q->accel.uid_base = p.vmm_uid_base;
    q->accel.launch_path = q->launch_path;
    q->accel.cache_dir = q->cache_dir;
    uvm__ready_init(&q->closed, on_closed);
    if (failed) {
        uvm__engine_hold(engine);
        on_closed(&q->closed);
        return -UVM_E_NOMEM;
    }
    *ret_service = &q->base;
    return 0;
}
