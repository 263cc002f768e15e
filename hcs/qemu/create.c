/* SPDX-License-Identifier: MIT
 * create.c — from a document to a VM that stands before its first instruction.
 *
 *     document      read and checked, also against what QEMU can honour
 *     host          QEMU found, a uid leased, the control group made
 *     accelerator   decided, perhaps by a probe VM
 *     boot files    kernel and initrd opened and checked; copied where the VMM's uid may not open them
 *     vmm           memory, sockets, hvsock device served, QEMU started: done when the exec happened
 *     handshake     QMP capabilities answered and hvsock configuration served, in either order
 *     devices       the document's own are attached, as later ones are
 *
 * QEMU blocks in the middle of its start until the hvsock device has answered it, so the device is open
 * before QEMU runs and nothing here waits for QMP's greeting first. Undo kills at once: there is nothing to
 * save. An end of QEMU in the meantime is an error with what it said last.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/limits.h"
#include "async/log.h"
#include "async/sock.h"
#include "hcs/qemu/kernel_line.h"
#include "hcs/qemu/modify.h"
#include "hcs/qemu/spawn.h"
#include "hcs/qemu/vpmem.h"

struct create_state {
    struct uvm__qemu_system *system; /* NULL: taken */
    uvm_op *op;
    struct uvm__accel_wait accel;
    struct uvm__boot_copy copy;
    struct uvm__ready copy_more;
    bool started; /* the exec happened */
    bool waiting; /* step vmm or handshake has not ended */
    struct uvm__boot_devices devices;
    size_t document_bytes;
    char document[];
};

/* Ends a step with what a leaf function said. */
static void fail_step(uvm_op *op, int rc, const struct uvm__fail *f) {
    uvm__step_done(op, rc < 0 ? uvm__fail_error(uvm__op_engine(op), rc, f) : NULL);
}

/* ---- document ----------------------------------------------------------------------------- */

/* Every descriptor beside the document must be named by it. */
static int check_fds(const struct uvm__qemu_system *s, struct uvm__fail *f) {
    const struct uvm__doc_devices *d = &s->doc.vm.devices;

    for (size_t i = 0; i < s->fds_count; i++) {
        bool named =
            d->com_ports_count == 1 && strcmp(d->com_ports[0].named_pipe, s->fds[i].name) == 0;
        if (!named) {
            return uvm__fail(f, UVM_E_INVAL, 0, "descriptor \"%s\" is not named by the document",
                             s->fds[i].name);
        }
    }
    if (d->com_ports_count == 1 && s->fds_count == 0) {
        return uvm__fail(f, UVM_E_UNSUPPORTED, 0,
                         "VirtualMachine.Devices.ComPorts.0.NamedPipe: no descriptor goes by the "
                         "name \"%.64s\"",
                         d->com_ports[0].named_pipe);
    }
    return 0;
}

static void run_document(uvm_op *op, void *state) {
    struct create_state *c = state;
    struct uvm__qemu_system *s = c->system;
    struct uvm__fail f = {0};

    uvm__step_armed(op);
    int rc = uvm__doc_read(s->engine, c->document, c->document_bytes, &s->doc, &f);
    if (rc == 0) {
        rc = uvm__qemu_doc_check(&s->doc, &f);
    }
    if (rc == 0) {
        rc = check_fds(s, &f);
    }
    fail_step(op, rc, &f);
}

static void undo_document(uvm_op *op, void *state) {
    struct create_state *c = state;
    uvm__boot_copy_close(&c->copy);
    uvm__qemu_release(c->system);
    uvm__undo_done(op, NULL);
}

/* ---- host --------------------------------------------------------------------------------- */

static void run_host(uvm_op *op, void *state) {
    struct create_state *c = state;
    struct uvm__qemu_system *s = c->system;
    struct uvm__qemu *q = s->service;
    struct uvm__fail f = {0};
    int rc = uvm__host_find_qemu(q->qemu_path, q->search_path, s->qemu_path, &f);

    if (rc == 0) {
        rc = uvm__uid_lease(q->drop == UVM_QEMU_DROP_NEVER ? UVM__UID_DROP_NEVER
                                                           : UVM__UID_DROP_AUTO,
                            q->uid_base, &s->lease, &f);
    }
    if (rc == 0 && s->cgroup_path != NULL) {
        rc = uvm__cgroup_open(s->engine, s->cgroup_path, &s->cgroup, &f);
    }
    if (rc == 0 && s->cgroup_path != NULL) {
        UVM_CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        uint64_t need_mb = s->doc.vm.topology.memory.size_in_mb + UVM__VMM_OVERHEAD_MB;
        rc = uvm__cgroup_admit(root, s->cgroup_path, need_mb, UVM__VMM_OVERHEAD_MB, &f);
    }
    fail_step(op, rc, &f);
}

/* ---- accelerator -------------------------------------------------------------------------- */

static void on_accel(struct uvm__accel_wait *w) {
    struct create_state *c = UVM__CONTAINER_OF(w, struct create_state, accel);
    struct uvm__qemu_system *s = c->system;
    const struct uvm__accel *a = &s->service->accel;

    s->accel = a->answer;
    if (a->option == UVM_QEMU_ACCEL_KVM && !s->accel.kvm) {
        uvm__step_done(c->op, uvm__error(s->engine, UVM_E_HOST, 0, "kvm: %s; choose auto or tcg",
                                         s->accel.reason));
        return;
    }
    if (s->accel.kvm && s->lease.drop && s->accel.kvm_gid != 0) {
        s->lease.gid = s->accel.kvm_gid;
    }
    uvm__step_done(c->op, NULL);
}

static void run_accel(uvm_op *op, void *state) {
    struct create_state *c = state;
    c->op = op;
    uvm__accel_ask(&c->system->service->accel, c->system->qemu_path, &c->accel);
}

static void cancel_accel(uvm_op *op, void *state) {
    struct create_state *c = state;
    uvm__accel_forget(&c->system->service->accel, &c->accel);
    uvm__step_done(op, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "given up"));
}

/* ---- boot files --------------------------------------------------------------------------- */

#define MEMORY_PATH "VirtualMachine.ComputeTopology.Memory.SizeInMB"
#define KERNEL_OWN_MB 12u /* what it needs beside its image to reach its first process */

/* A guest that cannot even unpack its initrd would only hang or panic. */
static int check_memory(const struct uvm__qemu_system *s, struct uvm__fail *f) {
    uint64_t initrd = s->initrd.bytes * (s->initrd.compressed ? 4 : 2); /* itself, and unpacked */
    uint64_t need_mb = ((s->kernel.memory_bytes + initrd) >> 20) + KERNEL_OWN_MB;
    uint64_t have_mb = s->doc.vm.topology.memory.size_in_mb;

    need_mb += need_mb % 2;
    return have_mb >= need_mb
               ? 0
               : uvm__fail(f, UVM_E_INVAL, 0,
                           MEMORY_PATH ": %llu is too small; this kernel and initrd need at least "
                                       "%llu",
                           (unsigned long long)have_mb, (unsigned long long)need_mb);
}

/* One piece a turn, so that the loop lives on. */
static void copy_more(struct uvm__ready *r) {
    struct create_state *c = UVM__CONTAINER_OF(r, struct create_state, copy_more);
    struct uvm__qemu_system *s = c->system;
    const struct uvm__doc_linux_kernel_direct *k = &s->doc.vm.chipset.linux_kernel_direct;
    struct uvm__fail f = {0};
    int rc = 0;

    if (!s->kernel.world_readable) {
        rc = uvm__boot_copy_step(&c->copy, &s->kernel, k->kernel_file_path, &f);
    } else if (!s->initrd.world_readable) {
        rc = uvm__boot_copy_step(&c->copy, &s->initrd, k->init_rd_path, &f);
    }
    if (rc >= 0 && s->lease.drop && !(s->kernel.world_readable && s->initrd.world_readable)) {
        uvm__ready_push(s->engine, &c->copy_more);
        return;
    }
    fail_step(c->op, rc, &f);
}

static void run_boot_files(uvm_op *op, void *state) {
    struct create_state *c = state;
    struct uvm__qemu_system *s = c->system;
    const struct uvm__doc_linux_kernel_direct *k = &s->doc.vm.chipset.linux_kernel_direct;
    struct uvm__fail f = {0};
    int rc = uvm__boot_file_kernel(k->kernel_file_path, &s->kernel, &f);

    c->op = op;
    if (rc == 0) {
        rc = uvm__boot_file_initrd(k->init_rd_path, &s->initrd, &f);
    }
    if (rc == 0) {
        rc = check_memory(s, &f);
    }
    if (rc == 0 && s->lease.drop && !(s->kernel.world_readable && s->initrd.world_readable)) {
        uvm__ready_push(s->engine, &c->copy_more);
        return;
    }
    fail_step(op, rc, &f);
}

static void cancel_boot_files(uvm_op *op, void *state) {
    struct create_state *c = state;
    uvm__ready_cancel(c->system->engine, &c->copy_more);
    uvm__step_done(op, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "given up"));
}

/* ---- vmm ---------------------------------------------------------------------------------- */

#define LOW_MEMORY_MB 2816u /* a q35 machine with less has all of it below 4 GiB */

static int build_argv(struct uvm__qemu_system *s, struct uvm__fail *f) {
    struct uvm__qemu *q = s->service;
    uint64_t count = s->doc.vm.topology.processor.count;
    uint32_t possible = q->processors_possible;
    bool low = s->doc.vm.topology.memory.size_in_mb < LOW_MEMORY_MB;
    unsigned line = (s->accel.kvm ? 0u : (unsigned)UVM__LINE_TCG) |
                    (low && uvm__qemu_vpmem_count(&s->doc) > 0 ? (unsigned)UVM__LINE_PMEM : 0u);
    int rc = uvm__qemu_kernel_line(s->engine, s->doc.vm.chipset.linux_kernel_direct.kernel_cmd_line,
                                   line, &s->kernel_line, f);

    if (rc < 0) {
        return rc;
    }
    if (possible == 0) {
        uint32_t host = uvm__host_processors();
        possible = host < UVM__QEMU_PROCESSORS_ROOM ? host : UVM__QEMU_PROCESSORS_ROOM;
    }
    possible = possible > UVM__QEMU_PROCESSORS_MAX ? UVM__QEMU_PROCESSORS_MAX : possible;
    const struct uvm__qemu_argv_params params = {
        .qemu_path = s->qemu_path,
        .id = s->id,
        .doc = &s->doc,
        .kernel_line = s->kernel_line,
        .processors_possible = possible < count ? (uint32_t)count : possible,
        .kvm = s->accel.kvm,
    };
    rc = uvm__qemu_argv(s->engine, &params, &s->argv);
    return rc < 0 ? uvm__fail(f, UVM_E_NOMEM, 0, "vm %s: out of memory", s->name) : 0;
}

/* The end of a step that waits for the VMM: inline or later, once. */
static void progress_over(struct create_state *c, uvm_error *take_err) {
    UVM_ASSERT(c->waiting);
    c->waiting = false;
    c->system->on_progress = NULL;
    uvm__step_done(c->op, take_err);
}

/* uvm-launch says which step failed; the reason is the error's cause. */
static uvm_error *start_error(const struct uvm__qemu_system *s, const uvm_error *err) {
    int sys = (int)uvm_error_sys(err);

    if (strcmp(uvm_error_step(err), "cgroup") == 0) {
        return uvm__error(s->engine, UVM_E_HOST, sys, "cgroup: %.200s cannot be joined: %s%s",
                          s->cgroup_path, strerror(sys), uvm__cgroup_hint(sys));
    }
    bool exec = strcmp(uvm_error_step(err), "exec") == 0;
    return uvm__error(s->engine, UVM_E_HOST, sys, "vm %s: %s cannot be started; %s", s->name,
                      exec ? s->qemu_path : "qemu",
                      exec ? "install qemu-system-x86"
                           : "is uvm-launch installed beside the library?");
}

static void on_started(struct uvm__child *child, const uvm_error *err, void *arg) {
    struct uvm__qemu_system *s = arg;

    (void)child;
    if (s->on_progress == NULL) {
        return;
    }
    struct create_state *c = uvm__op_state(s->create_op);
    if (err == NULL) {
        c->started = true;
        s->on_progress(s, NULL);
        return;
    }
    s->on_progress(s, uvm__error_cause(start_error(s, err), uvm_error_ref(err)));
}

static void on_qmp_ready(struct uvm__qmp *q, void *arg) {
    struct uvm__qemu_system *s = arg;

    (void)q;
    s->times.qmp_us = uvm__now_us(s->engine);
    if (s->on_progress != NULL) {
        s->on_progress(s, NULL);
    }
}

static void on_vsock_configured(struct uvm__vsock_device *d, void *arg) {
    struct uvm__qemu_system *s = arg;

    (void)d;
    s->hvsock_configured = true;
    s->times.hvsock_us = uvm__now_us(s->engine);
    if (s->on_progress != NULL) {
        s->on_progress(s, NULL);
    }
}

/* The three sockets between us and QEMU: ours are taken by the parts, theirs go to the child. */
struct pairs {
    int qmp[2], console[2], vsock[2];
};

static void pairs_close(struct pairs *p) {
    for (unsigned i = 0; i < 2; i++) {
        uvm__close_fd(&p->qmp[i]);
        uvm__close_fd(&p->console[i]);
        uvm__close_fd(&p->vsock[i]);
    }
}

static int open_parts(struct uvm__qemu_system *s, struct pairs *p) {
    uvm_engine *e = s->engine;
    const struct uvm__qmp_params qmp = {.take_fd = UVM_TAKE_FD(p->qmp[0]),
                                        .on_ready = on_qmp_ready,
                                        .on_event = uvm__qemu_on_qmp_event,
                                        .on_end = uvm__qemu_on_qmp_end,
                                        .arg = s};
    int rc = uvm__qmp_open(e, &qmp, &s->qmp);
    if (rc < 0) {
        return rc;
    }
    int peer = -1;
    if (s->fds_count > 0) {
        peer = UVM_TAKE_FD(s->fds[0].fd);
        s->fds_count = 0;
    }
    const struct uvm__console_params console = {.take_fd = UVM_TAKE_FD(p->console[0]),
                                                .take_peer_fd = peer,
                                                .on_output = uvm__qemu_on_console,
                                                .arg = s};
    rc = uvm__console_open(e, &console, &s->console);
    if (rc < 0) {
        return rc;
    }
    const struct uvm__vsock_params vsock = {.take_fd = UVM_TAKE_FD(p->vsock[0]),
                                            .guest_cid = UVM__QEMU_GUEST_CID,
                                            .on_configured = on_vsock_configured,
                                            .on_end = uvm__qemu_on_vsock_end,
                                            .arg = s};
    rc = uvm__vsock_device_open(e, &vsock, &s->vsock);
    if (rc == 0) {
        s->base.hvsock = uvm__vsock_device_hvsock(s->vsock);
        rc = uvm__qemu_offers_open(s);
    }
    return rc;
}

static int spawn(struct uvm__qemu_system *s, const struct pairs *p, struct uvm__fail *f) {
    struct uvm__child_fd fds[6 + UVM__QEMU_VPMEM_DEVICES_MAX] = {
        {s->ram_fd, UVM__QEMU_FD_RAM},         {s->kernel.fd, UVM__QEMU_FD_KERNEL},
        {s->initrd.fd, UVM__QEMU_FD_INITRD},   {p->qmp[1], UVM__QEMU_FD_QMP},
        {p->console[1], UVM__QEMU_FD_CONSOLE}, {p->vsock[1], UVM__QEMU_FD_VSOCK},
    };
    int readers[UVM__QEMU_VPMEM_DEVICES_MAX];
    unsigned opened = 0;
    for (; opened < s->vpmem_count; opened++) {
        readers[opened] = uvm__qemu_vpmem_reader(s, opened);
        if (readers[opened] < 0) {
            break;
        }
        fds[6 + opened] =
            (struct uvm__child_fd){readers[opened], (int)(UVM__QEMU_FD_VPMEM + opened)};
    }
    const struct uvm__qemu_spawn params = {.launch_path = s->service->launch_path,
                                           .argv = s->argv.args,
                                           .lease = &s->lease,
                                           .cgroup = s->cgroup.path,
                                           .fds = fds,
                                           .fds_count = 6 + opened,
                                           .on_started = on_started,
                                           .on_exit = uvm__qemu_on_exit,
                                           .arg = s};

    s->times.spawn_us = uvm__now_us(s->engine);
    struct uvm__fail why = {0};
    int rc = opened < s->vpmem_count
                 ? uvm__fail(&why, UVM_E_LIMIT, errno, "vm %s: memory of VPMem: %s", s->name,
                             strerror(errno))
                 : uvm__qemu_spawn(s->engine, &params, &s->child, &why);
    while (opened > 0) {
        uvm__close_fd(&readers[--opened]);
    }
    if (rc == -UVM_E_IO || rc == -UVM_E_HOST) {
        return uvm__fail(f, UVM_E_HOST, why.sys,
                         "vm %s: %.140s; is uvm-launch installed beside the library?", s->name,
                         why.msg);
    }
    if (rc < 0) {
        *f = why;
    } else {
        s->pid = uvm__child_pid(s->child);
        uvm__log(s->engine, UVM_LOG_DEBUG, s->name, "qemu is process %ld, uid %u (%s), %s",
                 (long)s->pid, s->lease.uid, s->lease.note, s->accel.kvm ? "kvm" : "tcg");
    }
    return rc;
}

static int start_vmm(struct uvm__qemu_system *s, struct uvm__fail *f) {
    struct pairs p = {{-1, -1}, {-1, -1}, {-1, -1}};
    int rc = build_argv(s, f);

    if (rc == 0) {
        rc = uvm__host_ram(s->doc.vm.topology.memory.size_in_mb << 20, &s->ram_fd, f);
    }
    rc = rc < 0 ? rc : uvm__qemu_vpmem_open(s, f);
    if (rc < 0) {
        return rc;
    }
    rc = uvm__sock_pair(p.qmp);
    rc = rc < 0 ? rc : uvm__sock_pair(p.console);
    rc = rc < 0 ? rc : uvm__sock_pair(p.vsock);
    rc = rc < 0 ? rc : open_parts(s, &p);
    if (rc < 0) {
        (void)uvm__fail(f, (enum uvm_error_code) - rc, 0, "vm %s: sockets to qemu cannot be made",
                        s->name);
    } else {
        rc = spawn(s, &p, f);
    }
    pairs_close(&p); /* what QEMU has it has: an end of it must be seen as one */
    return rc;
}

/* What ends step vmm: the exec, its failure, or an early end. */
static void vmm_progress(struct uvm__qemu_system *s, uvm_error *take_err) {
    struct create_state *c = uvm__op_state(s->create_op);

    if (take_err != NULL) {
        progress_over(c, take_err);
    } else if (s->state == UVM__QEMU_ENDED) {
        progress_over(c, uvm__qemu_end_error(s, "qemu ended before it ran"));
    } else if (c->started) {
        progress_over(c, NULL);
    }
}

static void run_vmm(uvm_op *op, void *state) {
    struct create_state *c = state;
    struct uvm__qemu_system *s = c->system;
    struct uvm__fail f = {0};

    c->op = op;
    s->create_op = op;
    uvm__step_armed(op);
    int rc = start_vmm(s, &f);
    if (rc < 0) {
        fail_step(op, rc, &f);
        return;
    }
    c->waiting = true;
    s->on_progress = vmm_progress;
}

/* Of both steps that wait: the undo ends what they wait for. */
static void cancel_progress(uvm_op *op, void *state) {
    struct create_state *c = state;
    progress_over(c, uvm__error(uvm__op_engine(op), UVM_E_CANCELED, 0, "given up"));
}

static void undo_vmm_on_parts(struct uvm__qemu_system *s) {
    struct create_state *c = uvm__op_state(s->create_op);
    uvm__exit_on_terminate(&s->facts);
    uvm__qemu_decide(s); /* a device's undo that QEMU never answered waits for it */
    uvm__undo_done(c->op, NULL);
}

static void undo_vmm(uvm_op *op, void *state) {
    struct create_state *c = state;

    (void)op;
    c->system->on_progress = NULL;
    uvm__qemu_parts_close(c->system, undo_vmm_on_parts);
}

/* ---- handshake ---------------------------------------------------------------------------- */

static void handshake_progress(struct uvm__qemu_system *s, uvm_error *take_err) {
    struct create_state *c = uvm__op_state(s->create_op);

    if (take_err != NULL) {
        progress_over(c, take_err);
    } else if (s->state == UVM__QEMU_ENDED) {
        progress_over(c, uvm__qemu_end_error(s, "qemu ended at its start"));
    } else if (s->hvsock_configured && uvm__qmp_ready(s->qmp)) {
        s->state = UVM__QEMU_CREATED;
        s->times.created_us = uvm__now_us(s->engine);
        progress_over(c, NULL);
    }
}

static void run_handshake(uvm_op *op, void *state) {
    struct create_state *c = state;

    (void)op;
    c->waiting = true;
    c->system->on_progress = handshake_progress;
    handshake_progress(c->system, NULL);
}

/* ---- devices ------------------------------------------------------------------------------ */

static void run_devices(uvm_op *op, void *state) {
    struct create_state *c = state;
    uvm__boot_devices_run(&c->devices, c->system, op);
}

/* ---- op ----------------------------------------------------------------------------------- */

static size_t extra_bytes(const void *params) {
    const struct uvm__hcs_create_params *p = params;
    return p->document_bytes;
}

struct create_params {
    struct uvm__hcs_create_params hcs; /* first: extra_bytes sees it */
    struct uvm__qemu *service;
};

static int init(uvm_op *op, void *state, const void *params) {
    const struct create_params *p = params;
    struct create_state *c = state;

    (void)op;
    c->copy = (struct uvm__boot_copy)UVM__BOOT_COPY_INIT;
    c->accel.fn = on_accel;
    uvm__list_init(&c->accel.link);
    uvm__ready_init(&c->copy_more, copy_more);
    memcpy(c->document, p->hcs.document, p->hcs.document_bytes);
    c->document_bytes = p->hcs.document_bytes;
    return uvm__qemu_system_new(p->service, &p->hcs, &c->system);
}

static void deinit(void *state) {
    struct create_state *c = state;
    struct uvm__qemu_system *s = UVM_TAKE_PTR(c->system);

    uvm__boot_copy_close(&c->copy);
    if (s == NULL) {
        return;
    }
    s->create_op = NULL;
    if (s->child != NULL) {
        uvm__qemu_close(&s->base, NULL, NULL); /* created, and nobody took it */
    } else {
        uvm__qemu_unref(s);
    }
}

static void describe(uvm_op *op, void *state, unsigned step, char *buf, size_t bytes) {
    const struct create_state *c = state;
    (void)op;
    (void)step;
    snprintf(buf, bytes, "qemu process %ld", (long)c->system->pid);
}

static const struct uvm__step steps[] = {
    {.name = "document", .run = run_document, .undo = undo_document},
    {.name = "host", .run = run_host},
    {.name = "accelerator", .run = run_accel, .cancel = cancel_accel},
    {.name = "boot files", .run = run_boot_files, .cancel = cancel_boot_files},
    {.name = "vmm", .run = run_vmm, .cancel = cancel_progress, .undo = undo_vmm},
    {.name = "handshake", .run = run_handshake, .cancel = cancel_progress},
    {.name = "devices", .run = run_devices, .child = true},
};
static const struct uvm__saga saga = {
    .name = "vm create",
    .steps = steps,
    .steps_count = sizeof steps / sizeof steps[0],
    .commit_step = sizeof steps / sizeof steps[0] - 1,
    .state_bytes = sizeof(struct create_state),
    .extra_bytes = extra_bytes,
    .init = init,
    .deinit = deinit,
    .describe = describe,
};

int uvm__qemu_create(struct uvm__hcs *h, const struct uvm__hcs_create_params *params,
                     uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct uvm__qemu *q = uvm__qemu_of(h);
    const struct create_params p = {*params, q};

    UVM_ASSERT(!q->closing);
    if (params->document_bytes > UVM__DOCUMENT_BYTES_MAX) {
        return -UVM_E_LIMIT;
    }
    return uvm__op_start(h->engine, scope, &saga, &p, on_done, arg, ret_op);
}

struct uvm__hcs_system *uvm__qemu_create_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &saga);
    struct create_state *c = uvm__op_state(op);

    if (!uvm__op_succeeded(op) || c->system == NULL) {
        return NULL;
    }
    struct uvm__qemu_system *s = UVM_TAKE_PTR(c->system);
    s->create_op = NULL;
    uvm__qemu_take(s);
    return &s->base;
}
