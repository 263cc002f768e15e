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

void uvm__log_span(uvm_engine *e, enum uvm_log_kind kind, uint64_t op_id, const char *op,
                   const char *step, uint64_t elapsed_ms, int code) {
    enum uvm_log_level level =
        kind == UVM_LOG_OP_BEGIN || kind == UVM_LOG_OP_END ? UVM_LOG_DEBUG : UVM_LOG_TRACE;
    if (!uvm__log_wanted(e, level)) {
        return;
    }
    struct uvm_log_record record = {.level = level,
                                    .kind = kind,
                                    .at_ms = uvm__now_ms(e),
                                    .op_id = op_id,
                                    .vm = "",
                                    .op = op,
                                    .step = step == NULL ? "" : step,
                                    .elapsed_ms = elapsed_ms,
                                    .code = code,
                                    .text = ""};
    e->log(&record, e->log_arg);
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
