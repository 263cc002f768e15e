/* SPDX-License-Identifier: MIT
 * list.h — an intrusive doubly linked ring. A node that is in no list points at itself.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct uvm__list {
    struct uvm__list *next, *prev;
};

#define UVM__CONTAINER_OF(ptr, type, member)                                                       \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void uvm__list_init(struct uvm__list *n) {
    n->next = n;
    n->prev = n;
}
static inline bool uvm__list_empty(const struct uvm__list *head) {
    return head->next == head;
}
static inline bool uvm__list_linked(const struct uvm__list *n) {
    return n->next != n;
}
static inline void uvm__list_append(struct uvm__list *head, struct uvm__list *n) {
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}
static inline void uvm__list_prepend(struct uvm__list *head, struct uvm__list *n) {
    uvm__list_append(head->next, n);
}
/* Idempotent: an unlinked node stays unlinked. */
static inline void uvm__list_remove(struct uvm__list *n) {
    n->prev->next = n->next;
    n->next->prev = n->prev;
    uvm__list_init(n);
}
/* Moves all of `from` to the (empty or not) end of `to`. */
static inline void uvm__list_splice(struct uvm__list *to, struct uvm__list *from) {
    if (!uvm__list_empty(from)) {
        from->next->prev = to->prev;
        to->prev->next = from->next;
        from->prev->next = to;
        to->prev = from->prev;
        uvm__list_init(from);
    }
}
#define UVM__LIST_FOREACH(it, head) for ((it) = (head)->next; (it) != (head); (it) = (it)->next)
/* The current node may be removed inside the body. */
#define UVM__LIST_FOREACH_SAFE(it, tmp, head)                                                      \
    for ((it) = (head)->next, (tmp) = (it)->next; (it) != (head); (it) = (tmp), (tmp) = (it)->next)
