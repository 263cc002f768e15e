/* SPDX-License-Identifier: MIT
 * call.c — requests in flight, by id; an id stays taken until its reply or the connection's end.
 */
#include "async/call.h"
#include "async/check.h"
#include "async/cleanup.h"

static struct uvm__list *bucket(struct uvm__calls *t, uint64_t id) {
    return &t->buckets[id % UVM__CALLS_BUCKETS];
}

void uvm__calls_init(struct uvm__calls *t) {
    for (size_t i = 0; i < UVM__CALLS_BUCKETS; i++) {
        uvm__list_init(&t->buckets[i]);
    }
    t->count = 0;
}

struct uvm__call *uvm__call_find(struct uvm__calls *t, uint64_t id) {
    struct uvm__list *head = bucket(t, id);
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, head) {
        struct uvm__call *call = UVM__CONTAINER_OF(it, struct uvm__call, link);
        if (call->id == id) {
            return call;
        }
    }
    return NULL;
}

void uvm__call_add(struct uvm__calls *t, struct uvm__call *call, uint64_t id, uvm_op *op,
                   void (*on_reply)(struct uvm__call *, const void *, const uvm_error *)) {
    UVM_ASSERT(uvm__call_find(t, id) == NULL);
    call->id = id;
    call->op = uvm_op_ref(op);
    call->on_reply = on_reply;
    uvm__list_init(&call->link);
    uvm__list_append(bucket(t, id), &call->link);
    t->count++;
}

void uvm__call_finish(struct uvm__calls *t, struct uvm__call *call, const void *reply,
                      const uvm_error *err) {
    UVM_ASSERT(uvm__list_linked(&call->link) && t->count > 0);
    UVM_ASSERT((reply == NULL) != (err == NULL));
    uvm__list_remove(&call->link);
    t->count--;
    uvm_op *op = UVM_TAKE_PTR(call->op);
    call->on_reply(call, reply, err);
    uvm_op_unref(op); /* may free the node */
}

void uvm__calls_fail(struct uvm__calls *t, const uvm_error *err) {
    while (t->count > 0) {
        struct uvm__call *oldest = NULL;
        for (size_t i = 0; i < UVM__CALLS_BUCKETS; i++) {
            struct uvm__list *it;
            UVM__LIST_FOREACH(it, &t->buckets[i]) {
                struct uvm__call *call = UVM__CONTAINER_OF(it, struct uvm__call, link);
                if (oldest == NULL || call->id < oldest->id) {
                    oldest = call;
                }
            }
        }
        UVM_ASSERT(oldest != NULL);
        uvm__call_finish(t, oldest, NULL, err);
    }
}
