/* SPDX-License-Identifier: MIT
 * plant.h — bugs on purpose, one at a time: what proves that the tests would find such a bug.
 *
 * UVM__PLANT(x) is a constant false, and so nothing at all, but where UVM__PLANTS is defined: in the
 * second build of a few sources that tests/planted links in front of the library. tests/tidy/objects.py
 * looks that no product has it.
 */
#pragma once
#include <stdbool.h>

/* X(name, what is wrong) */
#define UVM__PLANT_MAP(X)                                                                          \
    X(drop_late_success, "a step that succeeds after the cancel is not taken back")                \
    X(skip_undo, "the undo of the first step is left out")                                         \
    X(done_twice, "an operation that fails calls back twice")                                      \
    X(done_inline, "an operation that is canceled before its first step calls back at once")       \
    X(cancel_stops_undo, "a cancel ends the undo")                                                 \
    X(forget_quarantine, "what could not be taken back is listed as if nothing had happened")      \
    X(leak_fd, "a socket's descriptor stays open")                                                 \
    X(leak_stream, "a process's stream stays open")                                                \
    X(join_failed, "who joins an attach that then fails is told that it worked")                   \
    X(first_cancels_all, "who gives up an attach takes the disk from those who wait with it")      \
    X(slot_early, "a slot is free before the host has let go of the disk")                         \
    X(detach_uncounted, "a detach takes the disk from those who still have it")

#ifdef UVM__PLANTS
enum uvm__plant {
    UVM__PLANT_none,
#define UVM__X(name, text) UVM__PLANT_##name,
    UVM__PLANT_MAP(UVM__X)
#undef UVM__X
        UVM__PLANT_MAX
};
extern enum uvm__plant uvm__planted; /* set before anything runs */
#define UVM__PLANT(name) (uvm__planted == UVM__PLANT_##name)
#else
#define UVM__PLANT(name) false
#endif
