/* SPDX-License-Identifier: MIT
 * qemu_fake.h — a VM of the service whose QEMU is a small model behind a real socket, for changes of a VM.
 *
 * The model keeps fdsets, nodes and devices, refuses what QEMU refuses (a node in use, a device that is not there)
 * and counts what it has: the ledger that tests compare with. One command can go wrong in one way.
 */
#pragma once
#include "hcs/qemu/qemu_int.h"
#include "tests/unit/loop.h"

enum fake_fault {
    FAKE_NONE,
    FAKE_REFUSE,      /* an error, and no effect */
    FAKE_NOT_FOUND,   /* the effect, and DeviceNotFound */
    FAKE_HOLD,        /* the effect, but the answer waits for fake_release() */
    FAKE_HOLD_REFUSE, /* the answer waits, and will be an error */
    FAKE_NO_EVENT,    /* the answer; the event waits for fake_release() */
    FAKE_EVENT_FIRST, /* the event before the answer */
    FAKE_DIE_BEFORE,  /* the VM ends, without the effect */
    FAKE_DIE_AFTER,   /* ... with it, and without an answer */
    FAKE_FAULT_MAX
};

#define FAKE_PLUGS_MAX 64u

struct fake {
    struct loop_kit kit;
    struct uvm__qemu service;
    struct uvm__qemu_system *system;
    struct uvm__doc_scsi_controller controllers[2];
    int peer; /* QEMU's end; -1: it has ended */

    const char *fault_command; /* NULL: none. Each fault is used up `fault_times` times */
    enum fake_fault fault;
    unsigned fault_times;
    const char *desc; /* of what is refused; NULL: "no NAME" */
    bool faulted;
    char held[1024]; /* what fake_release() says */

    char fdsets[4096], nodes[4096], devices[4096]; /* ledger: "7 8 " */
    char said[8192];                               /* all commands that came, by name */
    char last_node[512];                           /* arguments of the last blockdev-add */
    char last_device[512];
    int fds_came;
    bool paced;
    unsigned plugs; /* device_add and device_del, and when they came */
    uint64_t plug_ms[FAKE_PLUGS_MAX];

    unsigned released;
    char released_path[128];
    bool exited;
};

/* Disks come and go as fast as they are asked for; paced: as in a VM of the service. */
void fake_open(struct fake *f);
void fake_open_paced(struct fake *f);
/* Serves the model until the loop has nothing to do at once. */
void fake_turns(struct fake *f);
void fake_release(struct fake *f);
void fake_die(struct fake *f);
/* Nothing may be left in the model. */
void fake_expect_empty(const struct fake *f);
void fake_close(struct fake *f);

struct fake_change {
    uvm_op *op;
    bool done;
    int code;
    char message[512];
};
/* Starts a change; `settings` NULL: a Remove. `scope` NULL: the engine's. */
void fake_change(struct fake *f, struct fake_change *c, uvm_scope *scope, const char *path,
                 const char *verb, const char *settings);
/* Runs until it is done (a fault may need its second); drops the op. */
int fake_finish(struct fake *f, struct fake_change *c);
/* The undo of every op that waits is given up, as by its deadline. */
void fake_give_up(struct fake *f);
