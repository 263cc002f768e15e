/* SPDX-License-Identifier: MIT
 * qmp.h — the QEMU machine protocol over an inherited socket: greeting, commands by id, events.
 *
 * A command's id stays taken until its reply or the connection's end (async/call.h), also when its op has
 * resolved. Replies to ids that nobody waits for are ignored; a line that is no JSON object, or too long,
 * ends the connection with an error. Threading: loop thread. Callbacks run from the loop, never inside a
 * call of this header. OOB is not used.
 */
#pragma once
#include "async/call.h"
#include <cjson/cJSON.h>

struct uvm__qmp;

struct uvm__qmp_params {
    int take_fd; /* our end; taken, also on failure */
    /* Once: greeting read and capabilities answered. */
    void (*on_ready)(struct uvm__qmp *q, void *arg);
    /* `data` is an object or NULL; both are borrowed. */
    void (*on_event)(struct uvm__qmp *q, const char *name, const cJSON *data, void *arg);
    /* Once: end of the stream (err NULL), or the peer broke the protocol. Every call has ended before. */
    void (*on_end)(struct uvm__qmp *q, const uvm_error *err, void *arg);
    void *arg;
};

int uvm__qmp_open(uvm_engine *e, const struct uvm__qmp_params *params, struct uvm__qmp **ret);
bool uvm__qmp_ready(const struct uvm__qmp *q);
const char *uvm__qmp_version(const struct uvm__qmp *q); /* "7.2.22"; "" before the greeting */
uint32_t uvm__qmp_pending(const struct uvm__qmp *q);

/* Sends a command for an op. `arguments` is a JSON object as text, or NULL; `fds` (may be NULL) go along
 * and stay the caller's. `on_reply` gets the whole reply (const cJSON *), or NULL and why the connection
 * ended. -UVM_E_STATE before ready, -UVM_E_CLOSED after the end, -UVM_E_LIMIT, -UVM_E_NOMEM, -UVM_E_IO:
 * nothing was sent then. */
int uvm__qmp_call(struct uvm__qmp *q, struct uvm__call *call, uvm_op *op, const char *command,
                  const char *arguments, const int *fds, size_t fds_count,
                  void (*on_reply)(struct uvm__call *, const void *reply, const uvm_error *err));
/* NULL when the reply is a success; else PEER with "Class: text" as detail. */
uvm_error *uvm__qmp_reply_error(uvm_engine *e, const char *command, const cJSON *reply);

/* A command as an op. With `effect` it waits for the reply whatever happens to its scope, since the
 * command cannot be taken back; else cancel ends it at once and the reply is dropped when it comes. */
struct uvm__qmp_execute_params {
    struct uvm__qmp *qmp;
    const char *command, *arguments; /* copied */
    bool effect;
};
int uvm__qmp_execute(const struct uvm__qmp_execute_params *params, uvm_scope *scope,
                     uvm_done_fn on_done, void *arg, uvm_op **ret_op);
/* The value of "return", borrowed from the op; NULL when it did not succeed. */
const cJSON *uvm__qmp_execute_result(uvm_op *op);

/* Closes at once: calls end with CLOSED first, later on_closed; no other callback runs after the call. */
void uvm__qmp_close(struct uvm__qmp *q, void (*on_closed)(void *arg), void *arg);
