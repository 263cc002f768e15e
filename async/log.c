/* SPDX-License-Identifier: MIT
 * log.c — the engine's one sink, and a ring of what happened last.
 *
 * Text is formatted only when somebody listens at that level. The ring is written always: it is what an
 * error tells when nobody was listening.
 */
#include "async/log.h"
#include "async/engine_int.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

bool uvm__log_wanted(uvm_engine *e, enum uvm_log_level level) {
    return e->log != NULL && level <= e->log_level;
}

void uvm__log(uvm_engine *e, enum uvm_log_level level, const char *vm, const char *fmt, ...) {
    if (!uvm__log_wanted(e, level)) {
        return;
    }
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct uvm_log_record record = {.level = level,
                                    .kind = UVM_LOG_TEXT,
                                    .at_ms = uvm__now_ms(e),
                                    .vm = vm == NULL ? "" : vm,
                                    .op = "",
                                    .step = "",
                                    .text = text};
    e->log(&record, e->log_arg);
}

bool uvm__log_span_wanted(const uvm_engine *e) {
    return (e->log != NULL && e->log_level >= UVM_LOG_DEBUG) || !uvm__list_empty(&e->taps);
}

void uvm__log_span(uvm_engine *e, struct uvm_log_record *record) {
    bool of_op = record->kind == UVM_LOG_OP_BEGIN || record->kind == UVM_LOG_OP_END;
    record->level = of_op ? UVM_LOG_DEBUG : UVM_LOG_TRACE;
    record->at_ms = uvm__now_ms(e);
    record->at_us = uvm__now_us(e);
    record->elapsed_ms = (record->at_us - record->begin_us) / 1000u;
    record->text = "";
    if (uvm__log_wanted(e, record->level)) {
        e->log(record, e->log_arg);
    }
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &e->taps) {
        struct uvm__span_tap *tap = UVM__CONTAINER_OF(it, struct uvm__span_tap, link);
        tap->fn(tap, record);
    }
}

void uvm__span_tap_add(uvm_engine *e, struct uvm__span_tap *tap) {
    uvm__list_init(&tap->link);
    uvm__list_append(&e->taps, &tap->link);
}

void uvm__span_tap_remove(struct uvm__span_tap *tap) {
    uvm__list_remove(&tap->link);
}

void uvm__ring_note(uvm_engine *e, struct uvm__ring *ring, const char *fmt, ...) {
    size_t at = ring->count++ % UVM__EVENT_RING;
    ring->events[at].at_ms = uvm__now_ms(e);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(ring->events[at].text, sizeof ring->events[at].text, fmt, ap);
    va_end(ap);
}

size_t uvm__ring_print(const struct uvm__ring *ring, char *buf, size_t bytes) {
    UVM_ASSERT(bytes > 0);
    buf[0] = 0;
    uint32_t kept = ring->count < UVM__EVENT_RING ? ring->count : UVM__EVENT_RING;
    size_t len = 0;
    uint64_t first_ms = 0;
    for (uint32_t i = 0; i < kept; i++) {
        size_t at = (ring->count - kept + i) % UVM__EVENT_RING;
        if (i == 0) {
            first_ms = ring->events[at].at_ms;
        }
        int n = snprintf(buf + len, bytes - len, "+%" PRIu64 " ms %s\n",
                         ring->events[at].at_ms - first_ms, ring->events[at].text);
        if (n < 0 || (size_t)n >= bytes - len) {
            buf[len] = 0; /* whole lines only */
            break;
        }
        len += (size_t)n;
    }
    return len;
}
