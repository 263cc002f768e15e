/* SPDX-License-Identifier: MIT
 * pace.c — see pace.h. One deadline stands for the first who waits; it is set while anybody does.
 */
#include "hcs/qemu/pace.h"

#include "async/check.h"
#include "async/limits.h"

static void go_on(struct uvm__pace *p) {
    uint64_t now = uvm__now_ms(p->engine);

    while (!uvm__list_empty(&p->waiting) && (p->open || p->free_ms <= now)) {
        struct uvm__pace_turn *t = UVM__CONTAINER_OF(p->waiting.next, struct uvm__pace_turn, link);
        uvm__list_remove(&t->link);
        p->free_ms = now + UVM__PLUG_APART_MS;
        t->fn(t); /* may wait again, behind the others */
    }
    if (!uvm__list_empty(&p->waiting)) {
        uvm__deadline_set(p->engine, &p->next, p->free_ms);
    }
}

static void on_next(struct uvm__deadline *d) {
    go_on(UVM__CONTAINER_OF(d, struct uvm__pace, next));
}

void uvm__pace_init(struct uvm__pace *p, uvm_engine *e) {
    *p = (struct uvm__pace){.engine = e};
    uvm__list_init(&p->waiting);
    uvm__deadline_init(&p->next, on_next);
}

void uvm__pace_deinit(struct uvm__pace *p) {
    UVM_ASSERT(uvm__list_empty(&p->waiting));
    uvm__deadline_clear(p->engine, &p->next);
}

void uvm__pace_turn_init(struct uvm__pace_turn *t, void (*fn)(struct uvm__pace_turn *t)) {
    uvm__list_init(&t->link);
    t->fn = fn;
}

bool uvm__pace_wait(struct uvm__pace *p, struct uvm__pace_turn *t) {
    uint64_t now = uvm__now_ms(p->engine);

    UVM_ASSERT(!uvm__list_linked(&t->link));
    if (p->open || (uvm__list_empty(&p->waiting) && p->free_ms <= now)) {
        p->free_ms = now + UVM__PLUG_APART_MS;
        return true;
    }
    uvm__list_append(&p->waiting, &t->link);
    if (!p->next.linked) {
        uvm__deadline_set(p->engine, &p->next, p->free_ms);
    }
    return false;
}

bool uvm__pace_leave(struct uvm__pace_turn *t) {
    bool waited = uvm__list_linked(&t->link);
    uvm__list_remove(&t->link);
    return waited;
}

void uvm__pace_open(struct uvm__pace *p) {
    p->open = true;
    if (!uvm__list_empty(&p->waiting)) {
        uvm__deadline_set(p->engine, &p->next, uvm__now_ms(p->engine));
    }
}
