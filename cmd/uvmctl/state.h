/* SPDX-License-Identifier: MIT
 * state.h — the state folder: where UVMs that live in the background are found by name.
 */
#pragma once
#include "async/error.h"
#include "async/json.h"
#include "cmd/uvmctl/paths.h"

#define STATE_NAMES_MAX 4096u /* UVMs that uvmctl lists */

struct state_names {
    char (*names)[64]; /* sorted; ours to free */
    size_t count;
};

/* $UVM_STATE_DIR; for root /run/uvm; $XDG_RUNTIME_DIR/uvm; /tmp/uvm-UID. Absolute. */
bool state_path(char ret[PATH_BYTES], struct uvm__fail *f);
/* -UVM_E_NOTFOUND: there is none, so there are no UVMs. */
int state_open(int *ret_fd, struct uvm__fail *f);
/* All that has a name; with `dotted` also what is on its way in or out. */
int state_list(int fd, bool dotted, struct state_names *ret, struct uvm__fail *f);
/* The name of the UVM that `word` means: its name, its id, or a unique prefix of either.
 * -UVM_E_NOTFOUND, -UVM_E_INVAL (several). */
int state_resolve(int fd, const char *word, char ret[64], struct uvm__fail *f);

/* How UVMs ended that are no more: the names under which that is remembered; an empty list is no error. */
int state_ended_list(int fd, struct state_names *ret, struct uvm__fail *f);
/* What is remembered of one, as the answer to `properties` was; NULL: nothing. The caller's. */
cJSON *state_ended_read(int fd, const char *name);
/* state_resolve() among them. */
int state_ended_resolve(int fd, const char *word, char ret[64], struct uvm__fail *f);
