/* SPDX-License-Identifier: MIT
 * capabilities.c — one short-lived QEMU that is asked for its types.
 *
 * It has no machine, so it answers at once whatever the accelerator. It is started as VMs are (helper,
 * uid, system-call filter): what would keep those from starting shows here with QEMU's own words. One
 * reply holds every device, back-end and machine type; the table says which of them we use and for what.
 */
#include "hcs/qemu/capabilities.h"

#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/call.h"
#include "async/check.h"
#include "async/child.h"
#include "async/cleanup.h"
#include "async/json.h"
#include "async/limits.h"
#include "async/sock.h"
#include "hcs/qemu/argv.h"
#include "hcs/qemu/qmp.h"
#include "hcs/qemu/spawn.h"

/* ---- the table ---------------------------------------------------------------------------- */

static const struct row {
    const char *type; /* of QEMU's object model; "…-*" a prefix of one */
    struct uvm_qemu_capability is;
} table[] = {
    {"pc-q35-*", {"machine q35", "every VM", true, false}},
    {"memory-backend-file", {"memory from a memfd", "every VM", true, false}},
    {"vhost-user-vsock-pci", {"vhost-user-vsock", "every VM: the guest's agent", true, false}},
    {"pvpanic-pci", {"pvpanic", "every VM: panics told apart", true, false}},
    {"pcie-root-port", {"PCI hot-plug", "every VM: devices added while it runs", true, false}},
    {"virtio-scsi-pci", {"virtio-scsi", "disks", false, false}},
    {"scsi-hd", {"SCSI disks", "disks", false, false}},
    {"nvdimm", {"nvdimm", "VPMem devices", false, false}},
    {"vhost-user-fs-pci", {"virtiofs", "shares", false, false}},
    {"virtio-net-pci", {"virtio-net", "network adapters", false, false}},
    {"vfio-pci", {"vfio", "devices of the host in the guest", false, false}},
    {"isa-debugcon", {"debug console", "the accelerator's probe", false, false}},
};
UVM_STATIC_ASSERT(sizeof table / sizeof table[0] <= UVM__QEMU_CAPABILITIES_MAX,
                  "the result has room for the table");

static bool is_type(const char *name, const char *type) {
    size_t bytes = strlen(type);
    return type[bytes - 1] == '*' ? strncmp(name, type, bytes - 1) == 0 : strcmp(name, type) == 0;
}

size_t uvm__qemu_capabilities_read(const cJSON *types,
                                   struct uvm_qemu_capability rows[UVM__QEMU_CAPABILITIES_MAX]) {
    size_t count = sizeof table / sizeof table[0];
    const cJSON *it;

    for (size_t i = 0; i < count; i++) {
        rows[i] = table[i].is;
    }
    if (!cJSON_IsArray(types)) {
        return count;
    }
    cJSON_ArrayForEach(it, types) {
        const cJSON *node = cJSON_IsObject(it) ? uvm__json_get(UVM__JSON_STRICT, it, "name") : NULL;
        const char *name = uvm__json_string(node);
        for (size_t i = 0; name != NULL && i < count; i++) {
            rows[i].present = rows[i].present || is_type(name, table[i].type);
        }
    }
    return count;
}

/* ---- the QEMU that is asked --------------------------------------------------------------- */

struct ask {
    struct uvm__capabilities_params params;
    struct uvm__uid_lease lease;
    struct uvm__argv argv;
    struct uvm__child *child;
    struct uvm__qmp *qmp;
    struct uvm__call call;
    uvm_op *op;
    bool waiting; /* the step "ask" has not ended */
    bool undoing;
    unsigned closing;
    struct uvm_qemu_capability rows[UVM__QEMU_CAPABILITIES_MAX];
    size_t count;
    char version[UVM__QEMU_VERSION_BYTES];
    char texts[];
};

static void step_over(struct ask *a, uvm_error *take_err) {
    if (a->waiting) {
        a->waiting = false;
        uvm__step_done(a->op, take_err);
    } else {
        uvm_error_unref(take_err);
    }
}

static void on_types(struct uvm__call *call, const void *reply, const uvm_error *err) {
    struct ask *a = UVM__CONTAINER_OF(call, struct ask, call);

    if (err != NULL || !a->waiting) {
        return; /* the process's end says more than the connection's */
    }
    uvm_error *refused =
        uvm__qmp_reply_error(uvm__op_engine(a->op), "qom-list-types", (const cJSON *)reply);
    if (refused == NULL) {
        a->count = uvm__qemu_capabilities_read(
            uvm__json_get(UVM__JSON_STRICT, (const cJSON *)reply, "return"), a->rows);
    }
    step_over(a, refused);
}

static void on_ready(struct uvm__qmp *q, void *arg) {
    struct ask *a = arg;

    snprintf(a->version, sizeof a->version, "%s", uvm__qmp_version(q));
    int rc = uvm__qmp_call(q, &a->call, a->op, "qom-list-types", NULL, NULL, 0, on_types);
    if (rc < 0) {
        step_over(a, uvm__error(uvm__op_engine(a->op), (enum uvm_error_code) - rc, 0,
                                "qemu %s: cannot be asked", a->params.qemu_path));
    }
}

static void on_event(struct uvm__qmp *q, const char *name, const cJSON *data, void *arg) {
    (void)q;
    (void)name;
    (void)data;
    (void)arg;
}

static void on_qmp_end(struct uvm__qmp *q, const uvm_error *err, void *arg) {
    struct ask *a = arg;

    (void)q;
    if (err != NULL) {
        step_over(a, uvm_error_ref(err));
    }
}

static void on_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    (void)c;
    if (err != NULL) {
        step_over(arg, uvm_error_ref(err));
    }
}

static void on_exit(struct uvm__child *c, int status, void *arg) {
    struct ask *a = arg;
    char text[64], said[UVM__VMM_STDERR_BYTES];

    uvm__child_status_text(status, text, sizeof text);
    size_t bytes = uvm__child_stderr(c, said, sizeof said);
    step_over(a, uvm__error_detail(uvm__error(uvm__op_engine(a->op), UVM_E_HOST, 0,
                                              "qemu %s: does not run as one: %s",
                                              a->params.qemu_path, text),
                                   said, bytes));
}

/* ---- steps -------------------------------------------------------------------------------- */

static int open_parts(struct ask *a, struct uvm__fail *f) {
    uvm_engine *e = uvm__op_engine(a->op);
    int pair[2] = {-1, -1};

    if (uvm__qemu_ask_argv(e, a->params.qemu_path, &a->argv) < 0) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "out of memory");
    }
    int rc = uvm__uid_lease(a->params.drop == UVM_QEMU_DROP_NEVER ? UVM__UID_DROP_NEVER
                                                                  : UVM__UID_DROP_AUTO,
                            a->params.uid_base, &a->lease, f);
    if (rc == 0 && uvm__sock_pair(pair) < 0) {
        rc = uvm__fail(f, UVM_E_IO, 0, "no socket pair");
    }
    if (rc < 0) {
        return rc;
    }
    UVM_CLEANUP_FD int theirs = pair[1];
    const struct uvm__qmp_params qmp = {.take_fd = pair[0],
                                        .on_ready = on_ready,
                                        .on_event = on_event,
                                        .on_end = on_qmp_end,
                                        .arg = a};
    rc = uvm__qmp_open(e, &qmp, &a->qmp);
    if (rc < 0) {
        return uvm__fail(f, (enum uvm_error_code) - rc, 0, "no socket");
    }
    const struct uvm__child_fd fds[] = {{theirs, UVM__QEMU_FD_QMP}};
    const struct uvm__qemu_spawn spawn = {.launch_path = a->params.launch_path,
                                          .argv = a->argv.args,
                                          .lease = &a->lease,
                                          .fds = fds,
                                          .fds_count = 1,
                                          .on_started = on_started,
                                          .on_exit = on_exit,
                                          .arg = a};
    return uvm__qemu_spawn(e, &spawn, &a->child, f);
}

static void run_ask(uvm_op *op, void *state) {
    struct ask *a = state;
    struct uvm__fail f = {0};

    a->op = op;
    a->waiting = true;
    uvm__step_armed(op);
    int rc = open_parts(a, &f);
    if (rc < 0) {
        step_over(a, uvm__fail_error(uvm__op_engine(op), rc, &f));
    }
}

static void cancel_ask(uvm_op *op, void *state) {
    struct ask *a = state;
    step_over(a, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "qemu %s: did not answer",
                            a->params.qemu_path));
}

static void part_closed(void *arg) {
    struct ask *a = arg;

    UVM_ASSERT(a->closing > 0);
    if (--a->closing > 0) {
        return;
    }
    uvm__uid_release(&a->lease);
    uvm__argv_deinit(&a->argv);
    if (a->undoing) {
        uvm__undo_done(a->op, NULL);
    } else {
        uvm__step_done(a->op, NULL);
    }
}

static void close_parts(struct ask *a) {
    struct uvm__child *child = UVM_TAKE_PTR(a->child);
    struct uvm__qmp *qmp = UVM_TAKE_PTR(a->qmp);

    a->closing = 1u + (child != NULL ? 1u : 0u) + (qmp != NULL ? 1u : 0u);
    if (child != NULL) {
        uvm__child_close(child, part_closed, a);
    }
    if (qmp != NULL) {
        uvm__qmp_close(qmp, part_closed, a);
    }
    part_closed(a);
}

static void undo_ask(uvm_op *op, void *state) {
    struct ask *a = state;
    (void)op;
    a->undoing = true;
    close_parts(a);
}

static void run_end(uvm_op *op, void *state) {
    (void)op;
    close_parts(state);
}

/* ---- op ----------------------------------------------------------------------------------- */

static size_t extra_bytes(const void *params) {
    const struct uvm__capabilities_params *p = params;
    return strlen(p->qemu_path) + strlen(p->launch_path) + 2;
}

static int init(uvm_op *op, void *state, const void *params) {
    const struct uvm__capabilities_params *from = params;
    struct ask *a = state;
    size_t bytes = strlen(from->qemu_path) + 1;

    (void)op;
    a->params = *from;
    a->lease = (struct uvm__uid_lease)UVM__UID_LEASE_INIT;
    uvm__list_init(&a->call.link);
    memcpy(a->texts, from->qemu_path, bytes);
    memcpy(a->texts + bytes, from->launch_path, strlen(from->launch_path) + 1);
    a->params.qemu_path = a->texts;
    a->params.launch_path = a->texts + bytes;
    return 0;
}

static const struct uvm__step steps[] = {
    {.name = "ask", .run = run_ask, .cancel = cancel_ask, .undo = undo_ask},
    {.name = "end", .run = run_end},
};
static const struct uvm__saga saga = {
    .name = "qemu capabilities",
    .steps = steps,
    .steps_count = 2,
    .commit_step = 0,
    .deadline_ms = UVM__PROBE_QMP_MS,
    .state_bytes = sizeof(struct ask),
    .extra_bytes = extra_bytes,
    .init = init,
};

int uvm__qemu_capabilities(uvm_engine *e, const struct uvm__capabilities_params *params,
                           uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return uvm__op_start(e, scope, &saga, params, on_done, arg, ret_op);
}

const struct uvm_qemu_capability *uvm__qemu_capabilities_result(uvm_op *op, size_t *ret_count,
                                                                const char **ret_version) {
    UVM_ASSERT(uvm__op_saga(op) == &saga && uvm__op_succeeded(op));
    const struct ask *a = uvm__op_state(op);

    *ret_count = a->count;
    *ret_version = a->version;
    return a->rows;
}
