/* SPDX-License-Identifier: MIT
 * pace.h — who may go on only so often: turns in the order of asking, at most one in UVM__PLUG_APART_MS.
 *
 * For what a guest hears of as a whole. QEMU tells every disk of a SCSI controller when one comes or goes, by a
 * command of that disk that fails and is tried again; a Linux guest gives a command up that meets six of these.
 * Apart in time, a command gets through between two. Whoever comes first, or after a rest, goes on at once.
 * A turn is embedded in who waits, so that nothing is allocated.
 */
#pragma once
#include "async/clock.h"
#include "async/list.h"

struct uvm__pace {
    uvm_engine *engine;
    struct uvm__list waiting; /* struct uvm__pace_turn.link */
    struct uvm__deadline next;
    uint64_t free_ms; /* the earliest time of the next turn */
    bool open;
};

struct uvm__pace_turn {
    struct uvm__list link; /* linked: waits */
    void (*fn)(struct uvm__pace_turn *t);
};

void uvm__pace_init(struct uvm__pace *p, uvm_engine *e);
/* Nobody may wait. */
void uvm__pace_deinit(struct uvm__pace *p);
void uvm__pace_turn_init(struct uvm__pace_turn *t, void (*fn)(struct uvm__pace_turn *t));
/* True: it is its turn now. False: `fn` runs from the loop when it is, unless it leaves before. */
bool uvm__pace_wait(struct uvm__pace *p, struct uvm__pace_turn *t);
/* False: it did not wait. */
bool uvm__pace_leave(struct uvm__pace_turn *t);
/* From now on everybody goes on at once: who waits, from the loop. For a VM that has ended. */
void uvm__pace_open(struct uvm__pace *p);
