/* SPDX-License-Identifier: MIT
 * resource.h — what was added to a system, by its ResourcePath: one list for every kind.
 *
 * A path is taken from the first moment of its Add to the last of its Remove, and while either could not
 * be finished: until then nothing else can be added there. Each kind embeds struct uvm__resource as its first
 * member. Threading: loop thread.
 */
#pragma once
#include "async/error.h"
#include "async/list.h"
#include "hcs/modify_doc.h"

#include <cjson/cJSON.h>

struct uvm__qemu_system;
struct uvm__resource;

enum uvm__resource_state {
    UVM__RESOURCE_ADDING,
    UVM__RESOURCE_PRESENT,
    UVM__RESOURCE_REMOVING,
    UVM__RESOURCE_STATE_MAX
};

struct uvm__resource_type {
    const char *name; /* of the kind, in properties */
    /* Adds the kind's own properties; false: no memory. */
    bool (*describe)(const struct uvm__resource *r, cJSON *to);
    /* Adds what it has moved or holds; `blocks`: QEMU's answer to query-blockstats. False: no memory. NULL: the
     * host cannot tell. */
    bool (*statistics)(const struct uvm__resource *r, const cJSON *blocks, cJSON *to);
    /* Closes what it holds of the host, when it is released or the VM is over; idempotent. NULL: nothing. */
    void (*close)(struct uvm__resource *r);
};

struct uvm__resource {
    struct uvm__list link;
    const struct uvm__resource_type *type;
    enum uvm__resource_state state;
    char path[UVM__MODIFY_PATH_BYTES];
};

/* NULL: nothing is there. */
struct uvm__resource *uvm__resource_find(struct uvm__qemu_system *s, const char *path);
/* Takes the resource (a block of the engine) and its path. EXISTS says what is there already; then, and when
 * the VM has ended, it is still the caller's. */
int uvm__resource_take(struct uvm__qemu_system *s, struct uvm__resource *take_r,
                       struct uvm__fail *f);
/* Finds what a Remove may begin to remove, and marks it. NOTFOUND, STATE. */
int uvm__resource_removing(struct uvm__qemu_system *s, const char *path, struct uvm__resource **ret,
                           struct uvm__fail *f);
/* It is gone: its path is free. With `tell`, since its op has given up on it, the owner hears RELEASED. Frees. */
void uvm__resource_release(struct uvm__qemu_system *s, struct uvm__resource *r, bool tell);
/* The next one that is to be told; NULL: none. The caller frees it. */
struct uvm__resource *uvm__resource_released(struct uvm__qemu_system *s);
/* The array "Resources"; false: no memory. */
bool uvm__resource_describe(struct uvm__qemu_system *s, cJSON *to);
/* The same with what each has moved, where its kind can tell: of those that are there. */
bool uvm__resource_statistics(struct uvm__qemu_system *s, const cJSON *blocks, cJSON *to);
void uvm__resource_free_all(struct uvm__qemu_system *s);
