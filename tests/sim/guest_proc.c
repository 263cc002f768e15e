/* SPDX-License-Identifier: MIT
 * guest_proc.c — the simulated agent's handlers, and the programs that a guest has.
 *
 * As the reference's agent: a process's streams are dialled in order before it starts, a wait is held
 * until the end, a process that was waited for is forgotten. A program is a row of a table with a begin
 * and, where it does more than wait, a step that its timer and its streams' events call.
 */
#include "tests/sim/guest_int.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct proc;

struct program {
    const char *name;
    void (*step)(
        struct proc *p); /* at its first tick, then at events and ticks of its own asking */
    bool ignores_term;
};

enum { IN, OUT, ERR, STREAMS };

struct proc {
    struct uvm__list link;
    struct guest *g;
    const struct program *program;
    uint64_t number; /* its first argument */
    uint32_t pid;    /* 0: not started */
    struct uvm__server_request *execute;
    uint32_t ports[STREAMS];
    unsigned dialled;
    struct uvm__stream *streams[STREAMS];
    struct uvm__deadline tick;
    bool ended;
    struct uvm__msg_exit exit;
    uint64_t done; /* bytes, of those who count */
    char buf[2048];
    size_t have;
};

uint64_t guest_soon(const struct guest *g) {
    return uvm__now_ms(g->engine) + g->script->step_ms;
}

static void reply_failure(struct uvm__server_request *r, int32_t result, const char *text) {
    const struct uvm__msg_error err = {.result = result, .message = text};
    uvm__server_reply_error(r, &err);
}

/* ---- life of a process -------------------------------------------------------------------- */

static struct proc *find(struct guest *g, uint32_t pid) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &g->procs) {
        struct proc *p = UVM__CONTAINER_OF(it, struct proc, link);
        if (p->pid == pid && pid != 0) {
            return p;
        }
    }
    return NULL;
}

uint32_t guest_processes(const struct guest *g) {
    const struct uvm__list *it;
    uint32_t n = 0;
    UVM__LIST_FOREACH(it, &g->procs) {
        const struct proc *p = UVM__CONTAINER_OF(it, struct proc, link);
        n += p->pid != 0 && !p->ended;
    }
    return n;
}

bool guest_runs_process(const struct guest *g, uint32_t pid) {
    const struct proc *p = find((struct guest *)g, pid);
    return p != NULL && !p->ended;
}

static void forget(struct proc *p) {
    struct guest *g = p->g;
    uvm__deadline_clear(g->engine, &p->tick);
    for (unsigned i = 0; i < STREAMS; i++) {
        guest_drop(g, &p->streams[i]);
    }
    if (p->pid != 0 && !p->ended) {
        g->seen->processes--;
    }
    uvm__list_remove(&p->link);
    free(p);
}

void guest_free_held(struct guest_held *h) {
    uvm__deadline_clear(h->g->engine, &h->timeout);
    uvm__list_remove(&h->link);
    free(h);
}

static void ended(struct proc *p, uint32_t code, int signal) {
    struct guest *g = p->g;
    UVM_ASSERT(!p->ended && p->pid != 0);
    p->ended = true;
    p->exit =
        (struct uvm__msg_exit){.code = signal != 0 ? UVM__EXIT_SIGNALED : code, .signal = signal};
    g->seen->processes--;
    uvm__deadline_clear(g->engine, &p->tick);
    for (unsigned i = 0; i < STREAMS; i++) {
        guest_drop(g, &p->streams[i]);
    }
    bool waited = false;
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &g->held) {
        struct guest_held *h = UVM__CONTAINER_OF(it, struct guest_held, link);
        if (h->pid == p->pid) {
            uvm__server_reply_exit(h->r, &p->exit);
            guest_free_held(h);
            waited = true;
        }
    }
    if (waited) {
        forget(p);
    }
}

/* ---- programs ----------------------------------------------------------------------------- */

static void tick_in(struct proc *p, uint64_t ms) {
    uvm__deadline_set(p->g->engine, &p->tick, uvm__now_ms(p->g->engine) + ms);
}

static void step_true(struct proc *p) {
    ended(p, 0, 0);
}

static void step_exit(struct proc *p) {
    ended(p, (uint32_t)p->number, 0);
}

static void step_crash(struct proc *p) {
    ended(p, 0, (int)p->number);
}

static void step_sleep(struct proc *p) {
    if (p->done++ == 0) {
        tick_in(p, p->number);
    } else {
        ended(p, 0, 0);
    }
}

static void step_stay(struct proc *p) {
    (void)p; /* for ever */
}

/* Ends, and leaves its streams to a child of its own that stays. */
static void step_leave(struct proc *p) {
    struct proc *child = calloc(1, sizeof *child);
    UVM_ASSERT(child != NULL);
    child->g = p->g;
    child->program = p->program;
    uvm__deadline_init(&child->tick, NULL);
    for (unsigned i = 0; i < STREAMS; i++) {
        child->streams[i] = p->streams[i];
        p->streams[i] = NULL;
        if (child->streams[i] != NULL) {
            uvm__stream_set_handler(child->streams[i], NULL, NULL);
        }
    }
    uvm__list_append(&p->g->procs, &child->link);
    ended(p, 0, 0);
}

static void step_cat(struct proc *p) {
    for (;;) {
        if (p->have > 0) {
            ssize_t n = p->streams[OUT] == NULL
                            ? (ssize_t)p->have
                            : uvm__stream_write(p->streams[OUT], p->buf, p->have);
            if (n == -UVM_E_AGAIN) {
                return;
            }
            if (n == -UVM_E_NOMEM) {
                tick_in(p, 1);
                return;
            }
            if (n < 0) {
                ended(p, 0, SIGPIPE);
                return;
            }
            p->have -= (size_t)n;
            memmove(p->buf, p->buf + n, p->have);
            continue;
        }
        ssize_t n =
            p->streams[IN] == NULL ? 0 : uvm__stream_read(p->streams[IN], p->buf, sizeof p->buf);
        if (n == -UVM_E_AGAIN) {
            return;
        }
        if (n <= 0) {
            ended(p, n == 0 ? 0 : 1, 0);
            return;
        }
        p->have = (size_t)n;
    }
}

/* Its first argument: so many bytes; none: without end, some each millisecond. */
static void step_yes(struct proc *p) {
    char text[1024];
    memset(text, 'y', sizeof text);
    for (size_t i = 1; i < sizeof text; i += 2) {
        text[i] = '\n';
    }
    uint64_t until = p->number != 0 ? p->number : p->done + 4096;
    while (p->done < until) {
        uint64_t left = until - p->done;
        size_t bytes = left < sizeof text ? (size_t)left : sizeof text;
        ssize_t n = p->streams[OUT] == NULL ? (ssize_t)bytes
                                            : uvm__stream_write(p->streams[OUT], text, bytes);
        if (n == -UVM_E_AGAIN) {
            return;
        }
        if (n < 0 && n != -UVM_E_NOMEM) {
            ended(p, 0, SIGPIPE);
            return;
        }
        if (n < 0) {
            break;
        }
        p->done += (uint64_t)n;
    }
    if (p->number != 0 && p->done == p->number) {
        ended(p, 0, 0);
    } else {
        tick_in(p, 1);
    }
}

static const struct program programs[] = {
    {"true", step_true, false},   {"exit", step_exit, false}, {"crash", step_crash, false},
    {"sleep", step_sleep, false}, {"stay", step_stay, false}, {"stubborn", step_stay, true},
    {"leave", step_leave, false}, {"cat", step_cat, false},   {"yes", step_yes, false},
};

static void on_tick(struct uvm__deadline *d) {
    struct proc *p = UVM__CONTAINER_OF(d, struct proc, tick);
    if (!p->g->frozen) {
        p->program->step(p);
    }
}

static void on_stream(struct uvm__stream *s, unsigned events, void *arg) {
    struct proc *p = arg;
    (void)s;
    (void)events;
    bool counts = p->program->step == step_cat || p->program->step == step_yes;
    if (!p->g->frozen && counts && !p->tick.linked) {
        p->program->step(p);
    }
}

/* ---- execute ------------------------------------------------------------------------------ */

static void execute_fails(struct proc *p, enum uvm__start_step step, int error, const char *text) {
    const struct uvm__msg_error err = {
        .result = UVM__HR_FAIL, .message = text, .start = {.step = step, .error = error}};
    uvm__server_reply_error(p->execute, &err);
    forget(p);
}

static void on_start(struct uvm__deadline *d) {
    struct proc *p = UVM__CONTAINER_OF(d, struct proc, tick);
    struct guest *g = p->g;
    if (g->frozen) {
        return;
    }
    if (p->program == NULL) {
        execute_fails(p, UVM__START_EXEC, p->number == EACCES ? EACCES : ENOENT,
                      "exec: not found in PATH");
        return;
    }
    p->pid = ++g->last_pid;
    g->seen->processes++;
    uvm__deadline_init(&p->tick, on_tick);
    tick_in(p, 1);
    uvm__server_reply_pid(p->execute, p->pid);
    p->execute = NULL;
    for (unsigned i = 0; i < STREAMS; i++) {
        if (p->streams[i] != NULL) {
            uvm__stream_set_handler(p->streams[i], on_stream, p);
        }
    }
    (void)guest_reach(g, GUEST_AT_EXECUTED);
}

static void dial_next(struct proc *p);

static void stdio_dialled(struct guest *g, struct uvm__stream *s, void *data) {
    struct proc *p = data;
    p->streams[p->dialled - 1] = s;
    if (g->frozen) {
        return;
    }
    if (s == NULL) {
        execute_fails(p, UVM__START_STDIO, ECONNREFUSED, "failed creating a stdio connection");
        return;
    }
    dial_next(p);
}

static void again_dialled(struct guest *g, struct uvm__stream *s, void *data) {
    (void)data;
    g->seen->second_refused += s == NULL;
    guest_drop(g, &s);
}

static void dial_next(struct proc *p) {
    while (p->dialled < STREAMS) {
        uint32_t port = p->ports[p->dialled++];
        if (port != 0 && p->g->script->conduct != GUEST_EXEC_UNDIALLED) {
            if (p->g->script->conduct == GUEST_EXEC_TWICE && p->dialled > 1) {
                /* The one before it has been taken by now. */
                guest_dial(p->g, p->ports[p->dialled - 2], NULL, again_dialled);
            }
            guest_dial(p->g, port, p, stdio_dialled);
            return;
        }
    }
    uvm__deadline_set(p->g->engine, &p->tick, guest_soon(p->g));
}

static void read_program(struct proc *p, const struct uvm__msg_process *m) {
    const char *name = m->args == NULL || m->args[0] == NULL ? "" : m->args[0];
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        if (strcmp(programs[i].name, name) == 0) {
            p->program = &programs[i];
        }
    }
    if (name[0] != 0 && m->args[1] != NULL) {
        p->number = strtoull(m->args[1], NULL, 10);
    }
    if (strcmp(name, "/etc/passwd") == 0) {
        p->number = EACCES;
    }
}

static void handle_execute(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest *g = arg;
    (void)s;
    g->seen->executes++;
    const struct uvm__msg_execute *body = &uvm__server_request_body(r)->execute;
    struct uvm__msg_process m;
    struct uvm__fail f = {0};
    int rc = uvm__msg_process_read(g->engine, body->parameters, &m, &f);
    if (rc < 0) {
        if (rc == -UVM_E_NOMEM) {
            uvm__server_reply_hresult(r, UVM__HR_OUT_OF_MEMORY);
        } else {
            uvm__server_reply_bad_json(r, f.msg);
        }
        return;
    }
    struct proc *p = calloc(1, sizeof *p);
    UVM_ASSERT(p != NULL);
    p->g = g;
    p->execute = r;
    p->ports[IN] = m.in ? body->port_in : 0;
    p->ports[OUT] = m.out ? body->port_out : 0;
    p->ports[ERR] = m.err ? body->port_err : 0;
    read_program(p, &m);
    uvm__msg_process_deinit(g->engine, &m);
    uvm__deadline_init(&p->tick, on_start);
    uvm__list_append(&g->procs, &p->link);
    if (guest_reach(g, GUEST_AT_EXEC)) {
        dial_next(p);
    }
}

/* ---- the other requests ------------------------------------------------------------------- */

static void on_timeout(struct uvm__deadline *d) {
    struct guest_held *h = UVM__CONTAINER_OF(d, struct guest_held, timeout);
    if (!h->g->frozen) {
        h->answer(h);
    }
}

struct guest_held *guest_hold(struct guest *g, struct uvm__server_request *r,
                              void (*answer)(struct guest_held *h)) {
    struct guest_held *h = calloc(1, sizeof *h);
    UVM_ASSERT(h != NULL);
    h->g = g;
    h->r = r;
    h->answer = answer;
    uvm__deadline_init(&h->timeout, on_timeout);
    uvm__list_append(&g->held, &h->link);
    return h;
}

static void wait_timed_out(struct guest_held *h) {
    uvm__server_reply_hresult(h->r, UVM__HR_TIMEOUT);
    guest_free_held(h);
}

static void handle_wait(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest *g = arg;
    (void)s;
    g->seen->waits++;
    const struct uvm__msg_wait *body = &uvm__server_request_body(r)->wait;
    struct proc *p = find(g, body->pid);
    if (p == NULL) {
        uvm__server_reply_hresult(r, UVM__HR_NOT_FOUND);
        return;
    }
    if (p->ended) {
        uvm__server_reply_exit(r, &p->exit);
        forget(p);
        return;
    }
    struct guest_held *h = guest_hold(g, r, wait_timed_out);
    h->pid = body->pid;
    if (body->timeout_ms != UVM__WAIT_INFINITE) {
        uvm__deadline_set(g->engine, &h->timeout, uvm__now_ms(g->engine) + body->timeout_ms);
    }
}

static void signal_now(struct guest_held *h) {
    const struct uvm__msg_signal *body = &uvm__server_request_body(h->r)->signal;
    struct proc *p = find(h->g, body->pid);
    int signo = body->signal == 0 ? SIGKILL : body->signal;
    if (uvm__server_request_control(h->r) == 0) {
        uvm__server_reply_hresult(h->r, UVM__HR_NO_SYSTEM);
    } else if (p == NULL || p->ended) {
        uvm__server_reply_hresult(h->r, UVM__HR_NOT_FOUND);
    } else {
        uvm__server_reply(h->r);
        if (signo == SIGKILL || !p->program->ignores_term) {
            h->g->seen->processes_killed++;
            ended(p, 0, signo);
        }
    }
    guest_free_held(h);
}

static void handle_signal(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest *g = arg;
    (void)s;
    struct guest_held *h = guest_hold(g, r, signal_now);
    if (guest_reach(g, GUEST_AT_SIGNALED)) {
        uvm__deadline_set(g->engine, &h->timeout, guest_soon(g));
    }
}

static void handle_resize(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest *g = arg;
    (void)s;
    if (find(g, uvm__server_request_body(r)->resize.pid) == NULL) {
        uvm__server_reply_hresult(r, UVM__HR_NOT_FOUND);
    } else {
        uvm__server_reply(r);
    }
}

/* Without an answer, as the reference; the request goes with the machine. */
static void power_off(struct guest_held *h) {
    guest_power_off(h->g);
}

static void handle_shutdown(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest *g = arg;
    (void)s;
    g->seen->shutdowns++;
    if (g->script->refuses_shutdown) {
        reply_failure(r, UVM__HR_FAIL, "not now");
        return;
    }
    if (g->script->ignores_shutdown) {
        uvm__server_reply(r);
        return;
    }
    struct guest_held *h = guest_hold(g, r, power_off);
    uvm__deadline_set(g->engine, &h->timeout, guest_soon(g));
}

static void answer_properties(struct guest_held *h) {
    reply_failure(h->r, UVM__HR_FAIL, "not of the utility VM");
    guest_free_held(h);
}

/* The engine asks for nothing of this but its heartbeats. */
static void handle_properties(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest *g = arg;
    (void)s;
    uint32_t n = g->seen->beats++;
    uint32_t ms = n < GUEST_BEATS ? g->script->beat_ms[n] : 0;
    struct guest_held *h = guest_hold(g, r, answer_properties);
    if (!g->frozen && ms != GUEST_BEAT_LOST) {
        uvm__deadline_set(g->engine, &h->timeout, uvm__now_ms(g->engine) + ms);
    }
}

static void handle_stacks(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    struct guest *g = arg;
    char text[1024];
    if (uvm__server_dump(s, text, sizeof text) == 0) {
        (void)snprintf(text, sizeof text, "idle, %u processes\n", g->seen->processes);
    }
    uvm__server_reply_stacks(r, text);
}

void guest_proc_handlers(struct uvm__server_params *p) {
    p->handlers[UVM__MSG_EXECUTE_PROCESS] = handle_execute;
    p->handlers[UVM__MSG_WAIT_FOR_PROCESS] = handle_wait;
    p->handlers[UVM__MSG_SIGNAL_PROCESS] = handle_signal;
    p->handlers[UVM__MSG_RESIZE_CONSOLE] = handle_resize;
    p->handlers[UVM__MSG_SHUTDOWN_GRACEFUL] = handle_shutdown;
    p->handlers[UVM__MSG_SHUTDOWN_FORCED] = handle_shutdown;
    p->handlers[UVM__MSG_GET_PROPERTIES] = handle_properties;
    p->handlers[UVM__MSG_DUMP_STACKS] = handle_stacks;
    p->handlers[UVM__MSG_MODIFY_SETTINGS] = guest_handle_modify;
}

void guest_proc_stop_all(struct guest *g) {
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &g->held) {
        struct guest_held *h = UVM__CONTAINER_OF(it, struct guest_held, link);
        uvm__server_reply(h->r); /* nobody hears it */
        guest_free_held(h);
    }
    UVM__LIST_FOREACH_SAFE(it, tmp, &g->procs) {
        struct proc *p = UVM__CONTAINER_OF(it, struct proc, link);
        if (p->execute != NULL) {
            uvm__server_reply(p->execute);
        }
        forget(p);
    }
}
