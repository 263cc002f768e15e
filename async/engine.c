/* SPDX-License-Identifier: MIT
 * engine.c — one event loop's worth of work: ready queue, one timer, root scopes, ids.
 *
 * An engine owns two libuv handles. The idle handle is active only while the ready queue is not empty,
 * so a quiet engine costs no wake-up; the timer is set for the earliest deadline. A virtual engine has no
 * loop: the simulation turns and advances it, and its random numbers follow from a seed.
 * Closing asserts that no op, scope or handle of others is alive: a leak is an assertion.
 */
#include "async/engine_int.h"
#include "async/params.h"
#include "async/saga.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *plain_malloc(size_t bytes, void *arg) {
    (void)arg;
    return malloc(bytes);
}

static void *plain_realloc(void *ptr, size_t bytes, void *arg) {
    (void)arg;
    return realloc(ptr, bytes);
}

static void plain_free(void *ptr, void *arg) {
    (void)arg;
    free(ptr);
}

static const struct uvm_allocator plain_allocator = {plain_malloc, plain_realloc, plain_free, NULL};

/* ---- memory ------------------------------------------------------------------------------- */

void *uvm__alloc(uvm_engine *e, size_t bytes) {
    return e->allocator.malloc(bytes == 0 ? 1 : bytes, e->allocator.arg);
}

void *uvm__zalloc(uvm_engine *e, size_t bytes) {
    void *p = uvm__alloc(e, bytes);
    if (p != NULL) {
        memset(p, 0, bytes);
    }
    return p;
}

void *uvm__realloc(uvm_engine *e, void *ptr, size_t bytes) {
    return e->allocator.realloc(ptr, bytes == 0 ? 1 : bytes, e->allocator.arg);
}

void uvm__free(uvm_engine *e, void *ptr) {
    if (ptr != NULL) {
        e->allocator.free(ptr, e->allocator.arg);
    }
}

char *uvm__memdup0(uvm_engine *e, const void *data, size_t bytes) {
    if (bytes == SIZE_MAX) {
        return NULL;
    }
    char *copy = uvm__alloc(e, bytes + 1);
    if (copy != NULL) {
        if (bytes > 0) {
            memcpy(copy, data, bytes);
        }
        copy[bytes] = 0;
    }
    return copy;
}

char *uvm__strdup(uvm_engine *e, const char *text) {
    return uvm__memdup0(e, text, strlen(text));
}

/* ---- ready queue -------------------------------------------------------------------------- */

void uvm__ready_init(struct uvm__ready *r, void (*fn)(struct uvm__ready *r)) {
    uvm__list_init(&r->link);
    r->fn = fn;
}

bool uvm__ready_linked(const struct uvm__ready *r) {
    return uvm__list_linked(&r->link);
}

bool uvm__engine_turn(uvm_engine *e) {
    UVM_ASSERT(uvm__list_empty(&e->draining)); /* not re-entrant */
    if (uvm__list_empty(&e->ready)) {
        return false;
    }
    uvm__list_splice(&e->draining, &e->ready);
    while (!uvm__list_empty(&e->draining)) {
        struct uvm__ready *r = UVM__CONTAINER_OF(e->draining.next, struct uvm__ready, link);
        uvm__list_remove(&r->link);
        r->fn(r);
    }
    return true;
}

static void on_idle(uv_idle_t *idle) {
    uvm_engine *e = idle->data;
    (void)uvm__engine_turn(e);
    if (uvm__list_empty(&e->ready) && e->idle_active) {
        e->idle_active = false;
        uv_idle_stop(idle);
    }
}

void uvm__ready_push(uvm_engine *e, struct uvm__ready *r) {
    if (uvm__list_linked(&r->link)) {
        return;
    }
    uvm__list_append(&e->ready, &r->link);
    if (e->loop != NULL && !e->idle_active) {
        UVM_ASSERT(!e->closing);
        e->idle_active = true;
        int rc = uv_idle_start(&e->idle, on_idle);
        UVM_ASSERT(rc == 0);
    }
}

void uvm__ready_cancel(uvm_engine *e, struct uvm__ready *r) {
    (void)e;
    uvm__list_remove(&r->link);
}

/* ---- timer -------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer) {
    uvm_engine *e = timer->data;
    e->timer_at_ms = UINT64_MAX;
    (void)uvm__deadlines_fire(e, uv_now(e->loop));
    uvm__engine_arm_timer(e);
}

void uvm__engine_arm_timer(uvm_engine *e) {
    if (e->loop == NULL || e->closing) {
        return;
    }
    uint64_t at = e->deadlines == NULL ? UINT64_MAX : e->deadlines->at_ms;
    if (at == e->timer_at_ms) {
        return;
    }
    e->timer_at_ms = at;
    if (at == UINT64_MAX) {
        uv_timer_stop(&e->timer);
        return;
    }
    uint64_t now = uv_now(e->loop);
    int rc = uv_timer_start(&e->timer, on_timer, at > now ? at - now : 0, 0);
    UVM_ASSERT(rc == 0);
}

/* ---- life --------------------------------------------------------------------------------- */

/* A struct that is larger than what is known here still has in it what is. */
static void say_refused(const struct uvm_engine_params *params, const struct uvm__fail *f) {
    if (params->size > sizeof *params && params->log != NULL) {
        const struct uvm_log_record record = {.level = UVM_LOG_ERROR,
                                              .vm = "",
                                              .op = "",
                                              .step = "",
                                              .code = UVM_E_INVAL,
                                              .text = f->msg};
        params->log(&record, params->log_arg);
    }
}

static int engine_new(uv_loop_t *loop, const struct uvm_engine_params *params, uint64_t seed,
                      uvm_engine **ret_engine) {
    struct uvm_engine_params p = UVM_ENGINE_PARAMS_INIT;
    struct uvm__fail f = {0};
    if (params != NULL && uvm__params_read("uvm_engine_params", params, sizeof p, &p, &f) < 0) {
        say_refused(params, &f);
        return -UVM_E_INVAL;
    }
    const struct uvm_allocator *a = p.allocator == NULL ? &plain_allocator : p.allocator;
    if (a->malloc == NULL || a->realloc == NULL || a->free == NULL) {
        return -UVM_E_INVAL;
    }
    uvm_engine *e = a->malloc(sizeof *e, a->arg);
    if (e == NULL) {
        return -UVM_E_NOMEM;
    }
    memset(e, 0, sizeof *e);
    e->allocator = *a;
    e->log = p.log;
    e->log_arg = p.log_arg;
    e->log_level = p.log_level;
    e->loop = loop;
    e->timer_at_ms = UINT64_MAX;
    e->random_state = seed;
    uvm__list_init(&e->ready);
    uvm__list_init(&e->draining);
    uvm__list_init(&e->ops);
    uvm__list_init(&e->taps);
    uvm__list_init(&e->left);
    uvm__scope_init(&e->undo_root, e, NULL, NULL);
    uvm__scope_init(&e->root, e, NULL, NULL);
    e->root.undo_root = &e->undo_root;
    if (loop != NULL) {
        int rc = uv_idle_init(loop, &e->idle);
        UVM_ASSERT(rc == 0);
        e->idle.data = e;
        rc = uv_timer_init(loop, &e->timer);
        UVM_ASSERT(rc == 0);
        e->timer.data = e;
    }
    *ret_engine = e;
    return 0;
}

int uvm_engine_new(struct uv_loop_s *loop, const struct uvm_engine_params *params,
                   uvm_engine **ret_engine) {
    if (loop == NULL) {
        return -UVM_E_INVAL;
    }
    return engine_new(loop, params, 0, ret_engine);
}

int uvm__engine_new_virtual(const struct uvm_engine_params *params, uint64_t seed,
                            uvm_engine **ret_engine) {
    return engine_new(NULL, params, seed, ret_engine);
}

static void engine_free(uvm_engine *e) {
    UVM_ASSERT(uvm__list_empty(&e->ops));
    UVM_ASSERT(uvm__list_empty(&e->ready));
    UVM_ASSERT(e->deadlines == NULL);
    UVM_ASSERT(uvm__list_empty(&e->root.children));
    UVM_ASSERT(uvm__list_empty(&e->undo_root.children));
    UVM_ASSERT(e->root.refs == 1 && e->undo_root.refs == 1);
    struct uvm_allocator a = e->allocator;
    a.free(e, a.arg);
}

static void on_handle_closed(uv_handle_t *handle) {
    uvm_engine *e = handle->data;
    UVM_ASSERT(e->handles_open > 0);
    if (--e->handles_open > 0) {
        return;
    }
    void (*on_closed)(void *) = e->on_closed;
    void *arg = e->closed_arg;
    engine_free(e);
    if (on_closed != NULL) {
        on_closed(arg);
    }
}

static void close_handles(uvm_engine *e) {
    uvm__children_forget(e);
    e->handles_open = 2;
    uv_close((uv_handle_t *)&e->idle, on_handle_closed);
    uv_close((uv_handle_t *)&e->timer, on_handle_closed);
}

void uvm_engine_close(uvm_engine *e, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(e->loop != NULL && !e->closing);
    UVM_ASSERT(uvm__list_empty(&e->ops));
    e->closing = true;
    e->on_closed = on_closed;
    e->closed_arg = arg;
    if (e->holds == 0) {
        close_handles(e);
    }
}

void uvm__engine_free_virtual(uvm_engine *e) {
    UVM_ASSERT(e->loop == NULL && e->holds == 0);
    engine_free(e);
}

void uvm__engine_hold(uvm_engine *e) {
    e->holds++;
}

void uvm__engine_release(uvm_engine *e) {
    UVM_ASSERT(e->holds > 0);
    if (--e->holds == 0 && e->closing) {
        close_handles(e);
    }
}

struct uv_loop_s *uvm__engine_loop(uvm_engine *e) {
    return e->loop;
}

uvm_scope *uvm__engine_root(uvm_engine *e) {
    return &e->root;
}

uint64_t uvm__engine_next_id(uvm_engine *e) {
    return ++e->next_id;
}
