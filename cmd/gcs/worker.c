/* SPDX-License-Identifier: MIT
 *
 * The workers (worker.h). One object a request, in one of two lists: waiting, or running until its
 * process is reaped and closed. The answer leaves when the process has ended; a quitting agent answers
 * nothing any more, since its connection is closed.
 */
#include "cmd/gcs/worker.h"

#include "async/alloc.h"
#include "async/check.h"
#include "async/child.h"
#include "async/cleanup.h"
#include "cmd/gcs/device.h"
#include "cmd/gcs/fault.h"
#include "cmd/gcs/gcs.h"

#include <string.h>
#include <sys/wait.h>

struct worker {
    struct uvm__list link;
    struct gcs_agent *agent;
    struct uvm__server_request *request; /* NULL: answered */
    struct uvm__child *child;            /* NULL: waits for its turn */
    struct uvm__deadline too_long;
    bool was_too_long;
    uint64_t started_ms;
    const char *resource, *verb; /* of static storage */
    char settings[];
};

static void next(struct gcs_agent *a);

static void refuse(struct worker *w, int32_t result, const char *words) {
    gcs_fault_reply(UVM_TAKE_PTR(w->request), result, GCS_NO_PLACE, NULL, "%s", words);
}

static void drop(struct worker *w) {
    struct gcs_agent *a = w->agent;

    uvm__deadline_clear(a->engine, &w->too_long);
    uvm__list_remove(&w->link);
    uvm__free(a->engine, w);
    gcs_agent_release(a);
}

static void on_closed(void *arg) {
    struct worker *w = arg;
    struct gcs_agent *a = w->agent;

    a->workers_running--;
    drop(w);
    next(a);
}

static void answer(struct worker *w, int status) {
    char said[sizeof((struct gcs_words *)0)->text] = "", text[64];

    (void)uvm__child_stderr(w->child, said, sizeof said);
    uvm__child_status_text(status, text, sizeof text);
    GCS_LOG(&w->agent->log, status == 0 ? UVM_LOG_INFO : UVM_LOG_WARN, "device",
            GCS_TEXT("resource", w->resource), GCS_TEXT("request", w->verb),
            GCS_TEXT("status", text), GCS_TEXT("error", said),
            GCS_NUMBER("ms", uvm__now_ms(w->agent->engine) - w->started_ms));
    if (status == 0) {
        uvm__server_reply(UVM_TAKE_PTR(w->request));
    } else if (w->was_too_long) {
        gcs_fault_reply(UVM_TAKE_PTR(w->request), UVM__HR_FAIL, GCS_NO_PLACE, NULL,
                        "%s %s: not done after %u ms, and given up", w->verb, w->resource,
                        GCS_WORKER_MS);
    } else if (status > 0 && WIFEXITED(status) && said[0] != '\0') {
        refuse(w,
               WEXITSTATUS(status) == GCS_DEVICE_BAD_SETTINGS ? UVM__HR_INVALID_JSON : UVM__HR_FAIL,
               said);
    } else {
        gcs_fault_reply(UVM_TAKE_PTR(w->request), UVM__HR_FAIL, GCS_NO_PLACE, NULL,
                        "%s %s: the program that does it ended early (%s)", w->verb, w->resource,
                        text);
    }
}

static void on_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    struct worker *w = arg;

    (void)c;
    if (err != NULL) {
        refuse(w, UVM__HR_FAIL, uvm_error_message(err));
    }
}

static void on_exit_of_child(struct uvm__child *c, int status, void *arg) {
    struct worker *w = arg;

    uvm__deadline_clear(w->agent->engine, &w->too_long);
    if (w->request != NULL) {
        answer(w, status);
    }
    uvm__child_close(c, on_closed, w);
}

static void on_too_long(struct uvm__deadline *d) {
    struct worker *w = UVM__CONTAINER_OF(d, struct worker, too_long);

    w->was_too_long = true;
    uvm__child_end(w->child, true);
}

static int start(struct worker *w, struct uvm__fail *f) {
    static const char *const env[] = {UVM__INIT_MARKER "=1", NULL}; /* it asks where it is, too */
    static const char *const outside[] = {NULL};
    const char *const argv[] = {"gcs-device", w->resource, w->verb, w->settings, NULL};
    const struct uvm__child_direct direct = {"/proc/self/exe", -1, true};
    const struct uvm__child_params params = {
        .direct = &direct,
        .launch_path = GCS_LAUNCH_PATH,
        .name = "gcs-device",
        .argv = argv,
        .envp = w->agent->inside ? env : outside,
        .capture_stderr = true,
        .on_started = on_started,
        .on_exit = on_exit_of_child,
        .arg = w,
    };

    w->started_ms = uvm__now_ms(w->agent->engine);
    return uvm__child_spawn(w->agent->engine, &params, &w->child, f);
}

/* Starts as many as may run. */
static void next(struct gcs_agent *a) {
    struct uvm__list *it, *tmp;

    UVM__LIST_FOREACH_SAFE(it, tmp, &a->workers) {
        struct worker *w = UVM__CONTAINER_OF(it, struct worker, link);
        struct uvm__fail f = {.msg = "out of memory"};

        if (w->child != NULL || a->workers_running >= GCS_WORKERS_MAX || a->quitting) {
            continue;
        }
        if (start(w, &f) < 0) {
            refuse(w, UVM__HR_FAIL, f.msg);
            drop(w);
            continue;
        }
        a->workers_running++;
        uvm__deadline_set(a->engine, &w->too_long, uvm__now_ms(a->engine) + GCS_WORKER_MS);
    }
}

void gcs_worker_serve(struct gcs_agent *a, struct uvm__server_request *take_r, const char *resource,
                      const char *request, const char *settings) {
    size_t bytes = strlen(settings) + 1;
    struct worker *w = NULL;

    if (bytes > GCS_DEVICE_SETTINGS_BYTES) {
        gcs_fault_reply(take_r, UVM__HR_INVALID_JSON, GCS_NO_PLACE, NULL,
                        "%s: settings of %zu bytes, which is more than %u", resource, bytes,
                        GCS_DEVICE_SETTINGS_BYTES);
        return;
    }
    w = uvm__zalloc(a->engine, sizeof *w + bytes);
    if (w == NULL) {
        uvm__server_reply_hresult(take_r, UVM__HR_OUT_OF_MEMORY);
        return;
    }
    memcpy(w->settings, settings, bytes);
    w->agent = a;
    w->request = take_r;
    w->resource = resource;
    w->verb = request;
    uvm__deadline_init(&w->too_long, on_too_long);
    uvm__list_append(&a->workers, &w->link);
    gcs_agent_hold(a);
    next(a);
}

void gcs_workers_drop(struct gcs_agent *a) {
    struct uvm__list *it, *tmp;

    UVM__LIST_FOREACH_SAFE(it, tmp, &a->workers) {
        struct worker *w = UVM__CONTAINER_OF(it, struct worker, link);

        if (w->request != NULL) {
            uvm__server_reply_hresult(UVM_TAKE_PTR(w->request), UVM__HR_FAIL);
        }
        if (w->child == NULL) {
            drop(w);
        } else {
            uvm__child_end(w->child, true);
        }
    }
}
