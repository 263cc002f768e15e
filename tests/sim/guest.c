/* SPDX-License-Identifier: MIT
 * guest.c — the simulated guest's boot and its agent's connections.
 *
 * Each step sets what comes next and a timer, so a guest stands still between two of them and can end at
 * each. An end is pushed on the ready queue: it tears everything down, which must not happen below a
 * caller. After it, or when frozen, no callback of the guest does anything; what the engine still owes
 * (the answer to a dial) is let go of when it comes.
 */
#include "hcs/sim/sim.h"
#include "tests/sim/guest_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIAL_MS 100u
#define FLOOD_BYTES (1u << 20)
#define STRAYS 40u

static const char *const conduct_texts[GUEST_CONDUCT_MAX] = {
#define SIM_X(name, text) [GUEST_##name] = (text),
    GUEST_CONDUCT_MAP(SIM_X)
#undef SIM_X
};
static const char *const stage_texts[GUEST_STAGE_MAX] = {
#define SIM_X(name, text) [GUEST_AT_##name] = (text),
    GUEST_STAGE_MAP(SIM_X)
#undef SIM_X
};
static const char *const end_texts[GUEST_END_MAX] = {
#define SIM_X(name, text) [GUEST_END_##name] = (text),
    GUEST_END_MAP(SIM_X)
#undef SIM_X
};

const char *guest_conduct_text(enum guest_conduct conduct) {
    return conduct_texts[conduct];
}
const char *guest_stage_text(enum guest_stage stage) {
    return stage_texts[stage];
}
const char *guest_end_text(enum guest_end end) {
    return end_texts[end];
}

struct uvm__hcs_system *guest_system(const struct guest *g) {
    return g->system;
}

static bool is(const struct guest *g, enum guest_conduct conduct) {
    return g->script->conduct == conduct;
}

/* ---- steps and ends ----------------------------------------------------------------------- */

static void on_timer(struct uvm__deadline *d) {
    struct guest *g = UVM__CONTAINER_OF(d, struct guest, timer);
    g->next(g);
}

static void then(struct guest *g, void (*next)(struct guest *g), uint64_t ms) {
    g->next = next;
    uvm__deadline_set(g->engine, &g->timer, uvm__now_ms(g->engine) + ms);
}

static uint64_t step_ms(const struct guest *g) {
    return g->script->step_ms;
}

static void boot(struct guest *g);
static void redial(struct guest *g);
static void abandon_dials(struct guest *g);

static void on_doom(struct uvm__ready *r) {
    struct guest *g = UVM__CONTAINER_OF(r, struct guest, doom);
    struct uvm__hcs_system *s = g->system;
    switch (g->ending) {
    case GUEST_END_PANIC:
        uvm__sim_console(s, "Kernel panic - not syncing: simulated\n");
        uvm__sim_end(s, UVM__HCS_EXIT_GUEST_PANIC, "Kernel panic - not syncing: simulated");
        return; /* the guest is gone */
    case GUEST_END_POWEROFF:
        uvm__sim_end(s, UVM__HCS_EXIT_GUEST_SHUTDOWN, "");
        return;
    case GUEST_END_RESET:
        uvm__sim_end(s, UVM__HCS_EXIT_GUEST_RESET, "");
        return;
    case GUEST_END_KILLED:
        uvm__sim_end(s, UVM__HCS_EXIT_VMM_DIED, "killed by SIGKILL");
        return;
    case GUEST_END_AGENT_GONE:
        abandon_dials(g);
        uvm__server_close(g->server);
        g->server = NULL;
        guest_proc_stop_all(g);
        guest_drop(g, &g->bridge);
        guest_drop(g, &g->log);
        g->frozen = true;
        return;
    case GUEST_END_DROPS:
        if (g->server != NULL) {
            uvm__server_detach(g->server);
        }
        guest_drop(g, &g->bridge);
        g->frozen = false;
        then(g, g->server == NULL ? boot : redial, REDIAL_MS);
        return;
    default:
        return; /* hangs: frozen is all */
    }
}

static void end(struct guest *g, enum guest_end how) {
    g->frozen = true;
    g->ending = how;
    uvm__deadline_clear(g->engine, &g->timer);
    uvm__ready_push(g->engine, &g->doom);
}

void guest_power_off(struct guest *g) {
    if (!g->frozen) {
        end(g, GUEST_END_POWEROFF);
    }
}

bool guest_reach(struct guest *g, enum guest_stage stage) {
    const struct guest_script *script = g->script;
    if (g->frozen) {
        return false;
    }
    if (script->end == GUEST_END_NONE || script->end_at != stage || g->seen->ended_as_told) {
        return true;
    }
    g->seen->ended_as_told = true;
    end(g, script->end);
    return false;
}

/* ---- streams ------------------------------------------------------------------------------ */

struct guest_dial {
    struct uvm__list link;
    struct guest *g; /* NULL: the machine is gone */
    uvm_engine *engine;
    uvm_op *op;
    uint32_t port;
    struct uvm__deadline again;
    void *data;
    void (*fn)(struct guest *g, struct uvm__stream *s, void *data);
};

static void dial_start(struct guest_dial *d);

static void on_again(struct uvm__deadline *t) {
    dial_start(UVM__CONTAINER_OF(t, struct guest_dial, again));
}

static void on_dialled(uvm_op *op, const uvm_error *err, void *arg) {
    struct guest_dial *d = arg;
    struct guest *g = d->g;
    bool refused = err != NULL && uvm_error_code(err) == UVM_E_REFUSED;
    struct uvm__stream *s = err == NULL ? uvm__hvsock_connect_result(op) : NULL;
    d->op = uvm_op_unref(d->op);
    if (g == NULL) {
        if (s != NULL) {
            uvm__stream_reset(s);
        }
        free(d);
        return;
    }
    if (s == NULL && !refused) {
        uvm__deadline_set(d->engine, &d->again, uvm__now_ms(d->engine) + REDIAL_MS);
        return;
    }
    g->seen->refused += refused;
    g->seen->streams += s != NULL;
    uvm__list_remove(&d->link);
    void (*fn)(struct guest *, struct uvm__stream *, void *) = d->fn;
    void *data = d->data;
    free(d);
    fn(g, s, data);
}

static void dial_start(struct guest_dial *d) {
    int rc = uvm__hvsock_connect(d->g->hvsock, d->port, NULL, on_dialled, d, &d->op);
    if (rc < 0) {
        uvm__deadline_set(d->engine, &d->again, uvm__now_ms(d->engine) + REDIAL_MS);
    }
}

void guest_dial(struct guest *g, uint32_t port, void *data,
                void (*fn)(struct guest *g, struct uvm__stream *s, void *data)) {
    struct guest_dial *d = calloc(1, sizeof *d);
    UVM_ASSERT(d != NULL);
    d->g = g;
    d->engine = g->engine;
    d->port = port;
    d->data = data;
    d->fn = fn;
    uvm__deadline_init(&d->again, on_again);
    uvm__list_append(&g->dials, &d->link);
    g->seen->dials++;
    dial_start(d);
}

/* Nobody waits for them any more; what the engine still answers is let go of. */
static void abandon_dials(struct guest *g) {
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &g->dials) {
        struct guest_dial *d = UVM__CONTAINER_OF(it, struct guest_dial, link);
        uvm__list_remove(&d->link);
        d->g = NULL;
        if (d->op == NULL) {
            uvm__deadline_clear(g->engine, &d->again);
            free(d);
        }
    }
}

void guest_drop(struct guest *g, struct uvm__stream **s) {
    if (*s != NULL) {
        UVM_ASSERT(g->seen->streams > 0);
        g->seen->streams--;
        uvm__stream_close(*s);
        *s = NULL;
    }
}

/* ---- /init -------------------------------------------------------------------------------- */

static void dial_offers(struct guest *g);
static void dial_log(struct guest *g);
static void start_agent(struct guest *g);

static void on_entropy(struct uvm__stream *s, unsigned events, void *arg) {
    struct guest *g = arg;
    (void)events;
    if (g->frozen) {
        return;
    }
    uint8_t buf[256];
    ssize_t n;
    while ((n = uvm__stream_read(s, buf, sizeof buf)) > 0) {
        g->seen->entropy_bytes += (uint32_t)n;
    }
    if (n == -UVM_E_AGAIN) {
        return;
    }
    g->seen->entropy_ends += n == 0;
    guest_drop(g, &g->entropy);
    then(g, dial_offers, step_ms(g));
}

static void entropy_dialled(struct guest *g, struct uvm__stream *s, void *data) {
    (void)data;
    g->entropy = s;
    if (!guest_reach(g, GUEST_AT_ENTROPY)) {
        return;
    }
    if (s == NULL || is(g, GUEST_ENTROPY_UNREAD)) {
        then(g, dial_offers, step_ms(g));
        return;
    }
    g->seen->entropy_bytes = 0;
    uvm__stream_set_handler(s, on_entropy, g);
}

static void dial_entropy(struct guest *g) {
    guest_dial(g, UVM__PORT_ENTROPY, NULL, entropy_dialled);
}

static void second_dialled(struct guest *g, struct uvm__stream *s, void *data) {
    (void)data;
    g->seen->second_refused += s == NULL;
    guest_drop(g, &g->second);
    g->second = s; /* an accepted one is kept, unread */
}

static void offers_dialled(struct guest *g, struct uvm__stream *s, void *data) {
    (void)data;
    guest_offers_serve(g, s);
    if (!guest_reach(g, GUEST_AT_OFFERS)) {
        return;
    }
    if (is(g, GUEST_ENTROPY_TWICE)) {
        guest_dial(g, UVM__PORT_ENTROPY, NULL, second_dialled);
    }
    then(g, dial_log, step_ms(g));
}

static void dial_offers(struct guest *g) {
    guest_dial(g, UVM__PORT_OFFERS, NULL, offers_dialled);
}

/* ---- the log ------------------------------------------------------------------------------ */

static void flood(struct guest *g) {
    static const char line[] = "{\"time\":\"2026-01-01T00:00:00.000000000Z\",\"level\":\"info\","
                               "\"msg\":\"and again\",\"more\":17}\n";
    static const char endless[1024] = {[0 ... 1023] = 'x'};
    while (g->flooded < FLOOD_BYTES) {
        /* The second half has no line end. */
        bool lines = g->flooded < FLOOD_BYTES / 2;
        ssize_t n = uvm__stream_write(g->log, lines ? line : endless,
                                      lines ? sizeof line - 1 : sizeof endless);
        if (n < 0) {
            return; /* the event comes when there is room */
        }
        g->flooded += (uint64_t)n;
        g->seen->log_bytes += (uint64_t)n;
    }
}

static void on_log(struct uvm__stream *s, unsigned events, void *arg) {
    struct guest *g = arg;
    if (g->frozen) {
        return;
    }
    if ((events & UVM__STREAM_WRITABLE) != 0 && is(g, GUEST_LOG_FLOOD)) {
        flood(g);
    }
    char buf[64];
    ssize_t n = uvm__stream_read(s, buf, sizeof buf);
    if (n == 0 || n == -UVM_E_CLOSED) {
        /* The host let go of it: the agent dies at its next line, and the machine with it. */
        end(g, GUEST_END_PANIC);
    }
}

static void log_line(struct guest *g, const char *level, const char *text) {
    char line[160];
    int n = snprintf(line, sizeof line,
                     "{\"level\":\"%s\",\"msg\":\"%s\",\"time\":\"2026-01-01T00:00:00Z\"}\n", level,
                     text);
    UVM_ASSERT(n > 0 && (size_t)n < sizeof line);
    if (g->log != NULL && !is(g, GUEST_LOG_SILENT)) {
        ssize_t sent = uvm__stream_write(g->log, line, (size_t)n);
        g->seen->log_bytes += sent > 0 ? (uint64_t)sent : 0;
    }
}

static void log_dialled(struct guest *g, struct uvm__stream *s, void *data) {
    (void)data;
    g->log = s;
    if (!guest_reach(g, GUEST_AT_LOG)) {
        return;
    }
    if (s == NULL || is(g, GUEST_NO_AGENT)) {
        uvm__sim_console(g->system, s == NULL ? "vsockexec: port 109: refused\n"
                                              : "vsockexec: /bin/gcs: no such file\n");
        end(g, GUEST_END_PANIC); /* PID 1 ends with its child */
        return;
    }
    uvm__stream_set_handler(s, on_log, g);
    log_line(g, "info", "simulated agent starts");
    if (is(g, GUEST_LOG_CLOSED)) {
        guest_drop(g, &g->log);
    }
    if (is(g, GUEST_LOG_TWICE)) {
        guest_dial(g, UVM__PORT_LOG, NULL, second_dialled);
    }
    then(g, start_agent, step_ms(g));
}

static void dial_log(struct guest *g) {
    guest_dial(g, UVM__PORT_LOG, NULL, log_dialled);
}

/* ---- the bridge --------------------------------------------------------------------------- */

static void on_running(struct uvm__deadline *d) {
    struct guest *g = UVM__CONTAINER_OF(d, struct guest, running_timer);
    (void)guest_reach(g, GUEST_AT_RUNNING);
}

/* The host's first bytes are there. */
static void on_bridge(struct uvm__stream *s, unsigned events, void *arg) {
    struct guest *g = arg;
    if (g->frozen || (events & UVM__STREAM_READABLE) == 0) {
        return;
    }
    if (!guest_reach(g, GUEST_AT_NEGOTIATE)) {
        return;
    }
    g->bridge = NULL;
    g->seen->streams--; /* the server's from here */
    uvm__deadline_set(g->engine, &g->running_timer, uvm__now_ms(g->engine) + 10);
    if (g->script->wired || (g->script->wire.fault != WIRE_NONE && !g->script->wire.met)) {
        s = wire_new(g->engine, s, &g->script->wire);
    }
    uvm__server_attach(g->server, s);
}

/* Reads until the host ends it. */
static void on_bridge_end(struct uvm__stream *s, unsigned events, void *arg) {
    struct guest *g = arg;
    (void)events;
    char buf[256];
    ssize_t n;
    while ((n = uvm__stream_read(s, buf, sizeof buf)) > 0) {
    }
    if (n != -UVM_E_AGAIN && !g->frozen) {
        guest_drop(g, &g->bridge);
        then(g, redial, REDIAL_MS);
    }
}

static void bridge_dialled(struct guest *g, struct uvm__stream *s, void *data) {
    static const char garbage[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    (void)data;
    g->seen->bridge_refused += s == NULL;
    g->bridge = s;
    if (g->frozen) {
        return;
    }
    if (s == NULL) {
        then(g, redial, REDIAL_MS);
        return;
    }
    if (!guest_reach(g, GUEST_AT_AGENT)) {
        return;
    }
    switch (g->script->conduct) {
    case GUEST_SILENT:
        return;
    case GUEST_GARBAGE:
        (void)uvm__stream_write(s, garbage, sizeof garbage - 1);
        uvm__stream_set_handler(s, on_bridge_end, g);
        return;
    case GUEST_HANGS_UP:
        guest_drop(g, &g->bridge);
        then(g, redial, REDIAL_MS);
        return;
    case GUEST_SECOND_PEER:
        guest_dial(g, UVM__PORT_BRIDGE, NULL, second_dialled);
        break;
    default:
        break;
    }
    uvm__stream_set_handler(s, on_bridge, g);
}

static void redial(struct guest *g) {
    if (!g->frozen) {
        g->seen->bridge_dials++;
        guest_dial(g, UVM__PORT_BRIDGE, NULL, bridge_dialled);
    }
}

static void on_detached(struct uvm__server *server, const uvm_error *err, void *arg) {
    struct guest *g = arg;
    (void)server;
    (void)err;
    if (!g->frozen) {
        then(g, redial, REDIAL_MS);
    }
}

static void stray_dialled(struct guest *g, struct uvm__stream *s, void *data) {
    (void)data;
    g->seen->stray_accepted += s != NULL;
    guest_drop(g, &s);
    if (++g->strays < STRAYS) {
        guest_dial(g, UVM__PORT_STDIO_FIRST + g->strays, NULL, stray_dialled);
    }
}

static void start_agent(struct guest *g) {
    if (is(g, GUEST_AGENT_NEVER_DIALS)) {
        return;
    }
    if (is(g, GUEST_STRAY_DIALS)) {
        guest_dial(g, UVM__PORT_STDIO_FIRST, NULL, stray_dialled);
    }
    then(g, redial, is(g, GUEST_AGENT_LATE) ? g->script->late_ms : step_ms(g));
}

/* ---- life --------------------------------------------------------------------------------- */

static void boot(struct guest *g) {
    struct uvm__server_params p = {.v4 = true,
                                   .process_control = g->script->plain_agent ? 0 : 1,
                                   .on_detached = on_detached,
                                   .arg = g};
    guest_proc_handlers(&p);
    if (uvm__server_new(g->engine, &p, &g->server) < 0) {
        then(g, boot, REDIAL_MS); /* no memory: as a slow kernel */
        return;
    }
    dial_entropy(g);
}

struct guest *guest_new(uvm_engine *e, struct uvm__hcs_system *s, struct uvm__hvsock *hvsock,
                        struct guest_script *script, struct guest_seen *seen) {
    struct guest *g = calloc(1, sizeof *g);
    UVM_ASSERT(g != NULL);
    g->engine = e;
    g->system = s;
    g->hvsock = hvsock;
    g->script = script;
    g->seen = seen;
    uvm__deadline_init(&g->timer, on_timer);
    uvm__deadline_init(&g->running_timer, on_running);
    uvm__ready_init(&g->doom, on_doom);
    uvm__list_init(&g->dials);
    uvm__list_init(&g->procs);
    uvm__list_init(&g->held);
    uvm__list_init(&g->mounts);
    seen->guests++;
    uvm__sim_console(s, "Linux version 6.1.0 (simulated)\n");
    if (guest_reach(g, GUEST_AT_KERNEL) && !is(g, GUEST_NEVER_DIALS)) {
        then(g, boot, step_ms(g));
    }
    return g;
}

void guest_stop(struct guest *g) {
    g->frozen = true;
    uvm__deadline_clear(g->engine, &g->timer);
    uvm__deadline_clear(g->engine, &g->running_timer);
    uvm__ready_cancel(g->engine, &g->doom);
    abandon_dials(g);
    uvm__server_close(g->server);
    g->server = NULL;
    guest_proc_stop_all(g);
    guest_disk_stop_all(g);
    guest_drop(g, &g->entropy);
    guest_drop(g, &g->log);
    guest_drop(g, &g->bridge);
    guest_drop(g, &g->second);
    guest_drop(g, &g->offers);
    UVM_ASSERT(g->seen->guests > 0);
    g->seen->guests--;
    free(g);
}
