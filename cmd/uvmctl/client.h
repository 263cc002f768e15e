/* SPDX-License-Identifier: MIT
 * client.h — a connection to the owner of a UVM, by docs/PROTOCOL-control.md.
 *
 * Calls are sent at once, hello first; each answer runs its callback once. When the connection ends, the
 * callbacks of what was not answered run with an error that says so, then on_end. With --trace, the spans of
 * the owner's engine that come meanwhile go to the trace.
 */
#pragma once
#include "async/error.h"
#include "async/json.h"
#include "cmd/uvmctl/app.h"

#define CLIENT_CALLS_MAX 16u /* calls in flight of one connection of uvmctl */

struct client;

/* `result` NULL: `err` says why. `status`: what a shell would return for an exec that failed; 0: not said. */
typedef void (*client_fn)(struct client *c, const cJSON *result, const uvm_error *err, int status,
                          void *arg);

struct client_events {
    void (*on_event)(struct client *c, const cJSON *params, void *arg); /* may be NULL */
    void (*on_end)(struct client *c, void *arg);                        /* once; may be NULL */
    void *arg;
};

/* Connects to the UVM called `name` in the state folder. -UVM_E_NOTFOUND: none of that name lives.
 * Callbacks run from the loop. */
int client_open(struct app *app, int state, const char *name, const struct client_events *events,
                struct client **ret, struct uvm__fail *f);
const char *client_name(const struct client *c);
/* `take_params` NULL: none. Descriptors are the caller's. The call's id, for "cancel"; 0: not sent. */
uint64_t client_call(struct client *c, const char *method, cJSON *take_params, const int *fds,
                     size_t fds_count, client_fn fn, void *arg);
/* No callback runs after it. Accepts NULL. */
void client_close(struct client *c);

/* Members of what an owner says. Of no object, absent or of another type: NULL, "", 0. */
const cJSON *client_at(const cJSON *o, const char *key);
const char *client_text(const cJSON *o, const char *key);
int64_t client_number(const cJSON *o, const char *key); /* not negative */
