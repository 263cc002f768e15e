/* SPDX-License-Identifier: MIT
 * scope.c — cancellation and deadlines, spread down a tree.
 *
 * Setting a reason walks the subtree at once and only sets bits; ops hear of it through on_reason, which
 * does no more than push a ready node. So a cancel never calls back, and may be called from anywhere.
 */
#include "async/scope.h"
#include "async/alloc.h"
#include "async/check.h"
#include "async/engine_int.h"
#include "async/error.h"

static const enum uvm_error_code reason_codes[UVM__REASON_MAX] = {
    [UVM__TRANSPORT_LOST] = UVM_E_CLOSED,
    [UVM__VM_EXITED] = UVM_E_EXITED,
    [UVM__TIMED_OUT] = UVM_E_TIMEDOUT,
    [UVM__CANCELED] = UVM_E_CANCELED,
};

static void spread(uvm_scope *s, enum uvm__reason reason, const uvm_error *why) {
    uint8_t bit = (uint8_t)(1u << reason);
    if ((s->reasons & bit) != 0) {
        return; /* then everything below has it too */
    }
    s->reasons |= bit;
    if (why != NULL && s->why == NULL) {
        s->why = uvm_error_ref(why);
    }
    if (s->on_reason != NULL) {
        s->on_reason(s);
    }
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &s->children) {
        spread(UVM__CONTAINER_OF(it, uvm_scope, link), reason, why);
    }
}

static void on_deadline(struct uvm__deadline *d) {
    spread(UVM__CONTAINER_OF(d, uvm_scope, deadline), UVM__TIMED_OUT, NULL);
}

void uvm__scope_init(uvm_scope *s, uvm_engine *e, uvm_scope *parent,
                     void (*on_release)(uvm_scope *s)) {
    *s = (uvm_scope){.refs = 1, .engine = e, .label = "", .on_release = on_release};
    uvm__list_init(&s->children);
    uvm__list_init(&s->link);
    uvm__list_init(&s->quarantine);
    uvm__deadline_init(&s->deadline, on_deadline);
    if (parent != NULL) {
        s->parent = uvm_scope_ref(parent);
        s->undo_root = parent->undo_root;
        s->label = parent->label;
        s->reasons = parent->reasons;
        s->why = parent->why == NULL ? NULL : uvm_error_ref(parent->why);
        uvm__list_append(&parent->children, &s->link);
    }
}

int uvm_scope_new(uvm_engine *engine, uvm_scope *parent, uint64_t deadline_ms,
                  uvm_scope **ret_scope) {
    uvm_scope *s = uvm__alloc(engine, sizeof *s);
    if (s == NULL) {
        return -UVM_E_NOMEM;
    }
    uvm__scope_init(s, engine, parent == NULL ? &engine->root : parent, NULL);
    if (deadline_ms > 0) {
        uvm__scope_deadline(s, deadline_ms);
    }
    *ret_scope = s;
    return 0;
}

void uvm__scope_deadline(uvm_scope *s, uint64_t ms) {
    uint64_t now = uvm__now_ms(s->engine);
    uint64_t at = ms > UINT64_MAX - now ? UINT64_MAX : now + ms;
    if (s->deadline.linked && s->deadline.at_ms <= at) {
        return;
    }
    uvm__deadline_set(s->engine, &s->deadline, at);
}

void uvm_scope_cancel(uvm_scope *scope) {
    spread(scope, UVM__CANCELED, NULL);
}

void uvm__scope_fail(uvm_scope *s, enum uvm__reason reason, const uvm_error *why) {
    UVM_ASSERT(reason > UVM__GO && reason < UVM__REASON_MAX);
    spread(s, reason, why);
}

uvm_scope *uvm_scope_ref(uvm_scope *scope) {
    UVM_ASSERT(scope->refs > 0);
    scope->refs++;
    return scope;
}

uvm_scope *uvm_scope_unref(uvm_scope *scope) {
    if (scope == NULL) {
        return NULL;
    }
    UVM_ASSERT(scope->refs > 0);
    if (--scope->refs > 0) {
        return NULL;
    }
    UVM_ASSERT(uvm__list_empty(&scope->children));
    UVM_ASSERT(uvm__list_empty(&scope->quarantine));
    uvm_scope *parent = scope->parent;
    uvm_engine *e = scope->engine;
    uvm__deadline_clear(e, &scope->deadline);
    uvm__list_remove(&scope->link);
    scope->parent = NULL;
    scope->why = uvm_error_unref(scope->why);
    if (scope->on_release != NULL) {
        scope->on_release(scope);
    } else {
        uvm__free(e, scope);
    }
    return uvm_scope_unref(parent); /* the parent may go with its last child */
}

enum uvm__reason uvm__scope_reason(const uvm_scope *s) {
    for (int r = UVM__REASON_MAX - 1; r > UVM__GO; r--) {
        if ((s->reasons & (1u << r)) != 0) {
            return (enum uvm__reason)r;
        }
    }
    return UVM__GO;
}

uvm_error *uvm__scope_error(uvm_scope *s) {
    uvm_error *err = NULL;
    for (int r = UVM__REASON_MAX - 1; r > UVM__GO; r--) {
        if ((s->reasons & (1u << r)) == 0) {
            continue;
        }
        bool own_words = (r == UVM__VM_EXITED || r == UVM__TRANSPORT_LOST) && s->why != NULL;
        uvm_error *one = own_words ? uvm_error_ref(s->why)
                                   : uvm__error(s->engine, reason_codes[r], 0, "%s",
                                                uvm_error_code_text((int)reason_codes[r]));
        err = err == NULL ? one : uvm__error_cause(err, one);
        if (own_words) {
            break; /* `why` already tells the rest */
        }
    }
    return err;
}

size_t uvm__scope_quarantined(const uvm_scope *undo_root) {
    size_t n = 0;
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &undo_root->quarantine) {
        n++;
    }
    return n;
}
