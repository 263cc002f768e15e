/* SPDX-License-Identifier: MIT
 *
 * Loading a module blocks for milliseconds, so a process does it: this binary under the name gcs-modules.
 * It is no process of the host's: not in the table, nobody waits for it, and what it says on stderr goes to
 * the log when it fails.
 */
#include "cmd/gcs/late.h"

#include "async/alloc.h"
#include "async/check.h"
#include "async/child.h"
#include "cmd/gcs/gcs.h"

struct late {
    struct gcs_agent *agent;
    struct uvm__child *child;
};

static void on_closed(void *arg) {
    struct late *l = arg;
    struct gcs_agent *a = l->agent;

    uvm__free(a->engine, l);
    gcs_agent_release(a);
}

static void on_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    struct late *l = arg;

    (void)c;
    if (err != NULL) {
        GCS_LOG(&l->agent->log, UVM_LOG_WARN, "late modules: not loaded",
                GCS_TEXT("error", uvm_error_message(err)));
    }
}

static void on_exit_of_child(struct uvm__child *c, int status, void *arg) {
    struct late *l = arg;
    char said[512] = "", text[64];

    (void)uvm__child_stderr(c, said, sizeof said);
    uvm__child_status_text(status, text, sizeof text);
    GCS_LOG(&l->agent->log, status == 0 ? UVM_LOG_INFO : UVM_LOG_WARN,
            status == 0 ? "late modules loaded" : "late modules: not all loaded",
            GCS_TEXT("status", text), GCS_TEXT("stderr", said));
    uvm__child_close(c, on_closed, l);
}

void gcs_late_start(struct gcs_agent *a) {
    static const char *const argv[] = {"/bin/gcs-modules", "modules.late", NULL};
    static const char *const env[] = {UVM__INIT_MARKER "=1", NULL}; /* it asks where it is, too */
    static const char *const options[] = {"--setsid", "--deathsig", "9", NULL};
    struct late *l = uvm__zalloc(a->engine, sizeof *l);
    const struct uvm__child_params params = {
        .launch_path = GCS_LAUNCH_PATH,
        .name = "gcs-modules",
        .argv = argv,
        .envp = env,
        .launch_args = options,
        .capture_stderr = true,
        .on_started = on_started,
        .on_exit = on_exit_of_child,
        .arg = l,
    };
    struct uvm__fail f = {.msg = "out of memory"};

    UVM_ASSERT(a->inside);
    if (l == NULL || uvm__child_spawn(a->engine, &params, &l->child, &f) < 0) {
        GCS_LOG(&a->log, UVM_LOG_WARN, "late modules: not loaded", GCS_TEXT("error", f.msg));
        uvm__free(a->engine, l);
        return;
    }
    l->agent = a;
    gcs_agent_hold(a);
}
