/* SPDX-License-Identifier: MIT
 * progress.c — a line a step: what is being waited for, or how long it took.
 *
 * A boot that is over within a second shows nothing. After that second the steps so far appear, then each
 * as it ends. The engine's spans are the source, so the words are those of its errors.
 */
#include "cmd/uvmctl/progress.h"
#include "cmd/uvmctl/out.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUIET_MS 1000u
#define STEPS_MAX 16u

struct progress {
    uv_timer_t timer;
    bool shown; /* the quiet second is over */
    struct {
        char name[32];
        uint64_t ms;
    } steps[STEPS_MAX];
    size_t count;
};

static void show(const struct progress *p, size_t i) {
    out_message("  %-10s %6llu ms", p->steps[i].name, (unsigned long long)p->steps[i].ms);
}

static void on_timer(uv_timer_t *timer) {
    struct progress *p = timer->data;
    p->shown = true;
    for (size_t i = 0; i < p->count; i++) {
        show(p, i);
    }
}

struct progress *progress_open(uv_loop_t *loop) {
    if (!out_stderr_is_terminal()) {
        return NULL;
    }
    struct progress *p = calloc(1, sizeof *p);
    if (p != NULL) {
        (void)uv_timer_init(loop, &p->timer);
        p->timer.data = p;
        (void)uv_timer_start(&p->timer, on_timer, QUIET_MS, 0);
        uv_unref((uv_handle_t *)&p->timer);
    }
    return p;
}

void progress_record(struct progress *p, const struct uvm_log_record *record) {
    if (record->kind != UVM_LOG_STEP_END || record->code != UVM_OK ||
        strcmp(record->op, "vm boot") != 0 || p->count == STEPS_MAX) {
        return;
    }
    (void)snprintf(p->steps[p->count].name, sizeof p->steps[0].name, "%s", record->step);
    p->steps[p->count].ms = record->elapsed_ms;
    if (p->shown) {
        show(p, p->count);
    }
    p->count++;
}

static void on_closed(uv_handle_t *timer) {
    free(timer->data);
}

void progress_close(struct progress *p) {
    if (p != NULL) {
        uv_close((uv_handle_t *)&p->timer, on_closed);
    }
}
