/* SPDX-License-Identifier: MIT
 * share_view.c — see share_view.h.
 */
#include "hcs/qemu/share_view.h"

#include <stdio.h>
#include <string.h>

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"

static void on_cannot(struct uvm__ready *r) {
    struct uvm__view *v = UVM__CONTAINER_OF(r, struct uvm__view, cannot);
    v->fn(v);
}

void uvm__view_init(struct uvm__view *v, uvm_engine *e, void (*fn)(struct uvm__view *v)) {
    v->engine = e;
    v->fn = fn;
    uvm__ready_init(&v->cannot, on_cannot);
}

bool uvm__view_runs(const struct uvm__view *v) {
    return v->child != NULL;
}

static void on_closed(void *arg) {
    struct uvm__view *v = arg;

    v->child = NULL;
    if (v->stopped) {
        v->status = UVM__VIEW_FAILED;
        (void)snprintf(v->text, sizeof v->text, "given up");
    }
    v->fn(v);
}

static void on_exit_status(struct uvm__child *c, int status, void *arg) {
    struct uvm__view *v = arg;
    bool known = status >= 0 && (status & 0x7f) == 0;
    int code = known ? status >> 8 : UVM__VIEW_FAILED;

    v->status = code <= UVM__VIEW_NO_SERVER ? (enum uvm__view_status)code : UVM__VIEW_FAILED;
    (void)uvm__child_stderr(c, v->text, sizeof v->text);
    if (v->status != UVM__VIEW_DONE && v->text[0] == '\0') {
        char how[64];
        uvm__child_status_text(status, how, sizeof how);
        (void)snprintf(v->text, sizeof v->text, "uvm-view: %s", how);
    }
    uvm__child_close(c, on_closed, v);
}

/* A start that failed is followed by the exit, which says the rest. */
static void on_started(struct uvm__child *c, const uvm_error *err, void *arg) {
    (void)c;
    (void)err;
    (void)arg;
}

static void run(struct uvm__view *v, const char *launch_path, const char *const *argv) {
    const struct uvm__child_direct direct = {.path = launch_path, .folder_fd = -1};
    const struct uvm__child_params params = {.direct = &direct,
                                             .name = "uvm-view",
                                             .argv = argv,
                                             .capture_stderr = true,
                                             .on_started = on_started,
                                             .on_exit = on_exit_status,
                                             .arg = v};
    struct uvm__fail f = {0};

    UVM_ASSERT(v->child == NULL);
    v->status = UVM__VIEW_FAILED;
    v->text[0] = '\0';
    v->stopped = false;
    if (uvm__child_spawn(v->engine, &params, &v->child, &f) < 0) {
        (void)snprintf(v->text, sizeof v->text, "%.200s", f.msg);
        uvm__ready_push(v->engine, &v->cannot);
    }
}

void uvm__view_add(struct uvm__view *v, const char *launch_path, pid_t server,
                   const struct uvm__doc_vsmb_share *share) {
    const size_t fixed = 6;
    size_t count = share->allowed_files_count;
    const char **argv = uvm__zalloc(v->engine, (fixed + count + 1) * sizeof *argv);
    char pid[16];

    if (argv == NULL) {
        v->status = UVM__VIEW_FAILED;
        (void)snprintf(v->text, sizeof v->text, "out of memory");
        uvm__ready_push(v->engine, &v->cannot);
        return;
    }
    (void)snprintf(pid, sizeof pid, "%ld", (long)server);
    argv[0] = "uvm-view";
    argv[1] = "add";
    argv[2] = pid;
    argv[3] = share->name;
    argv[4] = share->path;
    argv[5] = share->options.read_only ? "ro" : "rw";
    for (size_t i = 0; i < count; i++) { /* bare names: that they are in the folder was checked */
        argv[fixed + i] = strrchr(share->allowed_files[i], '/') + 1;
    }
    run(v, launch_path, argv);
    uvm__free(v->engine, (void *)argv);
}

void uvm__view_remove(struct uvm__view *v, const char *launch_path, pid_t server,
                      const char *name) {
    char pid[16];
    const char *const argv[] = {"uvm-view", "remove", pid, name, NULL};

    (void)snprintf(pid, sizeof pid, "%ld", (long)server);
    run(v, launch_path, argv);
}

void uvm__view_stop(struct uvm__view *v) {
    if (v->child != NULL && !v->stopped) {
        v->stopped = true;
        uvm__child_end(v->child, true);
    }
}
