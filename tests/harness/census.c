/* SPDX-License-Identifier: MIT
 * census.c — the list of what a process has, and the difference of two lists.
 *
 * A list is sorted by kind and key, so that two are compared in one walk. Keys are made so that a thing keeps
 * its key while it lives and no other ever has it where that can be: a process's has its start time, a mount's
 * its id. Comparing counts anew until nothing is left or the time is over, with short waits in between: the
 * kernel does not tell when a process of somebody else's has gone.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "async/async.h"
#include "tests/harness/census_int.h"

#define LOOK_AGAIN_MS 5

const char *uvm_harness_kind_text(enum uvm_harness_kind kind) {
    static const char *const texts[] = {
#define UVM__X(name, text) text,
        UVM_HARNESS_KIND_MAP(UVM__X)
#undef UVM__X
    };
    return (unsigned)kind < UVM_HARNESS_KIND_MAX ? texts[kind] : "thing";
}

/* ---- the list ----------------------------------------------------------------------------- */

static char *printed(struct uvm_harness_census *c, const char *format, va_list args) {
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0) {
        c->rc = c->rc < 0 ? c->rc : -UVM_E_NOMEM;
        return NULL;
    }
    return text;
}

void uvm__harness_add(struct uvm_harness_census *c, enum uvm_harness_kind kind, const char *format,
                      ...) {
    va_list args;
    if (c->count == c->room) {
        size_t room = c->room == 0 ? 64 : 2 * c->room;
        struct uvm__harness_item *items = reallocarray(c->items, room, sizeof *items);
        if (items == NULL) {
            c->rc = c->rc < 0 ? c->rc : -UVM_E_NOMEM;
            return;
        }
        c->items = items;
        c->room = room;
    }
    va_start(args, format);
    char *key = printed(c, format, args);
    va_end(args);
    if (key != NULL) {
        c->items[c->count++] = (struct uvm__harness_item){kind, key, NULL};
    }
}

void uvm__harness_explain(struct uvm_harness_census *c, const char *format, ...) {
    va_list args;
    if (c->count > 0 && c->items[c->count - 1].text == NULL) {
        va_start(args, format);
        c->items[c->count - 1].text = printed(c, format, args);
        va_end(args);
    }
}

static int order(const void *a, const void *b) {
    const struct uvm__harness_item *x = a, *y = b;
    return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : strcmp(x->key, y->key);
}

static void forget(struct uvm_harness_census *c) {
    for (size_t i = 0; i < c->count; i++) {
        free(c->items[i].key);
        free(c->items[i].text);
    }
    c->count = 0;
    c->rc = 0;
}

static int count_all(struct uvm_harness_census *c) {
    forget(c);
    while (c->reap && waitpid(-1, NULL, WNOHANG) > 0) {
    }
    if (uvm__harness_counts(c, UVM_HARNESS_PROCESS) || uvm__harness_counts(c, UVM_HARNESS_ZOMBIE)) {
        uvm__harness_count_processes(c);
    }
    if ((c->kinds & (1u << UVM_HARNESS_DESCRIPTOR | 1u << UVM_HARNESS_MEMFD |
                     1u << UVM_HARNESS_SOCKET)) != 0) {
        uvm__harness_count_descriptors(c);
    }
    if (uvm__harness_counts(c, UVM_HARNESS_MOUNT)) {
        uvm__harness_count_mounts(c);
    }
    if (uvm__harness_counts(c, UVM_HARNESS_FILE)) {
        uvm__harness_count_files(c);
    }
    if (c->count > 0) {
        qsort(c->items, c->count, sizeof c->items[0], order);
    }
    return c->rc;
}

/* ---- taking one --------------------------------------------------------------------------- */

/* An empty census that will count what these say; NULL: no memory. */
static uvm_harness_census *new_census(unsigned kinds, const char *const *folders, bool shared,
                                      bool reap) {
    uvm_harness_census *c = calloc(1, sizeof *c);
    size_t n = 0;
    while (folders != NULL && folders[n] != NULL) {
        n++;
    }
    if (c == NULL || (c->folders = calloc(n + 1, sizeof(char *))) == NULL) {
        free(c);
        return NULL;
    }
    c->kinds = kinds;
    c->shared_folders = shared;
    c->reap = reap;
    for (size_t i = 0; i < n; i++) {
        if ((c->folders[i] = strdup(folders[i])) == NULL) {
            uvm_harness_census_free(c);
            return NULL;
        }
    }
    return c;
}

int uvm_harness_census_take(const struct uvm_harness_census_params *params,
                            uvm_harness_census **ret_census) {
    static const struct uvm_harness_census_params usual = UVM_HARNESS_CENSUS_PARAMS_INIT;
    const unsigned all = (1u << UVM_HARNESS_KIND_MAX) - 1;
    const struct uvm_harness_census_params *p = params == NULL ? &usual : params;
    if (p->size != sizeof *p || (p->kinds & ~all) != 0) {
        return -UVM_E_INVAL;
    }
    uvm_harness_census *c =
        new_census(p->kinds == 0 ? all : p->kinds, p->folders, p->shared_folders, p->reap);
    if (c == NULL) {
        return -UVM_E_NOMEM;
    }
    if (uvm__harness_counts(c, UVM_HARNESS_PROCESS)) {
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    int rc = count_all(c);
    if (rc < 0) {
        uvm_harness_census_free(c);
        return rc;
    }
    *ret_census = c;
    return 0;
}

void uvm_harness_census_free(uvm_harness_census *census) {
    if (census == NULL) {
        return;
    }
    forget(census);
    for (size_t i = 0; census->folders[i] != NULL; i++) {
        free(census->folders[i]);
    }
    free(census->folders);
    free(census->items);
    free(census);
}

/* ---- comparing ---------------------------------------------------------------------------- */

static const char *text_of(const struct uvm__harness_item *item) {
    return item->text == NULL ? item->key : item->text;
}

/* Who closes a descriptor that was there before has closed somebody else's. */
static bool may_not_go(const struct uvm__harness_item *item) {
    return item->kind == UVM_HARNESS_DESCRIPTOR || item->kind == UVM_HARNESS_MEMFD ||
           item->kind == UVM_HARNESS_SOCKET;
}

static int difference(const uvm_harness_census *before, const uvm_harness_census *after, FILE *to) {
    int left = 0;
    for (size_t b = 0, a = 0; b < before->count || a < after->count;) {
        const struct uvm__harness_item *old = &before->items[b], *new = &after->items[a];
        int which = b == before->count ? 1 : a == after->count ? -1 : order(old, new);
        if (which > 0) {
            left++;
            fprintf(to, "  %-10s %s\n", uvm_harness_kind_text(new->kind), text_of(new));
        } else if (which < 0 && uvm__harness_counts(after, old->kind) && may_not_go(old)) {
            left++;
            fprintf(to, "  %-10s %s is closed\n", uvm_harness_kind_text(old->kind), text_of(old));
        }
        b += which <= 0;
        a += which >= 0;
    }
    return left;
}

static long now_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int uvm_harness_census_compare(const uvm_harness_census *before, unsigned kinds, unsigned settle_ms,
                               char **ret_text) {
    long end = now_ms() + (long)settle_ms;
    uvm_harness_census *after =
        new_census(kinds == 0 ? before->kinds : before->kinds & kinds,
                   (const char *const *)before->folders, before->shared_folders, before->reap);
    if (after == NULL) {
        return -UVM_E_NOMEM;
    }
    for (;;) {
        char *text = NULL;
        size_t bytes = 0;
        int left = count_all(after);
        FILE *f = left < 0 ? NULL : open_memstream(&text, &bytes);
        if (f != NULL) {
            left = difference(before, after, f);
            left = fclose(f) == 0 ? left : -UVM_E_NOMEM;
        } else if (left == 0) {
            left = -UVM_E_NOMEM;
        }
        if (left > 0 && now_ms() < end) {
            free(text);
            (void)poll(NULL, 0, LOOK_AGAIN_MS);
            continue;
        }
        if (left >= 0 && ret_text != NULL) {
            *ret_text = left > 0 ? text : NULL;
            text = left > 0 ? NULL : text;
        }
        free(text);
        uvm_harness_census_free(after);
        return left;
    }
}
