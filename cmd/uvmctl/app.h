/* SPDX-License-Identifier: MIT
 * app.h — what every verb runs on: loop, engine, service, signals, log.
 */
#pragma once
#include "hcs/qemu/qemu_service.h"
#include "uvm/uvm.h"
#include <uv.h>

struct progress;

struct app {
    uv_loop_t loop;
    uvm_engine *engine;
    uvm_service *service;
    uint64_t started_ms;       /* of the verb, on the loop's clock */
    uint64_t timeout_ms;       /* 0: none */
    enum uvm_log_level show;   /* records up to this level are printed */
    struct progress *progress; /* NULL: none is shown */
    int interrupted;           /* signal that asked for the end; 0: none */
    /* SIGINT, SIGTERM, SIGHUP: `times` is 1 for the first of them. */
    void (*on_interrupt)(struct app *app, int signo, unsigned times);
    void (*on_resize)(struct app *app); /* SIGWINCH; NULL: not wanted */
    void *arg;
    unsigned interrupts;
    uv_signal_t signals[4];
    size_t signals_count; /* that are open */
    bool closing;
};

struct app_params {
    enum uvm_qemu_accel accel;
    unsigned verbose; /* how often -v was given */
    bool want_spans;  /* the log's begin and end records, for progress */
    bool client;      /* no VM of its own: no service */
};

/* False: it said why. */
bool app_open(struct app *app, const struct app_params *params);
/* Runs the loop until nothing is left to do. */
void app_run(struct app *app);
/* Closes service, signals and engine; the loop then ends by itself. */
void app_close(struct app *app);
/* After app_run(): frees the loop, which must be empty. */
void app_deinit(struct app *app);

/* What is left of the verb's time: 0 no limit, else at least 1. */
uint64_t app_left_ms(struct app *app);
/* 124, 130, 5 … for an error of the engine; `otherwise` for all the rest. */
int app_status(const struct app *app, const uvm_error *err, int otherwise);
