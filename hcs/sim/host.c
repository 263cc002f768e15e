/* SPDX-License-Identifier: MIT
 * host.c — the modelled host: what exists, and what ends it.
 *
 * The ledger changes here and nowhere else, at the moment the host acts. A system that has ended still
 * exists (its record does) until it is closed, as with HCS; `running` tells whether a VMM lives.
 */
#include "async/check.h"
#include "async/limits.h"
#include "hcs/sim/sim_int.h"
#include <stdio.h>
#include <string.h>

static const char *const point_names[UVM__SIM_POINT_MAX] = {
#define UVM__X(name, text) [UVM__SIM_##name] = (text),
    UVM__SIM_POINT_MAP(UVM__X)
#undef UVM__X
};
static const char *const fault_names[UVM__SIM_FAULT_MAX] = {
#define UVM__X(name, text) [UVM__SIM_##name] = (text),
    UVM__SIM_FAULT_MAP(UVM__X)
#undef UVM__X
};

const char *uvm__sim_point_name(enum uvm__sim_point point) {
    UVM_ASSERT_CMP(point, <, UVM__SIM_POINT_MAX);
    return point_names[point];
}

const char *uvm__sim_fault_name(enum uvm__sim_fault fault) {
    UVM_ASSERT_CMP(fault, <, UVM__SIM_FAULT_MAX);
    return fault_names[fault];
}

int uvm__sim_host_new(uvm_engine *e, const struct uvm__sim_params *params,
                      struct uvm__sim_host **ret) {
    struct uvm__sim_host *h = uvm__zalloc(e, sizeof *h);
    if (h == NULL) {
        return -UVM_E_NOMEM;
    }
    h->base.ops = &uvm__sim_ops;
    h->base.engine = e;
    h->params = *params;
    h->image_bytes = 1u << 20;
    uvm__list_init(&h->systems);
    if (h->params.window_bytes == 0) {
        h->params.window_bytes = UVM__STREAM_WINDOW_BYTES;
    }
    *ret = h;
    return 0;
}

struct uvm__hcs *uvm__sim_service(struct uvm__sim_host *h) {
    return &h->base;
}

void uvm__sim_set_image_bytes(struct uvm__sim_host *h, uint64_t bytes) {
    h->image_bytes = bytes;
}

void uvm__sim_set_room(struct uvm__sim_host *h, const struct uvm__hcs_limits *limits,
                       const struct uvm__hcs_capacity *capacity) {
    h->base.admission.limits = *limits;
    h->capacity = *capacity;
}

struct uvm__hcs_system *uvm__sim_newest(struct uvm__sim_host *h) {
    if (uvm__list_empty(&h->systems)) {
        return NULL;
    }
    return &UVM__CONTAINER_OF(h->systems.prev, struct uvm__sim_system, link)->base;
}

struct uvm__hcs_system *uvm__sim_find(struct uvm__sim_host *h, const char *name) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &h->systems) {
        struct uvm__sim_system *s = UVM__CONTAINER_OF(it, struct uvm__sim_system, link);
        if (s->state != UVM__SIM_ENDED && strcmp(s->name, name) == 0) {
            return &s->base;
        }
    }
    return NULL;
}

struct uvm__sim_ledger uvm__sim_ledger(const struct uvm__sim_host *h) {
    return h->ledger;
}

void uvm__sim_set_fault(struct uvm__sim_host *h, enum uvm__sim_point point, uint32_t skip,
                        enum uvm__sim_fault fault) {
    UVM_ASSERT_CMP(point, <, UVM__SIM_POINT_MAX);
    h->faults[point].fault = fault;
    h->faults[point].skip = skip;
    h->faults[point].met = false;
}

bool uvm__sim_fault_met(const struct uvm__sim_host *h, enum uvm__sim_point point) {
    return h->faults[point].met;
}

void uvm__sim_tell_moment(struct uvm__sim_host *h, enum uvm__sim_point point,
                          enum uvm__sim_moment moment) {
    if (h->params.on_moment != NULL) {
        h->params.on_moment(point, moment, h->params.arg);
    }
}

enum uvm__sim_fault uvm__sim_next_fault(struct uvm__sim_host *h, enum uvm__sim_point point) {
    enum uvm__sim_fault fault = h->faults[point].fault;
    if (fault == UVM__SIM_NONE) {
        return fault;
    }
    if (h->faults[point].skip > 0) {
        h->faults[point].skip--;
        return UVM__SIM_NONE;
    }
    h->faults[point].fault = UVM__SIM_NONE;
    h->faults[point].met = true;
    return fault;
}

int uvm__sim_system_new(struct uvm__sim_host *h, const char *id, const char *name,
                        struct uvm__sim_system **ret) {
    uvm_engine *e = h->base.engine;
    struct uvm__sim_system *s = uvm__zalloc(e, sizeof *s);
    if (s == NULL) {
        return -UVM_E_NOMEM;
    }
    int rc = uvm__loopback_new(e, h->params.window_bytes, &s->base.hvsock, &s->guest);
    if (rc < 0) {
        uvm__free(e, s);
        return rc;
    }
    rc = uvm__vmbus_open(e, s->base.hvsock, name, &s->vmbus);
    if (rc < 0) {
        uvm__loopback_free(s->base.hvsock, s->guest);
        uvm__free(e, s);
        return rc;
    }
    s->base.service = &h->base;
    s->host = h;
    (void)snprintf(s->id, sizeof s->id, "%s", id);
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    uvm__buf_init(&s->console, e, UVM__CONSOLE_TAIL_BYTES);
    uvm__list_init(&s->verbs);
    uvm__list_init(&s->disks);
    uvm__list_init(&s->modifies);
    uvm__list_init(&s->news);
    uvm__list_append(&h->systems, &s->link);
    h->ledger.systems++;
    h->ledger.created++;
    if (h->ledger.systems > h->ledger.systems_peak) {
        h->ledger.systems_peak = h->ledger.systems;
    }
    *ret = s;
    return 0;
}

void uvm__sim_system_free(struct uvm__sim_system *s) {
    struct uvm__sim_host *h = s->host;
    UVM_ASSERT(s->state == UVM__SIM_ENDED && uvm__list_empty(&s->verbs));
    UVM_ASSERT(uvm__list_empty(&s->modifies) && uvm__list_empty(&s->disks));
    while (!uvm__list_empty(&s->news)) {
        struct uvm__sim_news *n = UVM__CONTAINER_OF(s->news.next, struct uvm__sim_news, link);
        uvm__list_remove(&n->link);
        uvm__free(h->base.engine, n);
    }
    UVM_ASSERT(h->ledger.systems > 0);
    h->ledger.systems--;
    uvm__list_remove(&s->link);
    uvm__loopback_free(s->base.hvsock, s->guest);
    uvm__buf_deinit(&s->console);
    uvm__free(h->base.engine, s->properties);
    uvm__ready_cancel(h->base.engine, &s->tell);
    uvm__free(h->base.engine, s);
}

void uvm__sim_system_run(struct uvm__sim_system *s) {
    UVM_ASSERT(s->state == UVM__SIM_CREATED);
    struct uvm__sim_host *h = s->host;
    s->state = UVM__SIM_RUNNING;
    h->ledger.running++;
    h->ledger.started++;
    s->guest_runs = true;
    if (h->params.on_start != NULL) {
        h->params.on_start(&s->base, s->guest, h->params.arg);
    }
}

void uvm__sim_system_end(struct uvm__sim_system *s, enum uvm__hcs_exit exit, const char *detail) {
    if (s->state == UVM__SIM_ENDED) {
        return;
    }
    struct uvm__sim_host *h = s->host;
    if (s->state != UVM__SIM_CREATED) {
        UVM_ASSERT(h->ledger.running > 0);
        h->ledger.running--;
    }
    h->ledger.ended++;
    s->state = UVM__SIM_ENDED;
    s->exit = exit;
    (void)snprintf(s->detail, sizeof s->detail, "%s", detail);
    uvm__vmbus_close(s->vmbus);
    s->vmbus = NULL;
    uvm__loopback_reset(s->base.hvsock);
    if (s->guest_runs) {
        s->guest_runs = false;
        if (h->params.on_stop != NULL) {
            h->params.on_stop(&s->base, h->params.arg);
        }
    }
    uvm__sim_verbs_fail(s);
    uvm__sim_modifies_fail(s);
    uvm__sim_disks_free(s);
    uvm__ready_push(h->base.engine, &s->tell);
}

void uvm__sim_end(struct uvm__hcs_system *s, enum uvm__hcs_exit exit, const char *detail) {
    uvm__sim_system_end(UVM__CONTAINER_OF(s, struct uvm__sim_system, base), exit, detail);
}

struct uvm__vmbus *uvm__sim_vmbus(struct uvm__hcs_system *s) {
    return UVM__CONTAINER_OF(s, struct uvm__sim_system, base)->vmbus;
}

void uvm__sim_console(struct uvm__hcs_system *s, const char *text) {
    struct uvm__sim_system *sim = UVM__CONTAINER_OF(s, struct uvm__sim_system, base);
    (void)uvm__buf_puts(&sim->console,
                        text); /* a full console drops, as the real one's tail does */
    uvm__ready_push(sim->host->base.engine, &sim->tell);
}
