/* SPDX-License-Identifier: MIT
 * probe.c — starts QEMU with the firmware of probe_firmware[] and waits for the byte that it writes.
 *
 * The firmware is one 64 KiB image of HLT with a few instructions at the reset vector: no BIOS, no kernel, no
 * memory, so the time is that of QEMU's own start. It runs with the credentials that VMs would have, for
 * KVM's device may be closed to those. The VM never ends by itself: both ways out kill it.
 */
#include "hcs/qemu/probe.h"

#include <string.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/limits.h"
#include "async/sock.h"
#include "hcs/qemu/argv.h"
#include "hcs/qemu/host.h"
#include "hcs/qemu/spawn.h"

#define FIRMWARE_BYTES 65536u
#define RESET_VECTOR 0xfff0u
#define BYTE 0x55u

/* mov al, BYTE; out 0xe9, al; halt: hlt; jmp halt */
static const uint8_t code[] = {0xb0, BYTE, 0xe6, 0xe9, 0xf4, 0xeb, 0xfd};
#define HLT 0xf4

struct probe {
    struct uvm__probe_params params;
    struct uvm__uid_lease lease;
    struct uvm__argv argv;
    struct uvm__child *child;
    struct uvm__sock *sock;
    uvm_op *op;
    bool waiting; /* the step "byte" has not ended */
    bool undoing;
    unsigned closing;
    char texts[];
};

static void step_over(struct probe *p, uvm_error *take_err) {
    if (p->waiting) {
        p->waiting = false;
        uvm__step_done(p->op, take_err);
    } else {
        uvm_error_unref(take_err);
    }
}

static void on_byte(struct uvm__sock *s, void *arg) {
    struct probe *p = arg;
    uint8_t byte = 0;
    ssize_t n = uvm__sock_recv(s, &byte, 1, NULL, NULL);

    if (n == -UVM_E_AGAIN) {
        return;
    }
    uvm__sock_reading(s, false);
    if (n == 1 && byte == BYTE) {
        step_over(p, NULL);
    } else if (n > 0) {
        step_over(p, uvm__error(uvm__op_engine(p->op), UVM_E_PROTOCOL, 0,
                                "the probe VM wrote 0x%02x", byte));
    } /* the end of the stream is told by the process's own end */
}

static void on_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    (void)c;
    if (err != NULL) {
        step_over(arg, uvm_error_ref(err));
    }
}

static void on_exit(struct uvm__child *c, int status, void *arg) {
    struct probe *p = arg;
    uvm_engine *e = uvm__op_engine(p->op);
    char text[64], said[UVM__VMM_STDERR_BYTES];

    uvm__child_status_text(status, text, sizeof text);
    size_t bytes = uvm__child_stderr(c, said, sizeof said);
    step_over(p, uvm__error_detail(uvm__error(e, UVM_E_HOST, 0, "the probe VM ended: %s", text),
                                   said, bytes));
}

/* ---- steps -------------------------------------------------------------------------------- */

static int open_parts(struct probe *p, struct uvm__fail *f) {
    static const struct uvm__sock_events events = {.on_readable = on_byte};
    uvm_engine *e = uvm__op_engine(p->op);
    uint8_t *firmware = uvm__alloc(e, FIRMWARE_BYTES);
    UVM_CLEANUP_FD int firmware_fd = -1;
    int pair[2] = {-1, -1};

    if (firmware == NULL || uvm__qemu_probe_argv(e, p->params.qemu_path, p->params.kvm, &p->argv)) {
        uvm__free(e, firmware);
        return uvm__fail(f, UVM_E_NOMEM, 0, "out of memory");
    }
    memset(firmware, HLT, FIRMWARE_BYTES);
    memcpy(firmware + RESET_VECTOR, code, sizeof code);
    int rc = uvm__host_blob(firmware, FIRMWARE_BYTES, &firmware_fd, f);
    uvm__free(e, firmware);
    if (rc == 0) {
        rc = uvm__uid_lease(p->params.drop == UVM_QEMU_DROP_NEVER ? UVM__UID_DROP_NEVER
                                                                  : UVM__UID_DROP_AUTO,
                            p->params.uid_base, &p->lease, f);
    }
    if (rc == 0 && uvm__sock_pair(pair) < 0) {
        rc = uvm__fail(f, UVM_E_IO, 0, "no socket pair");
    }
    if (rc < 0) {
        return rc;
    }
    UVM_CLEANUP_FD int theirs = pair[1];
    if (p->lease.drop && p->params.gid != 0) {
        p->lease.gid = p->params.gid;
    }
    rc = uvm__sock_open(e, pair[0], &events, p, &p->sock);
    if (rc < 0) {
        return uvm__fail(f, (enum uvm_error_code) - rc, 0, "no socket");
    }
    uvm__sock_reading(p->sock, true);
    const struct uvm__child_fd fds[] = {{firmware_fd, UVM__QEMU_FD_KERNEL},
                                        {theirs, UVM__QEMU_FD_CONSOLE}};
    const struct uvm__qemu_spawn spawn = {.launch_path = p->params.launch_path,
                                          .argv = p->argv.args,
                                          .lease = &p->lease,
                                          .fds = fds,
                                          .fds_count = 2,
                                          .on_started = on_started,
                                          .on_exit = on_exit,
                                          .arg = p};
    return uvm__qemu_spawn(e, &spawn, &p->child, f);
}

static void run_byte(uvm_op *op, void *state) {
    struct probe *p = state;
    struct uvm__fail f = {0};

    p->op = op;
    p->waiting = true;
    uvm__step_armed(op);
    int rc = open_parts(p, &f);
    if (rc < 0) {
        step_over(p, uvm__fail_error(uvm__op_engine(op), rc, &f));
    }
}

static void cancel_byte(uvm_op *op, void *state) {
    step_over(state,
              uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "the probe VM was given up"));
}

static void part_closed(void *arg) {
    struct probe *p = arg;

    UVM_ASSERT(p->closing > 0);
    if (--p->closing > 0) {
        return;
    }
    uvm__uid_release(&p->lease);
    uvm__argv_deinit(&p->argv);
    if (p->undoing) {
        uvm__undo_done(p->op, NULL);
    } else {
        uvm__step_done(p->op, NULL);
    }
}

static void close_parts(struct probe *p) {
    struct uvm__child *child = UVM_TAKE_PTR(p->child);
    struct uvm__sock *sock = UVM_TAKE_PTR(p->sock);

    p->closing = 1u + (child != NULL ? 1u : 0u) + (sock != NULL ? 1u : 0u);
    if (child != NULL) {
        uvm__child_close(child, part_closed, p);
    }
    if (sock != NULL) {
        uvm__sock_close(sock, part_closed, p);
    }
    part_closed(p);
}

static void undo_byte(uvm_op *op, void *state) {
    struct probe *p = state;
    (void)op;
    p->undoing = true;
    close_parts(p);
}

static void run_end(uvm_op *op, void *state) {
    (void)op;
    close_parts(state);
}

/* ---- op ----------------------------------------------------------------------------------- */

static size_t extra_bytes(const void *params) {
    const struct uvm__probe_params *p = params;
    return strlen(p->qemu_path) + strlen(p->launch_path) + 2;
}

static int init(uvm_op *op, void *state, const void *params) {
    const struct uvm__probe_params *from = params;
    struct probe *p = state;
    size_t bytes = strlen(from->qemu_path) + 1;

    (void)op;
    p->params = *from;
    p->lease = (struct uvm__uid_lease)UVM__UID_LEASE_INIT;
    memcpy(p->texts, from->qemu_path, bytes);
    memcpy(p->texts + bytes, from->launch_path, strlen(from->launch_path) + 1);
    p->params.qemu_path = p->texts;
    p->params.launch_path = p->texts + bytes;
    return 0;
}

static const struct uvm__step steps[] = {
    {.name = "byte", .run = run_byte, .cancel = cancel_byte, .undo = undo_byte},
    {.name = "end", .run = run_end},
};
static const struct uvm__saga saga = {
    .name = "accelerator probe",
    .steps = steps,
    .steps_count = 2,
    .commit_step = 0,
    .deadline_ms = UVM__PROBE_KVM_MS,
    .state_bytes = sizeof(struct probe),
    .extra_bytes = extra_bytes,
    .init = init,
};

int uvm__qemu_probe(uvm_engine *e, const struct uvm__probe_params *params, uvm_scope *scope,
                    uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    return uvm__op_start(e, scope, &saga, params, on_done, arg, ret_op);
}
