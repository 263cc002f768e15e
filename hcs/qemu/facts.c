/* SPDX-License-Identifier: MIT
 * facts.c — what VMs would get on this host: the questions of create, asked without a VM.
 *
 * QEMU is looked for, then asked what it can do, then the accelerator is decided as for a VM. The answers
 * live in the op's state.
 */
#include "hcs/qemu/capabilities.h"
#include "hcs/qemu/qemu_int.h"

#include <string.h>

#include "async/check.h"

struct facts_state {
    struct uvm__qemu *service;
    uvm_op *op;
    uvm_op *asked; /* one reference, which keeps the capabilities */
    struct uvm__accel_wait wait;
    char qemu_path[UVM__QEMU_PATH_BYTES];
    char reason[UVM__ACCEL_REASON_BYTES];
    struct uvm_qemu_facts facts;
};

static void host_run(uvm_op *op, void *state) {
    struct facts_state *s = state;
    struct uvm__qemu *q = s->service;
    struct uvm__uid_lease lease = UVM__UID_LEASE_INIT;
    struct uvm__fail f = {0};
    int rc = uvm__host_find_qemu(q->qemu_path, q->search_path, s->qemu_path, &f);

    s->op = op;
    if (rc == 0) {
        rc = uvm__uid_lease(q->drop == UVM_QEMU_DROP_NEVER ? UVM__UID_DROP_NEVER
                                                           : UVM__UID_DROP_AUTO,
                            q->uid_base, &lease, &f);
    }
    s->facts.user = lease.note;
    s->facts.qemu_path = s->qemu_path;
    uvm__uid_release(&lease);
    uvm__step_done(op, rc < 0 ? uvm__fail_error(q->base.engine, rc, &f) : NULL);
}

/* The time is ours to name: the caller's own deadline shows on this op, whatever is said here. */
static void on_asked(uvm_op *child, const uvm_error *err, void *arg) {
    struct facts_state *s = arg;

    if (err == NULL) {
        s->facts.capabilities =
            uvm__qemu_capabilities_result(child, &s->facts.capabilities_count, &s->facts.version);
        uvm__step_done(s->op, NULL);
    } else if (uvm_error_code(err) == UVM_E_TIMEDOUT) {
        uvm__step_done(s->op, uvm__error(uvm__op_engine(s->op), UVM_E_HOST, 0,
                                         "qemu %s: did not answer within %u ms", s->qemu_path,
                                         UVM__PROBE_QMP_MS));
    } else {
        uvm__step_done(s->op, uvm_error_ref(err));
    }
}

static void ask_run(uvm_op *op, void *state) {
    struct facts_state *s = state;
    struct uvm__qemu *q = s->service;
    const struct uvm__capabilities_params p = {
        .qemu_path = s->qemu_path,
        .launch_path = q->launch_path,
        .drop = q->drop,
        .uid_base = q->uid_base,
    };
    int rc = uvm__qemu_capabilities(q->base.engine, &p, uvm__op_scope(op), on_asked, s, &s->asked);

    if (rc < 0) {
        uvm__step_done(op, uvm__fail_error(q->base.engine, rc, NULL));
    }
}

static void accel_on_answer(struct uvm__accel_wait *w) {
    struct facts_state *s = UVM__CONTAINER_OF(w, struct facts_state, wait);
    const struct uvm__accel *a = &s->service->accel;

    memcpy(s->reason, a->answer.reason, sizeof s->reason);
    s->facts.accel = a->answer.kvm ? "kvm" : "tcg";
    s->facts.reason = s->reason;
    uvm__step_done(s->op, a->option == UVM_QEMU_ACCEL_KVM && !a->answer.kvm
                              ? uvm__error(a->engine, UVM_E_HOST, 0, "kvm: %s; choose auto or tcg",
                                           a->answer.reason)
                              : NULL);
}

static void accel_run(uvm_op *op, void *state) {
    struct facts_state *s = state;
    (void)op;
    uvm__accel_ask(&s->service->accel, s->qemu_path, &s->wait);
}

static void accel_cancel(uvm_op *op, void *state) {
    struct facts_state *s = state;
    uvm__accel_forget(&s->service->accel, &s->wait);
    uvm__step_done(op, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "given up"));
}

/* ---- op ----------------------------------------------------------------------------------- */

static int init(uvm_op *op, void *state, const void *params) {
    struct facts_state *s = state;

    (void)op;
    s->service = (struct uvm__qemu *)(uintptr_t)params;
    s->service->users++;
    s->wait.fn = accel_on_answer;
    uvm__list_init(&s->wait.link);
    return 0;
}

static void deinit(void *state) {
    struct facts_state *s = state;
    s->asked = uvm_op_unref(s->asked);
    uvm__qemu_unuse(s->service);
}

static const struct uvm__step steps[] = {
    {.name = "host", .run = host_run},
    {.name = "capabilities", .run = ask_run, .child = true},
    {.name = "accelerator", .run = accel_run, .cancel = accel_cancel},
};
static const struct uvm__saga saga = {
    .name = "host probe",
    .steps = steps,
    .steps_count = sizeof steps / sizeof steps[0],
    .commit_step = sizeof steps / sizeof steps[0] - 1,
    .state_bytes = sizeof(struct facts_state),
    .init = init,
    .deinit = deinit,
};

int uvm_qemu_service_probe(struct uvm__hcs *service, uvm_scope *scope, uvm_done_fn on_done,
                           void *arg, uvm_op **ret_op) {
    UVM_ASSERT(service->ops->create == uvm__qemu_create);
    return uvm__op_start(service->engine, scope, &saga, uvm__qemu_of(service), on_done, arg,
                         ret_op);
}

const struct uvm_qemu_facts *uvm_qemu_service_probe_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &saga);
    struct facts_state *s = uvm__op_state(op);
    return uvm__op_succeeded(op) ? &s->facts : NULL;
}
