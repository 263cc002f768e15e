/* SPDX-License-Identifier: MIT
 * timeline.c — from the events of a trace to rows of spans.
 *
 * The file comes from anywhere: nothing in it is believed before it was looked at, how much of it is read is
 * bounded, and what makes no sense is an error that names the event. Ids of processes and threads are numbers
 * or strings, and are compared as they are written. An end without a begin means nothing; a begin without an
 * end lasts to the end of the trace.
 */
#include "cmd/uvmctl/timeline.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TIME_MAX 1e15 /* 30 years of microseconds */

/* ---- events ------------------------------------------------------------------------------- */

static const cJSON *get(const cJSON *o, const char *key) {
    return uvm__json_get(UVM__JSON_STRICT, o, key);
}

static const char *string_or(const cJSON *node, const char *otherwise) {
    const char *text = uvm__json_string(node);
    return text == NULL ? otherwise : text;
}

/* A string, or a number as it is written. */
static const char *id_or(const cJSON *node, const char *otherwise) {
    const char *text = uvm__json_is_number(node) ? uvm__json_number(node) : NULL;
    return text == NULL ? string_or(node, otherwise) : text;
}

static int read_time(const cJSON *event, const char *key, size_t seen, double min, double *ret,
                     struct uvm__fail *f) {
    const cJSON *node = get(event, key);
    double value = uvm__json_is_number(node) ? strtod(uvm__json_number(node), NULL) : NAN;
    if (!(value >= min && value <= TIME_MAX)) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "event %zu: its \"%s\" is no time in microseconds",
                         seen + 1, key);
    }
    *ret = value;
    return 0;
}

static enum timeline_look look_of(const char *cat) {
    static const char *const cats[] = {
        [TIMELINE_VERB] = "verb", [TIMELINE_OP] = "op",     [TIMELINE_STEP] = "step",
        [TIMELINE_UNDO] = "undo", [TIMELINE_CALL] = "call",
    };
    for (size_t i = TIMELINE_VERB; i < sizeof cats / sizeof cats[0]; i++) {
        if (strcmp(cat, cats[i]) == 0) {
            return (enum timeline_look)i;
        }
    }
    return TIMELINE_OTHER;
}

static int add_span(struct timeline *t, const cJSON *event, size_t seen, struct uvm__fail *f) {
    if (t->count == TIMELINE_SPANS_MAX) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "it has more than %u spans, which is no picture",
                         TIMELINE_SPANS_MAX);
    }
    struct timeline_span *s = &t->spans[t->count];
    const cJSON *args = get(event, "args");
    double dur = 0;
    *s = (struct timeline_span){.name = string_or(get(event, "name"), "?"),
                                .pid = id_or(get(event, "pid"), ""),
                                .tid = id_or(get(event, "tid"), ""),
                                .result = string_or(get(args, "result"), ""),
                                .op = id_or(get(args, "op"), NULL),
                                .parent_op = id_or(get(args, "parent"), NULL),
                                .look = look_of(string_or(get(event, "cat"), "")),
                                .seen = seen};
    if (strcmp(s->result, "OK") == 0) {
        s->result = "";
    }
    int rc = read_time(event, "ts", seen, -TIME_MAX, &s->begin_us, f);
    if (rc == 0 && strcmp(string_or(get(event, "ph"), ""), "X") == 0) {
        rc = uvm__json_absent(get(event, "dur")) ? 0 : read_time(event, "dur", seen, 0, &dur, f);
    } else {
        s->open = true;
    }
    s->end_us = s->begin_us + dur;
    t->count += rc == 0;
    return rc;
}

/* The latest begin of its thread that is still open. */
static int end_span(struct timeline *t, const cJSON *event, size_t seen, struct uvm__fail *f) {
    const char *pid = id_or(get(event, "pid"), ""), *tid = id_or(get(event, "tid"), "");
    double at;
    int rc = read_time(event, "ts", seen, -TIME_MAX, &at, f);
    for (size_t i = t->count; rc == 0 && i-- > 0;) {
        struct timeline_span *s = &t->spans[i];
        if (s->open && strcmp(s->pid, pid) == 0 && strcmp(s->tid, tid) == 0) {
            if (at < s->begin_us) {
                return uvm__fail(f, UVM_E_PROTOCOL, 0, "event %zu: an end before its begin",
                                 seen + 1);
            }
            s->open = false;
            s->end_us = at;
            break;
        }
    }
    return rc;
}

static int read_event(struct timeline *t, const cJSON *event, size_t seen, struct uvm__fail *f) {
    const char *phase = uvm__json_string(get(event, "ph"));
    if (phase == NULL) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "event %zu: it is none: there is no \"ph\"",
                         seen + 1);
    }
    if (strcmp(phase, "X") == 0 || strcmp(phase, "B") == 0) {
        return add_span(t, event, seen, f);
    }
    return strcmp(phase, "E") == 0 ? end_span(t, event, seen, f) : 0;
}

static const cJSON *events_of(const struct timeline *t) {
    return cJSON_IsArray(t->tree) ? t->tree : get(t->tree, "traceEvents");
}

static int read_events(struct timeline *t, struct uvm__fail *f) {
    const cJSON *events = events_of(t), *event;
    size_t seen = 0;
    if (!cJSON_IsArray(events)) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0,
                         "it is no Chrome trace: neither a list of events nor \"traceEvents\"");
    }
    t->spans = calloc(TIMELINE_SPANS_MAX, sizeof *t->spans);
    t->rows = calloc(TIMELINE_SPANS_MAX, sizeof(struct timeline_span *));
    if (t->spans == NULL || t->rows == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "out of memory");
    }
    cJSON_ArrayForEach(event, events) {
        int rc = read_event(t, event, seen++, f);
        if (rc < 0) {
            return rc;
        }
    }
    if (t->count == 0) {
        return uvm__fail(f, UVM_E_NOTFOUND, 0, "there is no span in it (events X, or B and E)");
    }
    return 0;
}

static void find_range(struct timeline *t) {
    t->begin_us = t->end_us = t->spans[0].begin_us;
    for (size_t i = 0; i < t->count; i++) {
        t->begin_us = fmin(t->begin_us, t->spans[i].begin_us);
        t->end_us = fmax(t->end_us, t->spans[i].end_us);
    }
    for (size_t i = 0; i < t->count; i++) {
        if (t->spans[i].open) {
            t->spans[i].end_us = t->end_us;
            t->spans[i].result = t->spans[i].result[0] == 0 ? "OPEN" : t->spans[i].result;
        }
    }
}

/* ---- the tree ----------------------------------------------------------------------------- */

/* By begin; what lasts longer first, since it may contain the other. */
static int compare(const void *a, const void *b) {
    const struct timeline_span *x = *(struct timeline_span *const *)a;
    const struct timeline_span *y = *(struct timeline_span *const *)b;
    if (x->begin_us != y->begin_us) {
        return x->begin_us < y->begin_us ? -1 : 1;
    }
    if (x->end_us != y->end_us) {
        return x->end_us > y->end_us ? -1 : 1;
    }
    if ((x->look == TIMELINE_OP) != (y->look == TIMELINE_OP)) {
        return x->look == TIMELINE_OP ? -1 : 1;
    }
    return x->seen < y->seen ? -1 : 1;
}

static bool same_thread(const struct timeline_span *a, const struct timeline_span *b) {
    return strcmp(a->pid, b->pid) == 0 && strcmp(a->tid, b->tid) == 0;
}

static bool is_below(const struct timeline_span *s, const struct timeline_span *top) {
    while (s != NULL && s != top) {
        s = s->parent;
    }
    return s != NULL;
}

/* Among those before it, the latest that contains it: of its thread, or of the operation that started it. */
static struct timeline_span *parent_of(struct timeline_span *const *sorted, size_t at) {
    const struct timeline_span *s = sorted[at];
    for (size_t i = at; i-- > 0;) {
        if (same_thread(sorted[i], s) && sorted[i]->end_us >= s->end_us) {
            return sorted[i];
        }
    }
    for (size_t i = at; s->parent_op != NULL && i-- > 0;) {
        if (sorted[i]->op != NULL && strcmp(sorted[i]->pid, s->pid) == 0 &&
            strcmp(sorted[i]->op, s->parent_op) == 0 && sorted[i]->end_us >= s->begin_us) {
            return sorted[i];
        }
    }
    return NULL;
}

/* All below one root, parents first. */
static size_t put_rows(struct timeline *t, struct timeline_span *root, size_t at) {
    struct timeline_span *s = root;
    while (s != NULL) {
        t->rows[at++] = s;
        s->depth = s->parent == NULL ? 0 : s->parent->depth + 1;
        if (s->first_child != NULL) {
            s = s->first_child;
            continue;
        }
        while (s != NULL && s != root && s->next == NULL) {
            s = s->parent;
        }
        s = s == NULL || s == root ? NULL : s->next;
    }
    return at;
}

static int build(struct timeline *t, struct uvm__fail *f) {
    struct timeline_span **sorted = malloc(t->count * sizeof(struct timeline_span *));
    if (sorted == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "out of memory");
    }
    for (size_t i = 0; i < t->count; i++) {
        sorted[i] = &t->spans[i];
    }
    qsort(sorted, t->count, sizeof(struct timeline_span *), compare);
    for (size_t i = 0; i < t->count; i++) {
        struct timeline_span *s = sorted[i], *p = parent_of(sorted, i);
        if (p != NULL && !is_below(p, s)) {
            s->parent = p;
            if (p->last_child == NULL) {
                p->first_child = s;
            } else {
                p->last_child->next = s;
            }
            p->last_child = s;
        }
    }
    size_t at = 0;
    /* Processes by their first begin, and of each one its roots by theirs. */
    for (size_t i = 0; i < t->count; i++) {
        bool first = true;
        for (size_t k = 0; first && k < i; k++) {
            first = strcmp(sorted[k]->pid, sorted[i]->pid) != 0;
        }
        for (size_t k = i; first && k < t->count; k++) {
            if (sorted[k]->parent == NULL && strcmp(sorted[k]->pid, sorted[i]->pid) == 0) {
                at = put_rows(t, sorted[k], at);
            }
        }
    }
    free(sorted);
    return 0;
}

/* ---- the outside -------------------------------------------------------------------------- */

const char *timeline_process(const struct timeline *t, const struct timeline_span *span) {
    const cJSON *event;
    cJSON_ArrayForEach(event, events_of(t)) {
        const char *name = uvm__json_string(get(get(event, "args"), "name"));
        if (name != NULL && strcmp(string_or(get(event, "name"), ""), "process_name") == 0 &&
            strcmp(id_or(get(event, "pid"), ""), span->pid) == 0) {
            return name;
        }
    }
    return span->pid;
}

int timeline_read(const char *text, size_t bytes, struct timeline *ret, struct uvm__fail *f) {
    struct timeline t = {0};
    if (bytes > TIMELINE_BYTES_MAX) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "it has %zu bytes; more than %u make no picture", bytes,
                         TIMELINE_BYTES_MAX);
    }
    struct uvm__fail json = {0};
    int rc = bytes == 0 ? uvm__fail(f, UVM_E_NOTFOUND, 0, "it is empty")
                        : uvm__json_read(UVM__JSON_STRICT, text, bytes, &t.tree, &json);
    if (rc < 0 && bytes > 0) {
        rc = uvm__fail(f, (enum uvm_error_code) - rc, 0, "it is no trace that can be drawn: %.160s",
                       json.msg);
    }
    rc = rc < 0 ? rc : read_events(&t, f);
    if (rc == 0) {
        find_range(&t);
        rc = build(&t, f);
    }
    if (rc < 0) {
        timeline_free(&t);
        return rc;
    }
    *ret = t;
    return 0;
}

void timeline_free(struct timeline *t) {
    free(t->spans);
    free(t->rows);
    cJSON_Delete(t->tree);
    *t = (struct timeline){0};
}
