/* SPDX-License-Identifier: MIT
 * conform.h — one story about a compute service, told on each service that there is.
 *
 * A scenario does things and what comes of them is written down, a line each: "start: OK", "add 0:1 a.img: EXISTS".
 * A code that was returned by the call itself is told from the op's by a minus: "pause: -STATE". Events are kept
 * apart, since they may come before or after an answer. The text must be the scenario's on every backend, so
 * neither the model nor the real service can drift without a line here changing.
 */
#pragma once
#include "async/engine.h"
#include "hcs/compute_service.h"
#include "hcs/doc.h"
#include "hcs/modify_doc.h"
#include "tests/unit/cm.h"

struct conform;

struct conform_backend {
    const char *name;
    /* Engine and service; then, when no system is left, both go. */
    void (*open)(struct conform *c);
    void (*close)(struct conform *c);
    /* Runs what is ready, or lets time pass until something is. */
    void (*step)(struct conform *c);
    void (*turns)(struct conform *c); /* what is ready, and no time */
    /* From now on the VMM answers nothing; `stalled` false: it goes on, and says what it owes. */
    void (*stall)(struct conform *c, bool stalled);
    void (*kill)(struct conform *c); /* the VMM, at once */
    /* Until a disk may go without waiting for the one that came last; NULL: none waits. */
    void (*apart)(struct conform *c);
};
extern const struct conform_backend conform_sim, conform_qemu;

#define CONFORM_CONTROLLERS 2u
#define CONFORM_FOREIGN_GUID "0A1B2C3D-0000-4000-8000-00000000abcd"

struct conform {
    const struct conform_backend *backend;
    void *own; /* the backend's */
    uvm_engine *engine;
    struct uvm__hcs *service;
    struct uvm__hcs_system *system;
    const char *kernel, *initrd; /* absolute */
    const char *folder;          /* of a.img, b.img, c.img */

    struct uvm__doc doc; /* a small VM; scenarios change it before they create */
    struct uvm__doc_scsi_controller controllers[CONFORM_CONTROLLERS];

    char said[8192], events[1024];
    unsigned counts[UVM__HCS_EVENT_RELEASED + 1]; /* of each event */
    bool exited;
};

/* One operation under way. */
struct conform_call {
    char what[96];
    uvm_op *op;
    bool done;
    int code;
    char message[240];
};

void conform_open(struct conform *c, const struct conform_backend *backend);
void conform_close(struct conform *c); /* closes the system, where there is one */
/* The rest of the VM's story: a new system may follow. */
void conform_close_system(struct conform *c);
void conform_say(struct conform *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

typedef int conform_verb(struct uvm__hcs_system *s, uvm_scope *scope, uvm_done_fn on_done,
                         void *arg, uvm_op **ret_op);
/* Starts; a refusal of the call is said at once, and such a call is over. */
void conform_start(struct conform *c, struct conform_call *call, const char *what,
                   conform_verb *verb);
void conform_create_start(struct conform *c, struct conform_call *call);
/* `text` NULL: the document that the struct describes. */
void conform_create_text(struct conform *c, struct conform_call *call, const char *text,
                         size_t bytes);
/* `file` NULL: a Remove. `controller` CONFORM_CONTROLLERS: one that is not there. */
void conform_modify_start(struct conform *c, struct conform_call *call, unsigned controller,
                          unsigned lun, const char *file, bool read_only);
void conform_modify_text(struct conform *c, struct conform_call *call, const char *what,
                         const char *text);
void conform_cancel(struct conform_call *call);
/* Waits for its end and says it; takes the system of a create. */
void conform_end(struct conform *c, struct conform_call *call);

/* The same in one. */
void conform_do(struct conform *c, const char *what, conform_verb *verb);
void conform_create(struct conform *c);
void conform_add(struct conform *c, unsigned controller, unsigned lun, const char *file,
                 bool read_only);
void conform_remove(struct conform *c, unsigned controller, unsigned lun);

void conform_wait_event(struct conform *c, enum uvm__hcs_event_kind kind, unsigned count);
/* Says the fields that all services have, and each resource. */
void conform_properties(struct conform *c);
