/* SPDX-License-Identifier: MIT
 * log.h — one sink per engine, spans of ops and steps through the same sink, a ring of recent events.
 *
 * A ring belongs to a VM; its text is attached to errors. Nothing here fails or allocates.
 */
#pragma once
#include "async/async.h"
#include "async/limits.h"
#include "async/list.h"

struct uvm__ring {
    struct {
        uint64_t at_ms;
        char text[104];
    } events[UVM__EVENT_RING];
    uint32_t count; /* ever */
};

__attribute__((format(printf, 4, 5))) void uvm__log(uvm_engine *e, enum uvm_log_level level,
                                                    const char *vm, const char *fmt, ...);
/* Completes the record of a span (kind, ids, names, begin_us, code) with its times, and gives it to the
 * sink and to the taps. */
void uvm__log_span(uvm_engine *e, struct uvm_log_record *record);
bool uvm__log_span_wanted(const uvm_engine *e);

/* Who hears all spans of an engine besides its sink. `fn` may remove its own tap, and no other. */
struct uvm__span_tap {
    struct uvm__list link;
    void (*fn)(struct uvm__span_tap *tap, const struct uvm_log_record *record);
};
void uvm__span_tap_add(uvm_engine *e, struct uvm__span_tap *tap);
void uvm__span_tap_remove(struct uvm__span_tap *tap); /* idempotent once it was added */

bool uvm__log_wanted(uvm_engine *e, enum uvm_log_level level);
__attribute__((format(printf, 3, 4))) void uvm__ring_note(uvm_engine *e, struct uvm__ring *ring,
                                                          const char *fmt, ...);
/* Oldest first, one "+123 ms text" a line, relative to the first kept; returns bytes written. */
size_t uvm__ring_print(const struct uvm__ring *ring, char *buf, size_t bytes);
