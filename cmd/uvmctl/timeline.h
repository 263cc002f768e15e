/* SPDX-License-Identifier: MIT
 * timeline.h — the spans of a Chrome trace, checked and put into a tree.
 *
 * Reads our own traces and those of others: an array of events, or an object with "traceEvents"; complete
 * events ("X") and begins and ends ("B", "E"). A span is a child of the one of its thread in which it lies,
 * an operation of ours also of the step that started it (args.op, args.parent).
 */
#pragma once
#include "async/error.h"
#include "async/json.h"

#define TIMELINE_BYTES_MAX (16u << 20) /* a trace that `uvmctl plot` reads */
#define TIMELINE_SPANS_MAX 2000u       /* ... and spans in it */

enum timeline_look {
    TIMELINE_OTHER,
    TIMELINE_VERB,
    TIMELINE_OP,
    TIMELINE_STEP,
    TIMELINE_UNDO,
    TIMELINE_CALL
};

struct timeline_span {
    const char *name, *pid, *tid; /* ids as they are written there */
    const char *result;           /* "": none, or all is well */
    const char *op, *parent_op;   /* args.op, args.parent; NULL: none */
    enum timeline_look look;
    bool open; /* it has no end */
    double begin_us, end_us;
    size_t seen; /* its place in the file */
    unsigned depth;
    struct timeline_span *parent, *first_child, *last_child, *next;
};

struct timeline {
    cJSON *tree; /* what the strings of spans point into */
    struct timeline_span *spans;
    size_t count;
    struct timeline_span **rows; /* processes by their first begin; in each one, parents first */
    double begin_us, end_us;
};

/* -UVM_E_PROTOCOL: it is no trace; -UVM_E_NOTFOUND: there is no span in it; -UVM_E_LIMIT: too much of it;
 * -UVM_E_NOMEM. `f` has the words. */
int timeline_read(const char *text, size_t bytes, struct timeline *ret, struct uvm__fail *f);
/* What the process of a span is called; its id where it has no name. */
const char *timeline_process(const struct timeline *t, const struct timeline_span *span);
void timeline_free(struct timeline *t);
