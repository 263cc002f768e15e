/* SPDX-License-Identifier: MIT
 * gc.c — `uvmctl gc`: sweep what dead owners left.
 *
 * A folder is swept only with its lock in hand, so a UVM that lives, or is just being made, is never
 * touched (async/folder.h). The processes of a dead owner have died with it. The folder of ends that are
 * remembered is nobody's, so it goes the same way.
 */
#include "async/folder.h"
#include "cmd/uvmctl/reach.h"
#include "cmd/uvmctl/state.h"
#include "cmd/uvmctl/verbs.h"
#include "uvm/control.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct option_row rows[] = {
    REACH_OPTIONS,
    {NULL, 0, NULL, NULL},
};

static void say_removed(const struct reach *r, struct json_out *j, const char *name) {
    if (r->json) {
        json_text(j, NULL, name);
    } else {
        printf("%s\n", name);
    }
}

static int sweep_all(struct reach *r, const struct state_names *all,
                     const struct state_names *ended) {
    int status = EXIT_DONE;
    struct json_out j = {0};
    json_open(&j, NULL, '[');
    for (size_t i = 0; i < all->count; i++) {
        struct uvm__fail f = {0};
        const char *name = all->names[i];
        int rc = uvm__folder_sweep(r->app.engine, r->state, name, &f);
        if (rc == 0 && strcmp(name, UVM_CONTROL_ENDED) == 0) {
            for (size_t k = 0; k < ended->count; k++) {
                say_removed(r, &j, ended->names[k]);
            }
        } else if (rc == 0) {
            say_removed(r, &j, name);
        } else if (rc != -UVM_E_EXISTS && rc != -UVM_E_NOTFOUND) {
            out_message("%s", f.msg);
            status = EXIT_FAILED;
        }
    }
    json_close(&j, ']');
    if (r->json) {
        (void)json_finish(&j, STDOUT_FILENO);
    }
    free(j.data);
    return status;
}

static int gc(char **argv) {
    struct reach r = {.verb = &verb_gc};
    struct state_names all = {0}, ended = {0};
    struct uvm__fail f = {0};
    if (!reach_begin(&r, argv)) {
        return r.status;
    }
    int rc = r.state < 0 ? 0 : state_ended_list(r.state, &ended, &f);
    rc = r.state < 0 || rc < 0 ? rc : state_list(r.state, true, &all, &f);
    if (rc < 0) {
        reach_fail_words(&r, rc, &f);
    } else {
        reach_end(&r, sweep_all(&r, &all, &ended));
    }
    free(all.names);
    free(ended.names);
    return reach_run(&r);
}

const struct verb verb_gc = {
    .name = "gc",
    .summary = "sweep what dead owners left, and forget who ended",
    .words = "[--json]",
    .about =
        "Removes the folders of UVMs whose owners are dead, and what is remembered of the end of\n"
        "others, and prints their names.",
    .options = rows,
    .status = NULL,
    .example = "uvmctl gc",
    .run = gc,
};
