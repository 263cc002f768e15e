/* SPDX-License-Identifier: MIT
 * app.c — loop, engine and service of a verb, and the signals that end it.
 *
 * SIGINT, SIGTERM and SIGHUP ask for the end: the verb cancels, everything is undone, the loop runs empty
 * and the program exits with 128 + n. Asking again shortens what can be shortened. SIGPIPE is ignored: a
 * closed output is a return value. Nothing here ends the program by itself.
 */
#include "cmd/uvmctl/app.h"
#include "cmd/uvmctl/args.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/paths.h"
#include "cmd/uvmctl/progress.h"
#include "cmd/uvmctl/trace.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_log(const struct uvm_log_record *record, void *arg) {
    struct app *app = arg;
    if (record->level <= app->show) {
        out_log(record);
    }
    trace_record(record, false);
    if (app->progress != NULL) {
        progress_record(app->progress, record);
    }
}

static void on_signal(uv_signal_t *handle, int signo) {
    struct app *app = handle->data;
    if (signo == SIGWINCH) {
        if (app->on_resize != NULL) {
            app->on_resize(app);
        }
        return;
    }
    if (app->interrupted == 0) {
        app->interrupted = signo;
    }
    app->interrupts++;
    if (app->on_interrupt != NULL) {
        app->on_interrupt(app, signo, app->interrupts);
    }
}

static bool watch_signals(struct app *app) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of its write */
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction now;
        uv_signal_t *handle = &app->signals[i];
        if (uv_signal_init(&app->loop, handle) != 0) {
            return false;
        }
        app->signals_count = i + 1;
        handle->data = app;
        uv_unref((uv_handle_t *)handle); /* alone it keeps nothing running */
        /* What was ignored when we started (nohup, a job in the background) stays ignored. */
        bool ignored = sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == SIG_IGN;
        if (!ignored && uv_signal_start(handle, on_signal, signals[i]) != 0) {
            return false;
        }
    }
    return true;
}

/* A bound of the environment: left alone when there is none. False: it said what is wrong. */
static bool read_bound(const char *name, uint64_t max, uint64_t *ret) {
    const char *text = getenv(name);
    if (text == NULL || text[0] == 0 || args_read_number(text, 1, max, ret)) {
        return true;
    }
    out_message("$%s: \"%.40s\" is no number from 1 to %" PRIu64, name, text, max);
    return false;
}

struct bounds {
    uint64_t vms, memory_mb; /* 0: none */
};

static int open_service(struct app *app, const struct app_params *params,
                        const struct bounds *bounds) {
    char launch[PATH_BYTES];
    (void)paths_launch(launch); /* a missing one is an error of create, which names it */
    struct uvm_qemu_params p = UVM_QEMU_PARAMS_INIT;
    p.search_path = getenv("PATH");
    p.launch_path = launch;
    p.accel = params->accel;
    p.vms_max = (uint32_t)bounds->vms;
    p.memory_mb_max = bounds->memory_mb;
    return uvm_qemu_service_new(app->engine, &p, &app->service);
}

static void close_signals(struct app *app) {
    for (size_t i = 0; i < app->signals_count; i++) {
        uv_close((uv_handle_t *)&app->signals[i], NULL);
    }
    app->signals_count = 0;
}

/* What app_open() opened before it failed. */
static void give_up(struct app *app) {
    out_message("the engine could not start: out of descriptors or memory");
    close_signals(app);
    if (app->engine != NULL) {
        uvm_engine_close(app->engine, NULL, NULL);
    }
    app_run(app);
    app_deinit(app);
}

bool app_open(struct app *app, const struct app_params *params) {
    struct uvm_engine_params ep = UVM_ENGINE_PARAMS_INIT;
    enum uvm_log_level level = UVM_LOG_WARN + params->verbose;
    app->show = level > UVM_LOG_TRACE ? UVM_LOG_TRACE : level;
    ep.log = on_log;
    ep.log_arg = app;
    ep.log_level = params->want_spans || trace_wanted() ? UVM_LOG_TRACE : app->show;
    struct bounds bounds = {0};
    if (!read_bound("UVM_VMS_MAX", UINT32_MAX, &bounds.vms) ||
        !read_bound("UVM_MEMORY_MB_MAX", UINT64_MAX, &bounds.memory_mb)) {
        return false;
    }
    if (uv_loop_init(&app->loop) != 0) {
        out_message("no event loop: out of descriptors or memory");
        return false;
    }
    app->started_ms = uv_now(&app->loop);
    if (!watch_signals(app) || uvm_engine_new(&app->loop, &ep, &app->engine) < 0 ||
        (!params->client && open_service(app, params, &bounds) < 0)) {
        give_up(app);
        return false;
    }
    return true;
}

void app_run(struct app *app) {
    (void)uv_run(&app->loop, UV_RUN_DEFAULT);
}

static void on_service_closed(void *arg) {
    struct app *app = arg;
    close_signals(app);
    uvm_engine_close(app->engine, NULL, NULL);
}

void app_close(struct app *app) {
    if (!app->closing) {
        app->closing = true;
        if (app->service == NULL) {
            on_service_closed(app);
        } else {
            uvm_service_close(app->service, on_service_closed, app);
        }
    }
}

void app_deinit(struct app *app) {
    int rc = uv_loop_close(&app->loop);
    if (rc != 0) {
        out_message("bug: the event loop is not empty at the end: %s", uv_strerror(rc));
    }
}

uint64_t app_left_ms(struct app *app) {
    if (app->timeout_ms == 0) {
        return 0;
    }
    uint64_t used = uv_now(&app->loop) - app->started_ms;
    return used < app->timeout_ms ? app->timeout_ms - used : 1;
}

int app_status(const struct app *app, const uvm_error *err, int otherwise) {
    if (app->interrupted != 0) {
        return EXIT_SIGNAL + app->interrupted;
    }
    switch (uvm_error_code(err)) {
    case UVM_E_TIMEDOUT:
        return EXIT_TIMEOUT;
    case UVM_E_LIMIT: /* no room for it here */
    case UVM_E_HOST:
        return otherwise == EXIT_ENGINE ? EXIT_ENGINE : EXIT_HOST;
    default:
        return otherwise;
    }
}
