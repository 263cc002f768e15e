/* SPDX-License-Identifier: MIT
 * service.c — the seam's verbs over the modelled host.
 *
 * Each verb is an op of one step: after act_ms the host acts, after answer_ms more it answers, unless a
 * fault says otherwise. A call that never gets its answer ends when the system does. Cancelling a create
 * kills what it made, as killing a VMM does; the other verbs have an effect under way and wait.
 */
#include "async/check.h"
#include "async/limits.h"
#include "hcs/sim/sim_int.h"
#include <stdio.h>
#include <string.h>

struct verb {
    uvm_engine *engine;
    struct uvm__sim_host *host;
    struct uvm__sim_system *system; /* of a create: NULL until acted; taken by create_result */
    enum uvm__sim_point point;
    enum uvm__sim_fault fault;
    uvm_op *op; /* borrowed: lives at least until the step ends */
    struct uvm__deadline timer;
    struct uvm__list link;
    bool acted;
    struct uvm__hcs_create_params params; /* of a create; strings are copies behind the state */
    struct uvm__sim_document document;    /* likewise, until it acts */
    struct uvm__fail why;
    int wrong; /* what the document gets wrong */
    char id[40], name[64];
};

static void verb_end(struct verb *v, uvm_error *take_err) {
    uvm__deadline_clear(v->host->base.engine, &v->timer);
    uvm__list_remove(&v->link);
    uvm__sim_tell_moment(v->host, v->point, UVM__SIM_ANSWERED);
    uvm__step_done(v->op, take_err);
}

static uvm_error *verb_error(struct verb *v, enum uvm_error_code code, const char *what) {
    return uvm__error(v->host->base.engine, code, 0, "%s: %s: %s", v->name,
                      uvm__sim_point_name(v->point), what);
}

/* ---- acting ------------------------------------------------------------------------------- */

static void tell(struct uvm__ready *r);

static int act(struct verb *v) {
    struct uvm__sim_system *s = v->system;
    int rc = 0;
    switch (v->point) {
    case UVM__SIM_CREATE:
        rc = uvm__sim_system_new(v->host, v->id, v->name, &v->system);
        if (rc == 0) {
            s = v->system;
            s->on_event = v->params.on_event;
            s->arg = v->params.arg;
            uvm__ready_init(&s->tell, tell);
            uvm__list_append(&s->verbs, &v->link);
            rc = uvm__sim_document_apply(&v->document, s);
        }
        return rc;
    case UVM__SIM_START:
        if (s->state != UVM__SIM_CREATED) {
            return -UVM_E_STATE; /* another call was first */
        }
        uvm__sim_system_run(s);
        break;
    case UVM__SIM_TERMINATE:
        /* Its own answer comes afterwards: the end must not fail it. */
        uvm__list_remove(&v->link);
        uvm__sim_system_end(s, UVM__HCS_EXIT_TERMINATED, "terminated");
        uvm__list_append(&s->verbs, &v->link);
        break;
    case UVM__SIM_PAUSE:
        if (s->state != UVM__SIM_RUNNING) {
            return -UVM_E_STATE;
        }
        s->state = UVM__SIM_PAUSED;
        uvm__ready_push(s->host->base.engine, &s->tell);
        break;
    case UVM__SIM_RESUME:
        if (s->state != UVM__SIM_PAUSED) {
            return -UVM_E_STATE;
        }
        s->state = UVM__SIM_RUNNING;
        uvm__ready_push(s->host->base.engine, &s->tell);
        break;
    case UVM__SIM_MODIFY_ADD: /* modify.c */
    case UVM__SIM_MODIFY_REMOVE:
    case UVM__SIM_POINT_MAX:
        UVM_ASSERT(false);
    }
    return 0;
}

/* A create's half-made system, or the result that nobody took. */
static void destroy(struct verb *v) {
    if (v->system != NULL) {
        uvm__list_remove(&v->link);
        uvm__sim_system_end(v->system, UVM__HCS_EXIT_TERMINATED, "canceled");
        uvm__sim_system_free(v->system);
        v->system = NULL;
    }
}

/* The VMM ends before it answered. A create's half-made system goes with it. */
static void die(struct verb *v) {
    if (v->point == UVM__SIM_CREATE) {
        destroy(v);
        verb_end(v, verb_error(v, UVM_E_EXITED, "the VMM died: killed by SIGKILL"));
        return;
    }
    if (v->system->state == UVM__SIM_ENDED) {
        verb_end(v, NULL); /* a terminate: it has ended, and that is all it says */
        return;
    }
    uvm__sim_system_end(v->system, UVM__HCS_EXIT_VMM_DIED, "killed by SIGKILL");
}

static void on_time(struct uvm__deadline *d) {
    struct verb *v = UVM__CONTAINER_OF(d, struct verb, timer);
    uvm_engine *e = v->host->base.engine;
    if (v->acted) {
        if (v->fault == UVM__SIM_DIE_DONE) {
            die(v);
        } else {
            verb_end(v, NULL);
        }
        return;
    }
    switch (v->fault) {
    case UVM__SIM_REFUSE:
        verb_end(v, verb_error(v, UVM_E_PEER, "refused by the host"));
        return;
    case UVM__SIM_MUTE_IDLE:
        return;
    case UVM__SIM_DIE_IDLE:
        die(v);
        return;
    default:
        break;
    }
    v->acted = true;
    int rc = act(v);
    if (rc < 0 && v->point == UVM__SIM_CREATE) {
        destroy(v); /* no memory for all of it */
    }
    if (rc < 0) {
        verb_end(v, verb_error(v, (enum uvm_error_code)(-rc), uvm_error_code_text(rc)));
        return;
    }
    uvm__sim_tell_moment(v->host, v->point, UVM__SIM_ACTED);
    if (v->fault != UVM__SIM_MUTE_DONE) {
        uint64_t wait = v->fault == UVM__SIM_LATE ? 3u * UVM__UNDO_MS : v->host->params.answer_ms;
        uvm__deadline_set(e, &v->timer, uvm__now_ms(e) + wait);
    }
}

void uvm__sim_verbs_fail(struct uvm__sim_system *s) {
    while (!uvm__list_empty(&s->verbs)) {
        struct verb *v = UVM__CONTAINER_OF(s->verbs.next, struct verb, link);
        bool wanted = v->point == UVM__SIM_TERMINATE; /* it has ended: that is what was asked for */
        if (v->point == UVM__SIM_CREATE) {
            v->system = NULL;
            s->unmade = true; /* freed by its tell, which its end has pushed */
        }
        verb_end(v, wanted ? NULL : verb_error(v, UVM_E_EXITED, s->detail));
    }
}

/* ---- the saga ----------------------------------------------------------------------------- */

struct verb_params {
    struct uvm__sim_host *host;
    struct uvm__sim_system *system;
    enum uvm__sim_point point;
    const struct uvm__hcs_create_params *create;
};

static int verb_init(uvm_op *op, void *state, const void *params) {
    struct verb *v = state;
    const struct verb_params *p = params;
    v->op = op;
    v->engine = uvm__op_engine(op);
    v->host = p->host;
    v->system = p->system;
    v->point = p->point;
    uvm__deadline_init(&v->timer, on_time);
    uvm__list_init(&v->link);
    uvm__list_init(&v->document.disks);
    if (p->create != NULL) {
        v->params = *p->create;
        (void)snprintf(v->id, sizeof v->id, "%s", p->create->id);
        (void)snprintf(v->name, sizeof v->name, "%s", p->create->name);
        v->wrong = uvm__sim_document_read(v->engine, p->create->document, p->create->document_bytes,
                                          &v->document, &v->why);
        return v->wrong == -UVM_E_NOMEM ? v->wrong : 0;
    } else {
        (void)snprintf(v->name, sizeof v->name, "%s", p->system->name);
    }
    return 0;
}

static void verb_run(uvm_op *op, void *state) {
    struct verb *v = state;
    uvm_engine *e = uvm__op_engine(op);
    if (v->system != NULL) {
        bool stop = v->point == UVM__SIM_TERMINATE;
        if (v->system->state == UVM__SIM_ENDED) {
            uvm__step_done(op, stop ? NULL : verb_error(v, UVM_E_EXITED, v->system->detail));
            return;
        }
        uvm__list_append(&v->system->verbs, &v->link);
    }
    if (v->wrong < 0) {
        uvm__step_done(op, uvm__fail_error(e, v->wrong, &v->why));
        return;
    }
    v->fault = uvm__sim_next_fault(v->host, v->point);
    uvm__sim_tell_moment(v->host, v->point, UVM__SIM_CALLED);
    uvm__deadline_set(e, &v->timer, uvm__now_ms(e) + v->host->params.act_ms);
}

static void create_cancel(uvm_op *op, void *state) {
    struct verb *v = state;
    destroy(v);
    verb_end(v, verb_error(v, UVM_E_CANCELED, "canceled"));
    (void)op;
}

static void create_undo(uvm_op *op, void *state) {
    destroy(state);
    uvm__undo_done(op, NULL);
}

static void create_deinit(void *state) {
    struct verb *v = state;
    destroy(v);                                        /* a result that nobody took */
    uvm__sim_document_deinit(v->engine, &v->document); /* the host may be gone */
}

static const struct uvm__step create_steps[] = {
    {"create", verb_run, create_cancel, create_undo, false}};
static const struct uvm__step start_steps[] = {{"start", verb_run, NULL, NULL, false}};
static const struct uvm__step terminate_steps[] = {{"terminate", verb_run, NULL, NULL, false}};
static const struct uvm__step pause_steps[] = {{"pause", verb_run, NULL, NULL, false}};
static const struct uvm__step resume_steps[] = {{"resume", verb_run, NULL, NULL, false}};

#define SAGA(text, table, del)                                                                     \
    { text, table, 1, 0, 0, sizeof(struct verb), NULL, verb_init, del, NULL }
static const struct uvm__saga sagas[UVM__SIM_POINT_MAX] = {
    [UVM__SIM_CREATE] = SAGA("hcs create", create_steps, create_deinit),
    [UVM__SIM_START] = SAGA("hcs start", start_steps, NULL),
    [UVM__SIM_TERMINATE] = SAGA("hcs terminate", terminate_steps, NULL),
    [UVM__SIM_PAUSE] = SAGA("hcs pause", pause_steps, NULL),
    [UVM__SIM_RESUME] = SAGA("hcs resume", resume_steps, NULL),
};

static int start_verb(const struct verb_params *p, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                      uvm_op **ret_op) {
    return uvm__op_start(p->host->base.engine, scope, &sagas[p->point], p, on_done, arg, ret_op);
}

/* ---- the seam ----------------------------------------------------------------------------- */

static int sim_create(struct uvm__hcs *h, const struct uvm__hcs_create_params *params,
                      uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct uvm__sim_host *host = UVM__CONTAINER_OF(h, struct uvm__sim_host, base);
    struct verb_params p = {host, NULL, UVM__SIM_CREATE, params};
    if (params->cgroup != NULL) {
        return -UVM_E_UNSUPPORTED; /* a model has no processes */
    }
    return start_verb(&p, scope, on_done, arg, ret_op);
}

static struct uvm__hcs_system *sim_create_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &sagas[UVM__SIM_CREATE]);
    struct verb *v = uvm__op_state(op);
    if (!uvm__op_succeeded(op) || v->system == NULL) {
        return NULL;
    }
    struct uvm__sim_system *s = v->system;
    v->system = NULL;
    s->taken = true;
    uvm__ready_push(v->host->base.engine, &s->tell);
    return &s->base;
}

static int on_system(struct uvm__hcs_system *s, enum uvm__sim_point point, uvm_scope *scope,
                     uvm_done_fn on_done, void *arg, uvm_op **ret_op) {
    struct uvm__sim_system *sim = UVM__CONTAINER_OF(s, struct uvm__sim_system, base);
    static const bool legal[UVM__SIM_POINT_MAX][UVM__SIM_ENDED + 1] = {
        [UVM__SIM_START] = {[UVM__SIM_CREATED] = true},
        [UVM__SIM_TERMINATE] = {true, true, true, true},
        [UVM__SIM_PAUSE] = {[UVM__SIM_RUNNING] = true},
        [UVM__SIM_RESUME] = {[UVM__SIM_PAUSED] = true},
    };
    if (!legal[point][sim->state]) {
        return sim->state == UVM__SIM_ENDED ? -UVM_E_EXITED : -UVM_E_STATE;
    }
    struct verb_params p = {sim->host, sim, point, NULL};
    return start_verb(&p, scope, on_done, arg, ret_op);
}

static int sim_start(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op) {
    return on_system(s, UVM__SIM_START, scope, on_done, arg, ret_op);
}

static int sim_terminate(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done,
                         void *arg, uvm_op **ret_op) {
    return on_system(s, UVM__SIM_TERMINATE, scope, on_done, arg, ret_op);
}

static int sim_pause(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                     uvm_op **ret_op) {
    return on_system(s, UVM__SIM_PAUSE, scope, on_done, arg, ret_op);
}

static int sim_resume(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                      uvm_op **ret_op) {
    return on_system(s, UVM__SIM_RESUME, scope, on_done, arg, ret_op);
}

/* Events, then the end, in one place on the ready queue. */
static void tell(struct uvm__ready *r) {
    struct uvm__sim_system *s = UVM__CONTAINER_OF(r, struct uvm__sim_system, tell);
    if (s->closing) {
        void (*on_closed)(void *) = s->on_closed;
        void *arg = s->closed_arg;
        uvm__sim_system_free(s);
        if (on_closed != NULL) {
            on_closed(arg);
        }
        return;
    }
    if (s->unmade) {
        uvm__sim_system_free(s);
        return;
    }
    if (!s->taken || s->on_event == NULL) {
        return;
    }
    if (s->console.len > 0) {
        struct uvm__hcs_event ev = {.kind = UVM__HCS_EVENT_CONSOLE,
                                    .detail = "",
                                    .data = s->console.data,
                                    .bytes = s->console.len};
        s->on_event(&s->base, &ev, s->arg);
        uvm__buf_reset(&s->console);
    }
    bool paused = s->state == UVM__SIM_PAUSED;
    if (paused != s->pause_told && s->state != UVM__SIM_ENDED && !s->closing) {
        s->pause_told = paused;
        struct uvm__hcs_event ev = {.kind = paused ? UVM__HCS_EVENT_PAUSED : UVM__HCS_EVENT_RESUMED,
                                    .detail = ""};
        s->on_event(&s->base, &ev, s->arg);
    }
    while (!uvm__list_empty(&s->news)) {
        struct uvm__sim_news *n = UVM__CONTAINER_OF(s->news.next, struct uvm__sim_news, link);
        struct uvm__hcs_event ev = {
            .kind = UVM__HCS_EVENT_RELEASED, .detail = "", .resource = n->resource};
        uvm__list_remove(&n->link);
        s->on_event(&s->base, &ev, s->arg);
        uvm__free(s->host->base.engine, n);
    }
    if (s->state == UVM__SIM_ENDED && !s->exit_told && !s->closing) {
        s->exit_told = true;
        struct uvm__hcs_event ev = {
            .kind = UVM__HCS_EVENT_EXITED, .exit = s->exit, .status = -1, .detail = s->detail};
        s->on_event(&s->base, &ev, s->arg);
    }
}

static void sim_close(struct uvm__hcs_system *s, void (*on_closed)(void *arg), void *arg) {
    struct uvm__sim_system *sim = UVM__CONTAINER_OF(s, struct uvm__sim_system, base);
    UVM_ASSERT(!sim->closing);
    uvm__sim_system_end(sim, UVM__HCS_EXIT_TERMINATED, "closed");
    uvm__sim_verbs_fail(sim);
    uvm__sim_modifies_fail(sim);
    sim->closing = true;
    sim->on_closed = on_closed;
    sim->closed_arg = arg;
    /* Behind every op that is in the queue: each hears of its end before the system is freed. */
    uvm__ready_cancel(sim->host->base.engine, &sim->tell);
    uvm__ready_push(sim->host->base.engine, &sim->tell);
}

static void on_service_close(struct uvm__ready *r) {
    struct uvm__sim_host *h = UVM__CONTAINER_OF(r, struct uvm__sim_host, close_ready);
    void (*on_closed)(void *) = h->on_closed;
    void *arg = h->closed_arg;
    uvm__free(h->base.engine, h);
    if (on_closed != NULL) {
        on_closed(arg);
    }
}

static void sim_close_service(struct uvm__hcs *h, void (*on_closed)(void *arg), void *arg) {
    struct uvm__sim_host *host = UVM__CONTAINER_OF(h, struct uvm__sim_host, base);
    UVM_ASSERT(host->ledger.systems == 0);
    host->on_closed = on_closed;
    host->closed_arg = arg;
    uvm__ready_init(&host->close_ready, on_service_close);
    uvm__ready_push(h->engine, &host->close_ready);
}

static void sim_capacity(struct uvm__hcs *h, struct uvm__hcs_capacity *ret) {
    struct uvm__sim_host *host = UVM__CONTAINER_OF(h, struct uvm__sim_host, base);
    const struct uvm__hcs_capacity *c = &host->capacity;
    if (c->memory_mb == 0) {
        return;
    }
    *ret = *c;
    ret->memory_available_mb -= host->ledger.systems * c->overhead_mb;
    ret->descriptors -= host->ledger.systems * c->descriptors_per_vm;
}

static int sim_image_bytes(struct uvm__hcs_system *s, const char *path, uint64_t *ret,
                           struct uvm__fail *f) {
    (void)path;
    (void)f;
    *ret = UVM__CONTAINER_OF(s, struct uvm__sim_system, base)->host->image_bytes;
    return 0;
}

const struct uvm__hcs_ops uvm__sim_ops = {
    .name = "sim",
    .create = sim_create,
    .create_result = sim_create_result,
    .start = sim_start,
    .terminate = sim_terminate,
    .pause = sim_pause,
    .resume = sim_resume,
    .capacity = sim_capacity,
    .modify = uvm__sim_modify,
    .image_bytes = sim_image_bytes,
    .location = uvm__sim_location,
    .nic_config = uvm__sim_nic_config,
    .properties = uvm__sim_properties,
    .close = sim_close,
    .close_service = sim_close_service,
};
