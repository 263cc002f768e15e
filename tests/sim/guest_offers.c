/* SPDX-License-Identifier: MIT
 * guest_offers.c — the simulated guest's end of the offer channel: it finds every device at once.
 *
 * A frozen guest says nothing. A host that ends the channel is not dialled again: none of the worlds does.
 */
#include "tests/sim/guest_int.h"

#include <string.h>

/* The host takes what is said at any time: an answer is small, and the window is not. */
static void answer(struct guest *g, enum uvm__vmbus_line_kind kind,
                   const struct uvm__vmbus_device *d) {
    struct uvm__vmbus_line line = {.kind = kind, .device = *d};
    char text[UVM__VMBUS_LINE_BYTES_MAX];
    ssize_t bytes = (ssize_t)uvm__vmbus_line_write(&line, text);

    if (uvm__stream_write(g->offers, text, (size_t)bytes) != bytes) {
        guest_drop(g, &g->offers); /* no memory for it */
    } else {
        g->seen->offers_opened += kind == UVM__VMBUS_LINE_OPENED;
        g->seen->offers_closed += kind == UVM__VMBUS_LINE_CLOSED;
    }
}

static void take(struct guest *g, const char *text, size_t bytes) {
    struct uvm__vmbus_line line;
    struct uvm__fail f;

    if (uvm__vmbus_line_read(text, bytes, &line, &f) < 0) {
        guest_drop(g, &g->offers);
    } else if (line.kind == UVM__VMBUS_LINE_OFFER) {
        answer(g, UVM__VMBUS_LINE_OPENED, &line.device);
    } else if (line.kind == UVM__VMBUS_LINE_RESCIND) {
        answer(g, UVM__VMBUS_LINE_CLOSED, &line.device);
    }
}

static void on_offers(struct uvm__stream *s, unsigned events, void *arg) {
    struct guest *g = arg;
    ssize_t n = -UVM_E_AGAIN;
    char *end;

    (void)events;
    while (!g->frozen && g->offers == s &&
           (n = uvm__stream_read(s, g->offer_line + g->offer_bytes,
                                 sizeof g->offer_line - g->offer_bytes)) > 0) {
        g->offer_bytes += (size_t)n;
        while (g->offers == s && (end = memchr(g->offer_line, '\n', g->offer_bytes)) != NULL) {
            size_t bytes = (size_t)(end - g->offer_line);
            take(g, g->offer_line, bytes);
            g->offer_bytes -= bytes + 1;
            memmove(g->offer_line, end + 1, g->offer_bytes);
        }
    }
    if (!g->frozen && g->offers == s && n != -UVM_E_AGAIN) {
        guest_drop(g, &g->offers);
    }
}

void guest_offers_serve(struct guest *g, struct uvm__stream *s) {
    guest_drop(g, &g->offers);
    g->offers = s;
    g->offer_bytes = 0;
    if (s != NULL) {
        uvm__stream_set_handler(s, on_offers, g);
    }
}
