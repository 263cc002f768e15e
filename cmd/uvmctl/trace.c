/* SPDX-License-Identifier: MIT
 * trace.c — spans to a file of Chrome trace events, as they end.
 *
 * The file always ends with the closing bracket: an event is written over it together with the next one, in
 * one write, so that a program that is killed leaves valid JSON behind. A write that did not fit is taken
 * back.
 *
 * A span is written when it ends; those that never do (a step that was given up on, whatever runs while the
 * program ends) are known from their begin and written at the end of their operation, or of the trace.
 * Tables are small and forget: a name that is told twice does no harm.
 */
#include "cmd/uvmctl/trace.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/outfile.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 200000u /* some 30 MB */
#define VMS_MAX 64u        /* names at hand */
#define NAMED_MAX 256u     /* threads that have a name already */
#define OPEN_MAX 256u      /* spans under way */
#define PID_SELF 1u
#define TAIL "\n]\n"

struct open_span {
    enum uvm_log_kind kind; /* the begin's; TEXT: free */
    unsigned pid;
    uint64_t op_id, parent_id, begin_us;
    char op[32], step[48];
};

static struct {
    int fd; /* -1: no trace */
    char path[200], verb[32];
    uint64_t begin_us;
    size_t end; /* where the tail begins */
    size_t events, lost, calls;
    unsigned pids;
    struct {
        char name[72];
        bool owner;
        unsigned pid;
    } vms[VMS_MAX];
    size_t vms_next;
    struct {
        unsigned pid;
        uint64_t tid;
    } named[NAMED_MAX];
    size_t named_next;
    struct open_span open[OPEN_MAX];
} t = {.fd = -1};

uint64_t trace_now_us(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

bool trace_wanted(void) {
    return t.fd >= 0;
}

/* ---- events ------------------------------------------------------------------------------- */

/* Frees the text. */
static void put_event(struct json_out *j) {
    size_t before = t.events == 0 ? 1 : 2, bytes = before + j->len + sizeof TAIL - 1;
    char *text = j->failed || t.events == EVENTS_MAX ? NULL : malloc(bytes);
    if (text != NULL) {
        (void)memcpy(text, &",\n"[2 - before], before);
        (void)memcpy(text + before, j->data, j->len);
        (void)memcpy(text + before + j->len, TAIL, sizeof TAIL - 1);
        if (pwrite(t.fd, text, bytes, (off_t)t.end) == (ssize_t)bytes) {
            t.end += before + j->len;
            t.events++;
        } else {
            t.lost++;
            (void)!pwrite(t.fd, TAIL, sizeof TAIL - 1, (off_t)t.end);
            (void)!ftruncate(t.fd, (off_t)(t.end + sizeof TAIL - 1));
        }
    } else {
        t.lost++;
    }
    free(text);
    free(j->data);
}

/* {"name":…,"ph":…,"pid":…,"tid":…, and the caller goes on. */
static void begin_event(struct json_out *j, const char *name, const char *phase, unsigned pid,
                        uint64_t tid) {
    json_open(j, NULL, '{');
    json_text(j, "name", name);
    json_text(j, "ph", phase);
    json_int(j, "pid", pid);
    json_int(j, "tid", (int64_t)tid);
}

static void put_name(const char *what, unsigned pid, uint64_t tid, const char *name) {
    struct json_out j = {0};
    begin_event(&j, what, "M", pid, tid);
    json_open(&j, "args", '{');
    json_text(&j, "name", name);
    json_close(&j, '}');
    json_close(&j, '}');
    put_event(&j);
}

static void begin_span(struct json_out *j, const char *name, const char *cat, unsigned pid,
                       uint64_t tid, uint64_t begin_us, uint64_t end_us) {
    begin_event(j, name, "X", pid, tid);
    json_text(j, "cat", cat);
    json_int(j, "ts", (int64_t)begin_us);
    json_int(j, "dur", end_us > begin_us ? (int64_t)(end_us - begin_us) : 0);
    json_open(j, "args", '{');
}

static void end_span(struct json_out *j) {
    json_close(j, '}');
    json_close(j, '}');
    put_event(j);
}

/* ---- names -------------------------------------------------------------------------------- */

static unsigned pid_of(const char *vm, bool owner) {
    char name[100];
    if (vm[0] == 0) {
        return PID_SELF;
    }
    for (size_t i = 0; i < VMS_MAX; i++) {
        if (t.vms[i].pid != 0 && t.vms[i].owner == owner && strcmp(t.vms[i].name, vm) == 0) {
            return t.vms[i].pid;
        }
    }
    size_t slot = t.vms_next++ % VMS_MAX;
    t.vms[slot].pid = ++t.pids;
    t.vms[slot].owner = owner;
    (void)snprintf(t.vms[slot].name, sizeof t.vms[slot].name, "%s", vm);
    (void)snprintf(name, sizeof name, "UVM %s%s", t.vms[slot].name, owner ? " (owner)" : "");
    put_name("process_name", t.vms[slot].pid, 0, name);
    return t.vms[slot].pid;
}

static void name_thread(unsigned pid, uint64_t tid, const char *op) {
    char name[100];
    for (size_t i = 0; i < NAMED_MAX; i++) {
        if (t.named[i].pid == pid && t.named[i].tid == tid) {
            return;
        }
    }
    t.named[t.named_next % NAMED_MAX].pid = pid;
    t.named[t.named_next++ % NAMED_MAX].tid = tid;
    (void)snprintf(name, sizeof name, "%.60s #%llu", op, (unsigned long long)tid);
    put_name("thread_name", pid, tid, name);
}

/* ---- spans -------------------------------------------------------------------------------- */

static void put_span(const struct open_span *s, uint64_t end_us, const char *result) {
    char name[80];
    /* An owner's operation may be older than this trace, by hours. */
    bool clipped = s->begin_us < t.begin_us;
    bool op = s->kind == UVM_LOG_OP_BEGIN, undo = s->kind == UVM_LOG_UNDO_BEGIN;
    struct json_out j = {0};
    (void)snprintf(name, sizeof name, "%s%s", undo ? "undo " : "", op ? s->op : s->step);
    name_thread(s->pid, s->op_id, s->op);
    begin_span(&j, name,
               op     ? "op"
               : undo ? "undo"
                      : "step",
               s->pid, s->op_id, clipped ? t.begin_us : s->begin_us, end_us);
    json_int(&j, "op", (int64_t)s->op_id);
    if (s->parent_id != 0) {
        json_int(&j, "parent", (int64_t)s->parent_id);
    }
    json_text(&j, "result", result);
    if (clipped) {
        json_bool(&j, "clipped", true);
    }
    end_span(&j);
}

static void forget(const struct open_span *s) {
    for (size_t i = 0; i < OPEN_MAX; i++) {
        struct open_span *o = &t.open[i];
        if (o->kind == s->kind && o->pid == s->pid && o->op_id == s->op_id &&
            strcmp(o->step, s->step) == 0) {
            o->kind = UVM_LOG_TEXT;
        }
    }
}

/* Those of one operation, or (NULL) all: they have not ended, and nothing will say so. */
static void put_open(const struct open_span *of, uint64_t end_us) {
    for (size_t i = 0; i < OPEN_MAX; i++) {
        struct open_span *o = &t.open[i];
        if (o->kind != UVM_LOG_TEXT &&
            (of == NULL || (o->pid == of->pid && o->op_id == of->op_id))) {
            put_span(o, end_us, "OPEN");
            o->kind = UVM_LOG_TEXT;
        }
    }
}

static void remember(const struct open_span *s) {
    for (size_t i = 0; i < OPEN_MAX; i++) {
        if (t.open[i].kind == UVM_LOG_TEXT) {
            t.open[i] = *s;
            return;
        }
    }
}

void trace_record(const struct uvm_log_record *r, bool owner) {
    static const struct {
        enum uvm_log_kind kind, begin;
    } kinds[] = {{UVM_LOG_OP_BEGIN, UVM_LOG_OP_BEGIN},     {UVM_LOG_OP_END, UVM_LOG_OP_BEGIN},
                 {UVM_LOG_STEP_BEGIN, UVM_LOG_STEP_BEGIN}, {UVM_LOG_STEP_END, UVM_LOG_STEP_BEGIN},
                 {UVM_LOG_UNDO_BEGIN, UVM_LOG_UNDO_BEGIN}, {UVM_LOG_UNDO_END, UVM_LOG_UNDO_BEGIN}};
    struct open_span s = {.kind = UVM_LOG_TEXT};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        s.kind = kinds[i].kind == r->kind ? kinds[i].begin : s.kind;
    }
    if (t.fd < 0 || s.kind == UVM_LOG_TEXT) {
        return;
    }
    s.pid = pid_of(r->vm, owner);
    s.op_id = r->op_id;
    s.parent_id = r->parent_id;
    s.begin_us = r->begin_us;
    (void)snprintf(s.op, sizeof s.op, "%s", r->op);
    (void)snprintf(s.step, sizeof s.step, "%s", r->step);
    if (s.kind == r->kind) {
        remember(&s);
        return;
    }
    forget(&s);
    if (s.kind == UVM_LOG_OP_BEGIN) {
        put_open(&s, r->at_us);
    }
    put_span(&s, r->at_us, r->code == UVM_OK ? "OK" : uvm_error_code_name(r->code));
}

void trace_call(const char *method, uint64_t begin_us, const char *result) {
    struct json_out j = {0};
    if (t.fd >= 0) {
        begin_span(&j, method, "call", PID_SELF, ++t.calls, begin_us, trace_now_us());
        json_text(&j, "result", result);
        end_span(&j);
    }
}

void trace_owner_lost(void) {
    struct json_out j = {0};
    if (t.fd >= 0) {
        begin_event(&j, "no more spans of the owner: too many", "i", PID_SELF, 0);
        json_int(&j, "ts", (int64_t)trace_now_us());
        json_text(&j, "s", "g");
        json_close(&j, '}');
        put_event(&j);
    }
}

/* ---- begin and end ------------------------------------------------------------------------ */

bool trace_open(const char *verb, const char *path) {
    char why[160], name[64];
    trace_leave();
    int fd = outfile_open(path, why, sizeof why);
    if (fd < 0) {
        out_usage("%s: --trace: %s: %s", verb, path, why);
        return false;
    }
    (void)memset(&t, 0, sizeof t);
    t.fd = fd;
    t.pids = PID_SELF;
    t.begin_us = trace_now_us();
    (void)snprintf(t.path, sizeof t.path, "%s", path);
    (void)snprintf(t.verb, sizeof t.verb, "%s", verb);
    if (pwrite(fd, "[" TAIL, sizeof TAIL, 0) != (ssize_t)sizeof TAIL) {
        out_usage("%s: --trace: %s: it cannot be written", verb, path);
        trace_leave();
        return false;
    }
    t.end = 1;
    (void)snprintf(name, sizeof name, "uvmctl %s", verb);
    put_name("process_name", PID_SELF, 0, name);
    put_name("thread_name", PID_SELF, 0, verb);
    return true;
}

void trace_close(int status) {
    char name[64];
    struct json_out j = {0};
    uint64_t now = trace_now_us();
    if (t.fd < 0) {
        return;
    }
    put_open(NULL, now);
    (void)snprintf(name, sizeof name, "uvmctl %s", t.verb);
    begin_span(&j, name, "verb", PID_SELF, 0, t.begin_us, now);
    json_int(&j, "status", status);
    end_span(&j);
    if (t.lost > 0) {
        out_message("--trace: %s: %zu events are missing: %s", t.path, t.lost,
                    t.events == EVENTS_MAX ? "there are too many" : "it could not be written");
    }
    trace_leave();
}

void trace_leave(void) {
    if (t.fd >= 0) {
        close(t.fd);
        t.fd = -1;
    }
}
