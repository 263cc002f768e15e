/* SPDX-License-Identifier: MIT
 * system.c — one VM: its memory, its parts, its events.
 *
 * Three things end at different times. What create prepared (descriptors, lease, document) is given back
 * when create is undone or the system closed. The parts (process, QMP, console, hvsock device) close on the
 * loop; the count of those that still close holds a reference. The memory goes with the last reference,
 * which may be an op's that somebody keeps.
 *
 * Events are told from the ready queue, except the console's bytes, which are told as they are read; none is
 * told before the owner took the system, nor after it closed it.
 */
#include "hcs/qemu/qemu_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/guid.h"
#include "hcs/qemu/plan9.h"
#include "hcs/qemu/resource.h"
#include "hcs/qemu/share_server.h"
#include "hcs/qemu/vpmem.h"

/* ---- memory ------------------------------------------------------------------------------- */

static void close_named_fds(struct uvm__qemu_system *s) {
    for (size_t i = 0; i < s->fds_count; i++) {
        uvm__close_fd(&s->fds[i].fd);
    }
    s->fds_count = 0;
}

static int copy_fds(struct uvm__qemu_system *s, const struct uvm__hcs_create_params *params) {
    if (params->fds_count > UVM__QEMU_FDS_MAX) {
        return -UVM_E_LIMIT;
    }
    for (size_t i = 0; i < params->fds_count; i++) {
        struct uvm__named_fd *to = &s->fds[i];
        int n = snprintf(to->name, sizeof to->name, "%s", params->fds[i].name);
        if (n <= 0 || (size_t)n >= sizeof to->name) {
            return -UVM_E_INVAL;
        }
        to->fd = fcntl(params->fds[i].fd, F_DUPFD_CLOEXEC, 3);
        if (to->fd < 0) {
            return -UVM_E_IO;
        }
        s->fds_count = i + 1;
    }
    return 0;
}

static void tell(struct uvm__ready *r);
static void closed(struct uvm__ready *r);

int uvm__qemu_system_new(struct uvm__qemu *q, const struct uvm__hcs_create_params *params,
                         struct uvm__qemu_system **ret) {
    uvm_engine *e = q->base.engine;
    struct uvm__qemu_system *s;
    struct uvm__guid guid;

    if (uvm__guid_read(params->id, strlen(params->id), &guid) < 0) {
        return -UVM_E_INVAL;
    }
    s = uvm__zalloc(e, sizeof *s);
    if (s == NULL) {
        return -UVM_E_NOMEM;
    }
    s->base.service = &q->base;
    s->service = q;
    s->engine = e;
    s->refs = 1;
    s->on_event = params->on_event;
    s->event_arg = params->arg;
    uvm__guid_text(&guid, s->id);
    snprintf(s->name, sizeof s->name, "%s", params->name == NULL ? params->id : params->name);
    s->lease = (struct uvm__uid_lease)UVM__UID_LEASE_INIT;
    s->kernel = s->initrd = (struct uvm__boot_file)UVM__BOOT_FILE_INIT;
    s->ram_fd = -1;
    uvm__list_init(&s->resources);
    uvm__list_init(&s->released);
    uvm__list_init(&s->unplugs);
    uvm__list_init(&s->share_servers);
    uvm__ready_init(&s->tell, tell);
    uvm__ready_init(&s->closed, closed);
    for (unsigned i = 0; i < UVM__DOC_SCSI_CONTROLLERS_MAX; i++) {
        uvm__pace_init(&s->plugs[i], e);
    }
    uvm__qemu_end_init(s);
    q->users++;
    uvm__list_append(&q->systems, &s->link);
    int rc = copy_fds(s, params);
    if (rc == 0 && params->cgroup != NULL) {
        s->cgroup_path = uvm__strdup(e, params->cgroup);
        rc = s->cgroup_path == NULL ? -UVM_E_NOMEM : 0;
    }
    if (rc < 0) {
        uvm__qemu_unref(s);
        return rc;
    }
    *ret = s;
    return 0;
}

struct uvm__qemu_system *uvm__qemu_ref(struct uvm__qemu_system *s) {
    UVM_ASSERT(s->refs > 0);
    s->refs++;
    return s;
}

void uvm__qemu_unref(struct uvm__qemu_system *s) {
    UVM_ASSERT(s->refs > 0);
    if (--s->refs > 0) {
        return;
    }
    struct uvm__qemu *q = s->service;
    UVM_ASSERT(s->child == NULL && s->qmp == NULL && s->console == NULL && s->vsock == NULL);
    UVM_ASSERT(uvm__list_empty(&s->end_waiters) && uvm__list_empty(&s->unplugs));
    uvm__resource_free_all(s);
    uvm__hcs_dismiss_image(&q->base, s->vpmem_mb);
    for (unsigned i = 0; i < UVM__DOC_SCSI_CONTROLLERS_MAX; i++) {
        uvm__pace_deinit(&s->plugs[i]);
    }
    uvm__share_servers_free(s);
    uvm__qemu_release(s);
    uvm__ready_cancel(s->engine, &s->tell);
    uvm__deadline_clear(s->engine, &s->decide_at);
    uvm__deadline_clear(s->engine, &s->kill_at);
    uvm__deadline_clear(s->engine, &s->stuck_at);
    uvm__list_remove(&s->link);
    uvm_error_unref(s->end_why);
    uvm__free(s->engine, s->cgroup_path);
    uvm__free(s->engine, s->properties);
    uvm__free(s->engine, s);
    uvm__qemu_unuse(q);
}

void uvm__qemu_release(struct uvm__qemu_system *s) {
    close_named_fds(s);
    uvm__doc_deinit(&s->doc);
    uvm__boot_file_close(&s->kernel);
    uvm__boot_file_close(&s->initrd);
    uvm__close_fd(&s->ram_fd);
    uvm__qemu_vpmem_close(s);
    uvm__uid_release(&s->lease);
    uvm__cgroup_close(s->engine, &s->cgroup);
    uvm__free(s->engine, s->kernel_line);
    s->kernel_line = NULL;
    uvm__argv_deinit(&s->argv);
}

/* ---- parts -------------------------------------------------------------------------------- */

static void part_closed(void *arg) {
    struct uvm__qemu_system *s = arg;

    UVM_ASSERT(s->parts_closing > 0);
    if (--s->parts_closing > 0) {
        return;
    }
    void (*on_closed)(struct uvm__qemu_system *) = UVM_TAKE_PTR(s->on_parts_closed);
    uvm__deadline_clear(s->engine, &s->decide_at);
    uvm__deadline_clear(s->engine, &s->kill_at);
    uvm__deadline_clear(s->engine, &s->stuck_at);
    on_closed(s);
    uvm__qemu_unref(s);
}

void uvm__qemu_parts_close(struct uvm__qemu_system *s,
                           void (*on_closed)(struct uvm__qemu_system *s)) {
    UVM_ASSERT(s->parts_closing == 0 && s->on_parts_closed == NULL);
    struct uvm__child *child = UVM_TAKE_PTR(s->child);
    struct uvm__qmp *qmp = UVM_TAKE_PTR(s->qmp);
    struct uvm__console *console = UVM_TAKE_PTR(s->console);
    struct uvm__vsock_device *vsock = UVM_TAKE_PTR(s->vsock);

    uvm__qemu_ref(s);
    s->parts_closing = 1;
    s->parts_closing += uvm__qemu_plan9_close(s, part_closed); /* their ports go before hvsock */
    uvm__vmbus_close(s->vmbus);
    s->vmbus = NULL;
    s->base.hvsock = NULL;
    s->on_parts_closed = on_closed;
    s->parts_closing += uvm__share_servers_close(s, part_closed, s);
    if (child != NULL) {
        s->parts_closing++;
        uvm__child_entrust(child, UVM_TAKE_FD(s->lease.fd)); /* no other VM gets its uid before */
        uvm__child_close(child, part_closed, s);
    }
    if (qmp != NULL) {
        s->parts_closing++;
        uvm__qmp_close(qmp, part_closed, s);
    }
    if (console != NULL) {
        s->parts_closing++;
        uvm__console_close(console, part_closed, s);
    }
    if (vsock != NULL) {
        s->parts_closing++;
        uvm__vsock_device_close(vsock, part_closed, s);
    }
    part_closed(s);
}

/* ---- events ------------------------------------------------------------------------------- */

static bool may_tell(const struct uvm__qemu_system *s) {
    return s->taken && !s->closing && s->on_event != NULL;
}

static void tell_kind(struct uvm__qemu_system *s, enum uvm__hcs_event_kind kind) {
    const struct uvm__hcs_event ev = {.kind = kind, .detail = ""};
    s->on_event(&s->base, &ev, s->event_arg);
}

static void tell_released(struct uvm__qemu_system *s) {
    struct uvm__resource *r;

    while (may_tell(s) && (r = uvm__resource_released(s)) != NULL) {
        const struct uvm__hcs_event ev = {
            .kind = UVM__HCS_EVENT_RELEASED, .detail = "", .resource = r->path};
        s->on_event(&s->base, &ev, s->event_arg);
        uvm__free(s->engine, r);
    }
}

static void tell(struct uvm__ready *r) {
    struct uvm__qemu_system *s = UVM__CONTAINER_OF(r, struct uvm__qemu_system, tell);

    if (s->tell_paused && may_tell(s)) {
        s->tell_paused = false;
        tell_kind(s, UVM__HCS_EVENT_PAUSED);
    }
    if (s->tell_resumed && may_tell(s)) {
        s->tell_resumed = false;
        tell_kind(s, UVM__HCS_EVENT_RESUMED);
    }
    tell_released(s);
    if (s->tell_exited && may_tell(s)) {
        char detail[UVM__VMM_STDERR_BYTES + 256];
        s->tell_exited = false;
        uvm__qemu_end_text(s, detail, sizeof detail);
        const struct uvm__hcs_event ev = {.kind = UVM__HCS_EVENT_EXITED,
                                          .exit = s->exit,
                                          .status = uvm__exit_status(&s->facts),
                                          .detail = detail};
        s->on_event(&s->base, &ev, s->event_arg);
    }
}

void uvm__qemu_tell_paused(struct uvm__qemu_system *s, bool paused) {
    s->tell_paused = paused;
    s->tell_resumed = !paused;
    uvm__ready_push(s->engine, &s->tell);
}

void uvm__qemu_tell_exited(struct uvm__qemu_system *s) {
    s->tell_exited = true;
    uvm__ready_push(s->engine, &s->tell);
}

void uvm__qemu_on_console(struct uvm__console *c, const void *data, size_t bytes, void *arg) {
    struct uvm__qemu_system *s = arg;
    const struct uvm__hcs_event ev = {
        .kind = UVM__HCS_EVENT_CONSOLE, .detail = "", .data = data, .bytes = bytes};

    (void)c;
    if (may_tell(s)) {
        s->on_event(&s->base, &ev, s->event_arg);
    }
}

void uvm__qemu_take(struct uvm__qemu_system *s) {
    UVM_ASSERT(!s->taken);
    s->taken = true;
    uvm__ready_push(s->engine, &s->tell);
}

/* ---- close -------------------------------------------------------------------------------- */

static void closed(struct uvm__ready *r) {
    struct uvm__qemu_system *s = UVM__CONTAINER_OF(r, struct uvm__qemu_system, closed);
    void (*on_closed)(void *) = s->on_closed;
    void *arg = s->closed_arg;
    uvm_engine *e = s->engine;

    uvm__qemu_unref(s); /* the owner's */
    if (on_closed != NULL) {
        on_closed(arg);
    }
    uvm__engine_release(e);
}

static void close_on_parts(struct uvm__qemu_system *s) {
    uvm__qemu_decide(s); /* whoever still waits for the end gets it now */
    uvm__qemu_release(s);
    uvm__ready_push(s->engine, &s->closed);
}

void uvm__qemu_close(struct uvm__hcs_system *base, void (*on_closed)(void *arg), void *arg) {
    struct uvm__qemu_system *s = uvm__qemu_system_of(base);

    UVM_ASSERT(!s->closing);
    s->closing = true;
    s->on_closed = on_closed;
    s->closed_arg = arg;
    uvm__engine_hold(s->engine);
    uvm__ready_cancel(s->engine, &s->tell);
    uvm__exit_on_terminate(&s->facts);
    uvm__qemu_parts_close(s, close_on_parts);
}
