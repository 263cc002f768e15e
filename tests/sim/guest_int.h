/* SPDX-License-Identifier: MIT
 * guest_int.h — the simulated guest's inside, for guest.c and guest_proc.c.
 */
#pragma once
#include "async/check.h"
#include "async/clock.h"
#include "async/engine.h"
#include "async/limits.h"
#include "async/list.h"
#include "bridge/server.h"
#include "tests/sim/guest.h"
#include "vmbus/wire.h"

struct guest {
    uvm_engine *engine;
    struct uvm__hcs_system *system;
    struct uvm__hvsock *hvsock;
    struct guest_script *script;
    struct guest_seen *seen;

    struct uvm__deadline timer; /* of the boot's next step */
    void (*next)(struct guest *g);
    struct uvm__ready doom; /* ends the machine, from nobody's stack */
    enum guest_end ending;
    bool frozen; /* does nothing any more */

    struct uvm__stream *entropy, *log, *bridge; /* bridge: until the server has it */
    struct uvm__stream *second;
    struct uvm__stream *offers;
    char offer_line[UVM__VMBUS_LINE_BYTES_MAX]; /* that is not complete yet */
    size_t offer_bytes;
    struct uvm__server *server;
    struct uvm__deadline running_timer;
    uint64_t flooded;
    uint32_t strays;

    uint32_t last_pid;
    struct uvm__list dials;  /* struct guest_dial.link */
    struct uvm__list procs;  /* struct proc.link */
    struct uvm__list mounts; /* struct mount.link */
    uint64_t ejected[4];     /* SCSI: a bit per LUN that it has let go of */
    struct uvm__list held;   /* struct guest_held.link */
};

/* A request that is answered later. */
struct guest_held {
    struct uvm__list link;
    struct guest *g;
    struct uvm__server_request *r;
    uint32_t pid;                 /* of a wait */
    struct uvm__deadline timeout; /* of a wait; or of an answer that takes its time */
    void (*answer)(struct guest_held *h);
};
struct guest_held *guest_hold(struct guest *g, struct uvm__server_request *r,
                              void (*answer)(struct guest_held *h));
void guest_free_held(struct guest_held *h);
uint64_t guest_soon(const struct guest *g); /* when the next step of the script is due */

/* guest_disk.c */
void guest_handle_modify(struct uvm__server *s, struct uvm__server_request *r, void *arg);
void guest_disk_stop_all(struct guest *g);

/* False: the guest ends here; the caller returns at once. */
bool guest_reach(struct guest *g, enum guest_stage stage);

/* Powers off, as the host asked. Nothing of the guest is there after the next turn. */
void guest_power_off(struct guest *g);

/* Dials; `fn` later with the stream, or NULL when it was refused. Lack of memory: tries again. */
void guest_dial(struct guest *g, uint32_t port, void *data,
                void (*fn)(struct guest *g, struct uvm__stream *s, void *data));
/* Ends a stream; accepts NULL. */
void guest_drop(struct guest *g, struct uvm__stream **s);

/* guest_offers.c: the process that keeps the channel. `s` NULL: the host refused. */
void guest_offers_serve(struct guest *g, struct uvm__stream *s);

/* guest_proc.c */
void guest_proc_handlers(struct uvm__server_params *p);
void guest_proc_stop_all(struct guest *g);
