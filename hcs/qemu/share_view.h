/* SPDX-License-Identifier: MIT
 * share_view.h — one run of uvm-view (cmd/uvm-launch/view.h) for an op's step: what a file server sees is
 * changed.
 *
 * Embedded in an op's state. A run ends in exactly one `fn`, which never runs inside a call of this header. The
 * process is short-lived but may hang where a file system does: uvm__view_stop() kills it.
 */
#pragma once
#include <sys/types.h>

#include "async/child.h"
#include "async/ready.h"
#include "cmd/uvm-launch/view.h"
#include "hcs/modify_doc.h"

#define UVM__VIEW_TEXT_BYTES 256u /* what uvm-view said, with its end */

struct uvm__view {
    uvm_engine *engine;
    struct uvm__child *child; /* NULL: none runs */
    bool stopped;
    enum uvm__view_status status;    /* of the last run */
    char text[UVM__VIEW_TEXT_BYTES]; /* what it said; "" when all is well */
    void (*fn)(struct uvm__view *v);
    struct uvm__ready cannot;
};

void uvm__view_init(struct uvm__view *v, uvm_engine *e, void (*fn)(struct uvm__view *v));
bool uvm__view_runs(const struct uvm__view *v);
/* `server` is the process that shall see it. Neither fails: what cannot be started ends with FAILED. */
void uvm__view_add(struct uvm__view *v, const char *launch_path, pid_t server,
                   const struct uvm__doc_vsmb_share *share);
void uvm__view_remove(struct uvm__view *v, const char *launch_path, pid_t server, const char *name);
/* Kills it; `fn` comes all the same, with FAILED. Idempotent. */
void uvm__view_stop(struct uvm__view *v);
