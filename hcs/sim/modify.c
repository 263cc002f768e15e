/* SPDX-License-Identifier: MIT
 * modify.c — changing a modelled system: disks in SCSI slots and images in VPMem, with the faults of both
 * directions.
 *
 * Add acts after act_ms and answers after answer_ms more; a cancel before it acted ends it, one after it
 * waits for the answer and takes the disk back. Where the host stays mute nobody can know, so the op ends
 * with UNDO when its time is over; a late act or answer is then taken back, and RELEASED says so. Remove
 * only goes forward: LATE acts after every deadline, and RELEASED says it where the op had been given up.
 * What an act needs (the disk, what is to be told) is allocated with the op: a host does not fail halfway.
 */
#include "async/check.h"
#include "async/cleanup.h"
#include "async/limits.h"
#include "hcs/sim/sim_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct modify {
    uvm_engine *engine;
    struct uvm__sim_system *system;
    enum uvm__sim_fault fault;
    uvm_op *op;
    struct uvm__deadline timer;
    struct uvm__list link; /* uvm__sim_system.modifies, while a step or an undo is under way */
    bool acted, undoing;
    struct uvm__sim_disk *disk; /* of an add, until it acts */
    struct uvm__sim_news *news; /* until it is told */
    struct uvm__modify request;
    int wrong; /* what the request got wrong, and why */
    struct uvm__fail why;
    unsigned controller; /* and slot: where the disk is, or the image (sim.h) */
    uint64_t slot;
};

/* ---- disks -------------------------------------------------------------------------------- */

static struct uvm__sim_disk *find(struct uvm__sim_system *s, unsigned controller, uint64_t lun) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &s->disks) {
        struct uvm__sim_disk *d = UVM__CONTAINER_OF(it, struct uvm__sim_disk, link);
        if (d->controller == controller && d->lun == lun) {
            return d;
        }
    }
    return NULL;
}

bool uvm__sim_disk_at(struct uvm__hcs_system *s, unsigned controller, uint64_t lun,
                      const char **ret_path, bool *ret_read_only) {
    struct uvm__sim_system *sim = UVM__CONTAINER_OF(s, struct uvm__sim_system, base);
    const struct uvm__sim_disk *d = find(sim, controller, lun);
    if (d != NULL && ret_path != NULL) {
        *ret_path = d->path;
        *ret_read_only = d->read_only;
    }
    return d != NULL;
}

uint32_t uvm__sim_disks(struct uvm__hcs_system *s) {
    const struct uvm__list *it;
    uint32_t n = 0;
    UVM__LIST_FOREACH(it, &UVM__CONTAINER_OF(s, struct uvm__sim_system, base)->disks) {
        n++;
    }
    return n;
}

struct uvm__sim_disk *uvm__sim_disk_new(uvm_engine *e, unsigned controller,
                                        const struct uvm__doc_scsi_attachment *a) {
    size_t bytes = strlen(a->path) + 1;
    struct uvm__sim_disk *d = uvm__zalloc(e, sizeof *d + bytes);
    if (d != NULL) {
        d->controller = controller;
        d->lun = a->lun;
        d->read_only = a->read_only;
        memcpy(d->path, a->path, bytes);
        uvm__list_init(&d->link);
    }
    return d;
}

struct uvm__sim_disk *uvm__sim_image_new(uvm_engine *e, const struct uvm__modify *m,
                                         uint64_t bytes) {
    const struct uvm__doc_scsi_attachment a = {
        .path = m->settings.vpmem.host_path, .read_only = true, .lun = m->offset};
    struct uvm__sim_disk *d = uvm__sim_disk_new(e, UVM__SIM_VPMEM + (unsigned)m->number, &a);
    if (d != NULL) {
        d->bytes = bytes;
        d->whole = m->kind == UVM__MODIFY_VPMEM;
    }
    return d;
}

struct uvm__sim_disk *uvm__sim_share_new(uvm_engine *e, const struct uvm__doc_plan9_share *share) {
    const struct uvm__doc_scsi_attachment a = {.path = share->path,
                                               .read_only =
                                                   (share->flags & UVM__DOC_PLAN9_READ_ONLY) != 0,
                                               .lun = share->port};
    struct uvm__sim_disk *d = uvm__sim_disk_new(e, UVM__SIM_PLAN9, &a);
    if (d != NULL) {
        (void)snprintf(d->name, sizeof d->name, "%s", share->name);
    }
    return d;
}

uint64_t uvm__sim_nic_slot(const char *guid) {
    struct uvm__guid g = uvm__guid_null;
    uint64_t slot;
    (void)uvm__guid_read(guid, strlen(guid), &g);
    memcpy(&slot, g.bytes, sizeof slot);
    return slot;
}

struct uvm__sim_disk *uvm__sim_nic_new(uvm_engine *e, const char *guid,
                                       const struct uvm__doc_nic *nic) {
    const struct uvm__doc_linux_endpoint *to = &nic->linux_endpoint;
    const struct uvm__doc_scsi_attachment a = {.path = to->name != NULL   ? to->name
                                                       : to->path != NULL ? to->path
                                                                          : "user",
                                               .lun = uvm__sim_nic_slot(guid)};
    struct uvm__sim_disk *d = uvm__sim_disk_new(e, UVM__SIM_NIC, &a);
    if (d != NULL) {
        (void)snprintf(d->name, sizeof d->name, "%s", guid);
        d->whole = to->type != NULL && strcmp(to->type, "NetworkNamespace") == 0;
    }
    return d;
}

int uvm__sim_nic_config(struct uvm__hcs_system *s, const char *guid,
                        struct uvm__hcs_nic_config *ret) {
    const struct uvm__sim_disk *d = find(UVM__CONTAINER_OF(s, struct uvm__sim_system, base),
                                         UVM__SIM_NIC, uvm__sim_nic_slot(guid));
    if (d == NULL) {
        return -UVM_E_NOTFOUND;
    }
    *ret = (struct uvm__hcs_nic_config){.mtu = 1500};
    if (d->whole) {
        *ret = (struct uvm__hcs_nic_config){.mac = "02:00:00:09:08:07",
                                            .mtu = 1400,
                                            .addresses_count = 1,
                                            .addresses = {"10.9.8.7/24"},
                                            .routes_count = 1,
                                            .routes = {{"0.0.0.0/0", "10.9.8.1", 0}}};
    }
    return 0;
}

void uvm__sim_disk_add(struct uvm__sim_system *s, struct uvm__sim_disk *take_d) {
    uvm__list_append(&s->disks, &take_d->link);
    s->host->ledger.disks++;
    s->host->ledger.disks_added++;
}

static void disk_free(struct uvm__sim_system *s, struct uvm__sim_disk *d) {
    UVM_ASSERT(s->host->ledger.disks > 0);
    s->host->ledger.disks--;
    uvm__list_remove(&d->link);
    uvm__free(s->host->base.engine, d);
}

static void disk_remove(struct uvm__sim_system *s, struct uvm__sim_disk *d) {
    unsigned controller = d->controller;
    uint64_t lun = d->lun;
    disk_free(s, d);
    if (s->guest_runs && s->host->params.on_disk_removed != NULL) {
        s->host->params.on_disk_removed(&s->base, controller, lun, s->host->params.arg);
    }
}

void uvm__sim_disks_free(struct uvm__sim_system *s) {
    while (!uvm__list_empty(&s->disks)) {
        disk_free(s, UVM__CONTAINER_OF(s->disks.next, struct uvm__sim_disk, link));
    }
}

bool uvm__sim_disk_excluded(const struct uvm__list *disks, const char *path, bool read_only) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, disks) {
        const struct uvm__sim_disk *d = UVM__CONTAINER_OF(it, struct uvm__sim_disk, link);
        if (d->controller < UVM__SIM_VPMEM && !(d->read_only && read_only) &&
            strcmp(d->path, path) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_add(const struct modify *m) {
    return m->request.verb == UVM__MODIFY_ADD;
}

static enum uvm__sim_point point_of(const struct modify *m) {
    return is_add(m) ? UVM__SIM_MODIFY_ADD : UVM__SIM_MODIFY_REMOVE;
}

/* ---- ends --------------------------------------------------------------------------------- */

static void end(struct modify *m, uvm_error *take_err) {
    uvm__deadline_clear(m->system->host->base.engine, &m->timer);
    uvm__list_remove(&m->link);
    if (m->undoing) {
        uvm_error_unref(take_err);
        uvm__undo_done(m->op, NULL);
    } else {
        uvm__sim_tell_moment(m->system->host, point_of(m), UVM__SIM_ANSWERED);
        uvm__step_done(m->op, take_err);
    }
}

static uvm_error *error(struct modify *m, enum uvm_error_code code, const char *what) {
    return uvm__error(m->system->host->base.engine, code, 0, "%s: modify %s:%" PRIu64 ": %s",
                      m->system->name, m->request.guid, m->request.number, what);
}

/* Whoever gave up on it hears that it is free after all. */
static void tell_released(struct modify *m) {
    struct uvm__sim_news *n = UVM_TAKE_PTR(m->news);
    struct uvm__fail f;
    UVM_ASSERT(n != NULL);
    int rc = uvm__modify_path(&m->request, n->resource, &f);
    UVM_ASSERT(rc == 0);
    uvm__list_append(&m->system->news, &n->link);
    uvm__ready_push(m->system->host->base.engine, &m->system->tell);
}

void uvm__sim_modifies_fail(struct uvm__sim_system *s) {
    while (!uvm__list_empty(&s->modifies)) {
        struct modify *m = UVM__CONTAINER_OF(s->modifies.next, struct modify, link);
        end(m, error(m, UVM_E_EXITED, s->detail));
    }
}

/* ---- acting ------------------------------------------------------------------------------- */

/* What is refused before the host is asked for anything: a slot belongs to the change that is under way, also when
 * that was given up. One that a mute host will never end is the exception, so that a model can go on behind it. */
static uvm_error *busy(struct modify *m) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &m->system->modifies) {
        const struct modify *o = UVM__CONTAINER_OF(it, struct modify, link);
        bool never = uvm__op_resolved(o->op) && o->fault != UVM__SIM_LATE;
        if (!never && m->controller != UVM__DOC_SCSI_CONTROLLERS_MAX &&
            o->controller == m->controller && o->slot == m->slot) {
            return is_add(m) ? error(m, UVM_E_EXISTS, "the slot is taken")
                             : error(m, UVM_E_STATE, "cannot be removed now");
        }
    }
    return NULL;
}

/* Of an image in VPMem: its device, and what else is in it. */
static uvm_error *refusal_of_image(struct modify *m) {
    const struct uvm__sim_system *s = m->system;
    const struct uvm__list *it;
    if (m->request.number >= s->base.vpmem.devices) {
        return error(m, UVM_E_NOTFOUND, "no such device");
    }
    if (m->slot > s->base.vpmem.bytes || m->disk->bytes > s->base.vpmem.bytes - m->slot) {
        return error(m, UVM_E_LIMIT, "it does not fit into the device");
    }
    UVM__LIST_FOREACH(it, &s->disks) {
        const struct uvm__sim_disk *d = UVM__CONTAINER_OF(it, struct uvm__sim_disk, link);
        if (d->controller == m->controller && d->lun < m->slot + m->disk->bytes &&
            m->slot < d->lun + d->bytes) {
            return error(m, UVM_E_EXISTS, "the range is taken");
        }
    }
    return NULL;
}

/* What a real host would find wrong; NULL: nothing. */
static uvm_error *refusal(struct modify *m) {
    struct uvm__sim_system *s = m->system;
    const struct uvm__sim_disk *there = find(s, m->controller, m->slot);
    if (there != NULL && m->request.kind == UVM__MODIFY_PLAN9 && !is_add(m) &&
        strcmp(there->name, m->request.settings.plan9.name) != 0) {
        there = NULL;
    }
    if (!is_add(m)) {
        return there == NULL ? error(m, UVM_E_NOTFOUND, "nothing is there") : NULL;
    }
    if (m->request.kind == UVM__MODIFY_NIC) {
        return there != NULL ? error(m, UVM_E_EXISTS, "the adapter is there") : NULL;
    }
    if (m->request.kind == UVM__MODIFY_VSMB) {
        return there != NULL ? error(m, UVM_E_EXISTS, "the name is taken") : NULL;
    }
    if (m->request.kind == UVM__MODIFY_PLAN9) {
        return there != NULL ? error(m, UVM_E_EXISTS, "the port is taken") : NULL;
    }
    if (m->request.kind == UVM__MODIFY_VPCI) {
        const char *why;
        enum uvm_error_code code = uvm__sim_function_refused(&s->disks, m->disk, &why);
        return code == UVM_OK ? NULL : error(m, code, why);
    }
    if (m->request.kind != UVM__MODIFY_SCSI) {
        return refusal_of_image(m);
    }
    if (m->controller == UVM__DOC_SCSI_CONTROLLERS_MAX) {
        return error(m, UVM_E_NOTFOUND, "no such controller");
    }
    if (there != NULL) {
        return error(m, UVM_E_EXISTS, "the slot is taken");
    }
    const struct uvm__doc_scsi_attachment *a = &m->request.settings.scsi;
    return uvm__sim_disk_excluded(&s->disks, a->path, a->read_only)
               ? error(m, UVM_E_STATE, "the file is in another slot, and not for reading only")
               : NULL;
}

static void answer(struct modify *m) {
    if (m->fault == UVM__SIM_DIE_DONE) {
        uvm__sim_system_end(m->system, UVM__HCS_EXIT_VMM_DIED, "killed by SIGKILL");
    } else {
        if (!is_add(m) && uvm__op_resolved(m->op)) {
            tell_released(m);
        }
        end(m, NULL);
    }
}

static void act(struct modify *m) {
    struct uvm__sim_host *host = m->system->host;
    uvm_error *err = refusal(m);
    if (err != NULL) {
        end(m, err);
        return;
    }
    m->acted = true;
    uvm__sim_tell_moment(host, point_of(m), UVM__SIM_ACTED);
    if (is_add(m)) {
        uvm__step_armed(m->op);
        uvm__sim_disk_add(m->system, UVM_TAKE_PTR(m->disk));
    } else {
        disk_remove(m->system, find(m->system, m->controller, m->slot));
    }
    if (m->fault == UVM__SIM_MUTE_DONE) {
        return;
    }
    bool late = m->fault == UVM__SIM_LATE && is_add(m);
    uint64_t wait = late ? UINT64_C(3) * UVM__UNDO_MS : host->params.answer_ms;
    uvm__deadline_set(host->base.engine, &m->timer, uvm__now_ms(host->base.engine) + wait);
}

static void take_back(struct modify *m) {
    struct uvm__sim_disk *d = find(m->system, m->controller, m->slot);
    if (d != NULL) {
        disk_free(m->system, d); /* the guest had no time to use it */
    }
    if (uvm__op_resolved(m->op)) {
        tell_released(m);
    }
    end(m, NULL);
}

static void on_time(struct uvm__deadline *t) {
    struct modify *m = UVM__CONTAINER_OF(t, struct modify, timer);
    if (m->undoing) {
        take_back(m);
    } else if (m->acted) {
        answer(m);
    } else if (m->fault == UVM__SIM_REFUSE) {
        end(m, error(m, UVM_E_PEER, "refused by the host"));
    } else if (m->fault == UVM__SIM_DIE_IDLE) {
        uvm__sim_system_end(m->system, UVM__HCS_EXIT_VMM_DIED, "killed by SIGKILL");
    } else if (m->fault != UVM__SIM_MUTE_IDLE) {
        act(m);
    }
}

/* ---- the saga ----------------------------------------------------------------------------- */

static void begin(struct modify *m) {
    uvm_engine *e = m->system->host->base.engine;
    uint64_t wait = m->system->host->params.act_ms;
    uvm__list_append(&m->system->modifies, &m->link);
    if (!m->undoing && !is_add(m) && m->fault == UVM__SIM_LATE) {
        wait = UINT64_C(3) * UVM__UNDO_MS;
    }
    uvm__deadline_set(e, &m->timer, uvm__now_ms(e) + wait);
}

static void run(uvm_op *op, void *state) {
    struct modify *m = state;
    struct uvm__sim_system *s = m->system;
    if (m->wrong < 0) {
        uvm__step_done(op, uvm__fail_error(s->host->base.engine, m->wrong, &m->why));
        return;
    }
    if (s->state == UVM__SIM_ENDED) {
        uvm__step_done(op, error(m, UVM_E_EXITED, s->detail));
        return;
    }
    uvm_error *err = busy(m);
    if (err != NULL) {
        uvm__step_done(op, err);
        return;
    }
    m->fault = uvm__sim_next_fault(s->host, point_of(m));
    uvm__sim_tell_moment(s->host, point_of(m), UVM__SIM_CALLED);
    begin(m);
}

static void add_cancel(uvm_op *op, void *state) {
    struct modify *m = state;
    (void)op;
    if (!m->acted && m->fault != UVM__SIM_MUTE_IDLE && m->fault != UVM__SIM_LATE) {
        end(m, error(m, UVM_E_CANCELED, "canceled"));
    }
}

static void add_undo(uvm_op *op, void *state) {
    struct modify *m = state;
    m->undoing = true;
    if (m->system->state == UVM__SIM_ENDED) {
        uvm__undo_done(op, NULL);
        return;
    }
    begin(m);
}

static unsigned controller_of(const struct uvm__sim_system *s, const char *guid) {
    struct uvm__guid wanted;
    unsigned n = 0;
    int rc = uvm__guid_read(guid, strlen(guid), &wanted);
    UVM_ASSERT(rc == 0); /* by the reader */
    while (n < UVM__DOC_SCSI_CONTROLLERS_MAX &&
           !(s->facts.has_controller[n] && uvm__guid_equal(&s->facts.controllers[n], &wanted))) {
        n++;
    }
    return n;
}

/* Where it is among all that the system has. */
static void place(struct modify *m) {
    const struct uvm__modify *r = &m->request;
    if (m->wrong < 0) {
        m->controller = UVM__DOC_SCSI_CONTROLLERS_MAX;
    } else if (r->kind == UVM__MODIFY_SCSI) {
        m->controller = controller_of(m->system, r->guid);
        m->slot = r->number;
    } else if (r->kind == UVM__MODIFY_NIC) {
        m->controller = UVM__SIM_NIC;
        m->slot = uvm__sim_nic_slot(r->guid);
    } else if (r->kind == UVM__MODIFY_VSMB) {
        m->controller = UVM__SIM_VSMB;
        m->slot = uvm__sim_vsmb_slot(r->settings.vsmb.name);
    } else if (r->kind == UVM__MODIFY_PLAN9) {
        m->controller = UVM__SIM_PLAN9;
        m->slot = r->settings.plan9.port;
    } else if (r->kind == UVM__MODIFY_VPCI) {
        m->controller = UVM__SIM_VPCI;
        m->slot = uvm__sim_vpci_slot(r->guid);
    } else {
        m->controller = UVM__SIM_VPMEM + (unsigned)r->number;
        m->slot = r->offset;
    }
}

static struct uvm__sim_disk *new_disk(struct modify *m) {
    const struct uvm__modify *r = &m->request;
    const struct uvm__sim_system *s = m->system;
    if (r->kind == UVM__MODIFY_SCSI) {
        return uvm__sim_disk_new(m->engine, m->controller, &r->settings.scsi);
    }
    if (r->kind == UVM__MODIFY_NIC) {
        return uvm__sim_nic_new(m->engine, r->guid, &r->settings.nic);
    }
    if (r->kind == UVM__MODIFY_VSMB) {
        return uvm__sim_vsmb_new(m->engine, &r->settings.vsmb);
    }
    if (r->kind == UVM__MODIFY_PLAN9) {
        return uvm__sim_share_new(m->engine, &r->settings.plan9);
    }
    if (r->kind == UVM__MODIFY_VPCI) {
        return uvm__sim_function_new(m->engine, r->guid, &r->settings.vpci);
    }
    uint64_t image = (s->host->image_bytes + UVM__DOC_VPMEM_PAGE_BYTES - 1) &
                     ~(uint64_t)(UVM__DOC_VPMEM_PAGE_BYTES - 1);
    bool whole = r->kind == UVM__MODIFY_VPMEM && image < s->base.vpmem.bytes;
    return uvm__sim_image_new(m->engine, r, whole ? s->base.vpmem.bytes : image);
}

struct params {
    struct uvm__sim_system *system;
    struct uvm__modify *request;
    int wrong;
    const struct uvm__fail *why;
};

static int init(uvm_op *op, void *state, const void *params) {
    struct modify *m = state;
    const struct params *p = params;
    uvm_engine *e = uvm__op_engine(op);
    m->op = op;
    m->engine = e;
    m->system = p->system;
    m->request = *p->request;
    m->wrong = p->wrong;
    m->why = *p->why;
    place(m);
    m->news = uvm__zalloc(e, sizeof *m->news);
    if (m->wrong == 0 && is_add(m)) {
        m->disk = new_disk(m);
    }
    if (m->news == NULL || (m->wrong == 0 && is_add(m) && m->disk == NULL)) {
        uvm__free(e, m->news);
        uvm__free(e, m->disk);
        return -UVM_E_NOMEM;
    }
    uvm__deadline_init(&m->timer, on_time);
    uvm__list_init(&m->link);
    return 0;
}

static void deinit(void *state) {
    struct modify *m = state;
    uvm__modify_deinit(&m->request);
    uvm__free(m->engine, m->news);
    uvm__free(m->engine, m->disk);
}

static const struct uvm__step add_steps[] = {{"modify", run, add_cancel, add_undo, false}};
static const struct uvm__step remove_steps[] = {{"modify", run, NULL, NULL, false}};
static const struct uvm__saga add_saga = {.name = "hcs add",
                                          .steps = add_steps,
                                          .steps_count = 1,
                                          .state_bytes = sizeof(struct modify),
                                          .init = init,
                                          .deinit = deinit};
static const struct uvm__saga remove_saga = {.name = "hcs remove",
                                             .steps = remove_steps,
                                             .steps_count = 1,
                                             .state_bytes = sizeof(struct modify),
                                             .init = init,
                                             .deinit = deinit};

int uvm__sim_modify(struct uvm__hcs_system *s, const struct uvm__hcs_modify_params *params,
                    uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct uvm__sim_system *sim = UVM__CONTAINER_OF(s, struct uvm__sim_system, base);
    uvm_engine *e = sim->host->base.engine;
    struct uvm__modify request = {0};
    struct uvm__fail f = {0};
    if (sim->state == UVM__SIM_ENDED) {
        return -UVM_E_EXITED;
    }
    if (params->request_bytes > UVM__DOCUMENT_BYTES_MAX) {
        return -UVM_E_LIMIT;
    }
    int rc = uvm__modify_read(e, params->request, params->request_bytes, &request, &f);
    if (rc == -UVM_E_NOMEM) {
        return rc;
    }
    if (rc == 0 && params->fds_count > 0) {
        rc = uvm__fail(&f, UVM_E_INVAL, 0, "Settings: no descriptor is named there, but %zu came",
                       params->fds_count);
    }
    if (rc == 0 && request.verb == UVM__MODIFY_UPDATE) {
        rc = uvm__fail(&f, UVM_E_UNSUPPORTED, 0, "RequestType: an attachment cannot be changed");
    }
    const struct params p = {sim, &request, rc, &f};
    bool remove = rc == 0 && request.verb == UVM__MODIFY_REMOVE;
    rc = uvm__op_start(e, scope, remove ? &remove_saga : &add_saga, &p, on_done, arg, ret_op);
    if (rc < 0) {
        uvm__modify_deinit(&request);
    }
    return rc;
}
