/* SPDX-License-Identifier: MIT
 * measure.c — many boots in one process, a few at a time, and a table of their times.
 *
 * A run that fails is reported when it does and counts as failed; the others go on. An interrupt cancels
 * those under way and starts no further ones. Percentiles are of the runs that worked: p99 is the
 * smallest time that 99 of 100 runs did not exceed. The program's own CPU time is the whole process's,
 * divided by the boots: beside the few milliseconds that a boot itself takes, it has the program's start
 * (once) and the end of each VM, when the kernel gives the guest's pages back in the time of whoever closes
 * their file last, which is us.
 */
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/verbs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct slot {
    struct run run;
    char name[72];
    struct run_params params;
    uint32_t number;
    bool busy;
    struct many *many;
};

struct result {
    bool ok;
    uint64_t total_ms;
    struct uvm_vm_times times;
    int status;
};

struct many {
    struct app *app;
    const struct run_params *params;
    uint32_t count, started, over, failed, parallel;
    bool json, table;
    bool filling; /* a run that is over at once comes back there */
    struct result *results;
    struct slot *slots;
};

static void fill(struct many *m);

static void print_row(const struct many *m, const struct slot *s) {
    const struct run *r = &s->run;
    if (m->table && !m->json) {
        printf("%5u %8llu %8llu %8llu %8llu %8llu %7d\n", s->number,
               (unsigned long long)r->total_ms, (unsigned long long)r->times.create,
               (unsigned long long)r->times.vmm_start,
               (unsigned long long)r->times.first_guest_contact,
               (unsigned long long)r->times.negotiated, r->status);
        (void)fflush(stdout);
    }
}

static void on_over(struct run *run) {
    struct slot *s = run->arg;
    struct many *m = s->many;
    if (run->error != NULL && m->app->interrupted == 0) {
        out_error(run->error);
    }
    bool booted = m->params->command != NULL ? run->has_status && run->status == 0
                                             : run->error == NULL && run->times.negotiated != 0;
    m->results[s->number - 1] = (struct result){booted, run->total_ms, run->times, run->status};
    m->failed += booted ? 0 : 1;
    if (booted && m->params->command == NULL) {
        run->status = 0;
    }
    print_row(m, s);
    m->over++;
    s->busy = false;
    run_deinit(run);
    fill(m);
}

static void start_slot(struct many *m, struct slot *s) {
    s->busy = true;
    s->number = ++m->started;
    s->many = m;
    s->params = *m->params;
    s->params.until_negotiated = true;
    s->params.output = RUN_DISCARD;
    if (m->params->vm.name != NULL) {
        (void)snprintf(s->name, sizeof s->name, "%s-%u", m->params->vm.name, s->number);
        s->params.vm.name = s->name;
    }
    run_start(&s->run, m->app, &s->params, on_over, s);
}

static void fill(struct many *m) {
    if (m->filling) {
        return;
    }
    m->filling = true;
    for (uint32_t i = 0; i < m->parallel; i++) {
        while (!m->slots[i].busy && m->started < m->count && m->app->interrupted == 0) {
            start_slot(m, &m->slots[i]);
        }
    }
    m->filling = false;
    bool busy = false;
    for (uint32_t i = 0; i < m->parallel; i++) {
        busy = busy || m->slots[i].busy;
    }
    if (!busy) {
        app_close(m->app);
    }
}

static void on_interrupt(struct app *app, int signo, unsigned times) {
    struct many *m = app->arg;
    (void)signo;
    for (uint32_t i = 0; i < m->parallel; i++) {
        if (m->slots[i].busy) {
            run_interrupt(&m->slots[i].run, times);
        }
    }
}

/* ---- the summary -------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

struct summary {
    uint64_t min, median, p99, max;
};

static struct summary summarize(const struct many *m) {
    struct summary s = {0};
    uint64_t *sorted = calloc(m->count, sizeof *sorted);
    size_t n = 0;
    for (uint32_t i = 0; sorted != NULL && i < m->started; i++) {
        if (m->results[i].ok) {
            sorted[n++] = m->results[i].total_ms;
        }
    }
    if (n > 0) {
        qsort(sorted, n, sizeof *sorted, compare);
        s = (struct summary){sorted[0], sorted[n / 2], sorted[(n * 99 + 99) / 100 - 1],
                             sorted[n - 1]};
        if (n % 2 == 0) {
            s.median = (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
        }
    }
    free(sorted);
    return s;
}

static double own_cpu_ms(void) {
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000.0 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000.0;
}

static void print_table(const struct many *m, const struct summary *s) {
    printf("%u boots, %u failed; ms: min %llu  median %llu  p99 %llu  max %llu; own CPU %.1f ms a "
           "boot\n",
           m->started, m->failed, (unsigned long long)s->min, (unsigned long long)s->median,
           (unsigned long long)s->p99, (unsigned long long)s->max,
           m->started == 0 ? 0.0 : own_cpu_ms() / (double)m->started);
}

static void print_json(const struct many *m, const struct summary *s) {
    struct json_out j = {0};
    json_open(&j, NULL, '{');
    json_open(&j, "runs", '[');
    for (uint32_t i = 0; i < m->started; i++) {
        const struct result *r = &m->results[i];
        json_open(&j, NULL, '{');
        json_bool(&j, "ok", r->ok);
        json_int(&j, "status", r->status);
        json_int(&j, "total_ms", (int64_t)r->total_ms);
        json_int(&j, "create_ms", (int64_t)r->times.create);
        json_int(&j, "vmm_start_ms", (int64_t)r->times.vmm_start);
        json_int(&j, "first_guest_contact_ms", (int64_t)r->times.first_guest_contact);
        json_int(&j, "negotiated_ms", (int64_t)r->times.negotiated);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_open(&j, "summary", '{');
    json_int(&j, "min", (int64_t)s->min);
    json_int(&j, "median", (int64_t)s->median);
    json_int(&j, "p99", (int64_t)s->p99);
    json_int(&j, "max", (int64_t)s->max);
    json_close(&j, '}');
    json_int(&j, "failed", m->failed);
    json_number(&j, "own_cpu_ms_per_boot",
                m->started == 0 ? 0.0 : own_cpu_ms() / (double)m->started);
    json_close(&j, '}');
    (void)json_finish(&j, STDOUT_FILENO);
}

int measure(struct app *app, const struct run_params *params, uint32_t count, uint32_t parallel,
            bool table, bool json) {
    struct many m = {.app = app, .params = params, .count = count, .json = json, .table = table};
    m.parallel = parallel < count ? parallel : count;
    m.results = calloc(count, sizeof *m.results);
    m.slots = calloc(m.parallel, sizeof *m.slots);
    if (m.results == NULL || m.slots == NULL) {
        out_message("out of memory");
        m.count = 0;
        m.parallel = 0;
    }
    app->arg = &m;
    app->on_interrupt = on_interrupt;
    if (table && !json) {
        printf("%5s %8s %8s %8s %8s %8s %7s\n", "run", "total", "create", "start", "contact",
               "agreed", "status");
    }
    fill(&m);
    app_run(app);
    struct summary s = summarize(&m);
    if (json) {
        print_json(&m, &s);
    } else if (table) {
        print_table(&m, &s);
    }
    bool all = m.count == count && m.over == count && m.failed == 0;
    free(m.results);
    free(m.slots);
    if (app->interrupted != 0) {
        return EXIT_SIGNAL + app->interrupted;
    }
    return all ? EXIT_DONE : EXIT_FAILED;
}
