/* SPDX-License-Identifier: MIT
 * stats.c — `uvmctl stats`: what a UVM uses, once or again and again.
 *
 * The owner asks its compute service at each call. With --watch the processor's share is that of the time since
 * the look before; the first look has that of the whole life.
 */
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/verbs.h"
#include <inttypes.h>
#include <string.h>

#define EVERY_MS 1000u

static const struct option_row rows[] = {
    {"watch", 'w', NULL, "again each second, until the UVM ends; with --json an object a line"},
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

struct stats {
    struct reach r;
    bool watch, seen;
    uint64_t cpu_us, uptime_ms; /* of the look before */
    uv_timer_t timer;
};

static struct stats *stats_of(struct reach *r) {
    return (struct stats *)(void *)r; /* its first member */
}

static uint64_t count(const cJSON *o, const char *key) {
    const cJSON *node = o == NULL ? NULL : client_at(o, key);
    uint64_t n = 0;
    if (node != NULL) {
        (void)uvm__json_u64(node, UINT64_MAX, &n);
    }
    return n;
}

/* ---- printing ----------------------------------------------------------------------------- */

/* "81.3 MiB" */
static const char *size_text(uint64_t bytes, char buf[24]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(buf, 24, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buf;
}

static void print_device(const cJSON *device) {
    char read[24], written[24], ids[64] = "";
    const cJSON *id;
    cJSON_ArrayForEach(id, client_at(device, "ids")) {
        size_t n = strlen(ids);
        const char *text = uvm__json_string(id);
        (void)snprintf(ids + n, sizeof ids - n, "%s%s", n == 0 ? "" : ",",
                       text == NULL ? "" : text);
    }
    bool mapped = client_at(device, "mapped_bytes") != NULL;
    printf("%-12s %10s %10s %8" PRIu64 " %8" PRIu64 " %8" PRIu64 "  %s\n", ids[0] == 0 ? "-" : ids,
           mapped ? size_text(count(device, "mapped_bytes"), read)
                  : size_text(count(device, "read_bytes"), read),
           mapped ? "mapped" : size_text(count(device, "write_bytes"), written),
           count(device, "reads"), count(device, "writes"), count(device, "flushes"),
           client_text(device, "host_path"));
}

static void print(struct stats *s, const cJSON *result) {
    const cJSON *cpu = client_at(result, "cpu"), *memory = client_at(result, "memory");
    uint64_t cpu_us = count(cpu, "total_us"), uptime_ms = count(result, "uptime_ms");
    uint64_t us = cpu_us - (s->seen ? s->cpu_us : 0), ms = uptime_ms - (s->seen ? s->uptime_ms : 0);
    char assigned[24], used[24], vmm[24], vpmem[24];
    printf("cpu     %.2f s (user %.2f, kernel %.2f) in %.1f s, now %.0f %% of %" PRIu64 "\n",
           (double)cpu_us / 1e6, (double)count(cpu, "user_us") / 1e6,
           (double)count(cpu, "kernel_us") / 1e6, (double)uptime_ms / 1e3,
           ms == 0 ? 0.0 : (double)us / 10.0 / (double)ms, count(result, "cpus"));
    printf("memory  %s assigned, %s used, %s virtual PMem, %s VMM\n",
           size_text(count(memory, "assigned_bytes"), assigned),
           size_text(count(memory, "used_bytes"), used),
           size_text(count(memory, "vpmem_bytes"), vpmem),
           size_text(count(memory, "vmm_bytes"), vmm));
    s->seen = true;
    s->cpu_us = cpu_us;
    s->uptime_ms = uptime_ms;
    const cJSON *list = client_at(result, "devices"), *device;
    if (cJSON_GetArraySize(list) > 0) {
        printf("%-12s %10s %10s %8s %8s %8s  %s\n", "DEVICE", "READ", "WRITTEN", "READS", "WRITES",
               "FLUSHES", "HOST");
    }
    cJSON_ArrayForEach(device, list) {
        print_device(device);
    }
}

/* ---- asking ------------------------------------------------------------------------------- */

static void on_answer(struct client *c, const cJSON *result, const uvm_error *err, int status,
                      void *arg) {
    struct stats *s = arg;
    struct reach *r = &s->r;
    (void)c;
    (void)status;
    if (r->over) {
        return;
    }
    if (err != NULL) {
        /* Who watches has seen it to its end. */
        bool ended =
            s->seen && (uvm_error_code(err) == UVM_E_EXITED || uvm_error_code(err) == UVM_E_STATE ||
                        uvm_error_code(err) == UVM_E_CLOSED);
        if (ended) {
            reach_end(r, EXIT_DONE);
        } else {
            reach_fail(r, err, 0);
        }
        return;
    }
    if (r->json) {
        char *text = cJSON_PrintUnformatted(result);
        printf("%s\n", text == NULL ? "{}" : text);
        cJSON_free(text);
        s->seen = true;
    } else {
        print(s, result);
    }
    if (fflush(stdout) != 0) {
        reach_end(r, EXIT_FAILED);
    } else if (!s->watch) {
        reach_end(r, EXIT_DONE);
    }
}

static void on_tick(uv_timer_t *timer) {
    struct stats *s = timer->data;
    (void)client_call(s->r.client, "stats", NULL, NULL, 0, on_answer, s);
}

static void on_end(struct client *c, void *arg) {
    struct stats *s = arg;
    (void)c;
    reach_end(&s->r, s->seen ? EXIT_DONE : EXIT_FAILED);
}

static void before_end(struct reach *r) {
    uv_close((uv_handle_t *)&stats_of(r)->timer, NULL);
}

static bool on_option(struct reach *r, const struct option_row *row, const char *value) {
    (void)row;
    (void)value;
    stats_of(r)->watch = true;
    return true;
}

static int stats(char **argv) {
    struct stats s = {.r = {.verb = &verb_stats, .needs_name = true, .on_option = on_option}};
    if (!reach_begin(&s.r, argv)) {
        return s.r.status;
    }
    s.r.before_end = before_end;
    (void)uv_timer_init(&s.r.app.loop, &s.timer);
    s.timer.data = &s;
    if (reach_connect(&s.r,
                      &(struct client_events){.on_end = s.watch ? on_end : NULL, .arg = &s})) {
        (void)uv_timer_start(&s.timer, on_tick, 0, s.watch ? EVERY_MS : 0);
    }
    return reach_run(&s.r);
}

const struct verb verb_stats = {
    .name = "stats",
    .summary = "show what a UVM uses",
    .words = "NAME [--watch] [--json]",
    .about =
        "Shows the processor time of the VMM, its guest's included; the memory that the guest was\n"
        "given, how much of it it has touched, what images in virtual PMem take, and what the VMM\n"
        "takes beside that; and of each device what was read and written, or what is mapped.",
    .options = rows,
    .status = "0 (with --watch also when the UVM has ended), 1, 3 when there is no such UVM,\n"
              "4 when it has ended, 124 the timeout passed, 130 interrupted.",
    .example = "uvmctl stats web --watch",
    .run = stats,
};
