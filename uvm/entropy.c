/* SPDX-License-Identifier: MIT
 * entropy.c — 512 random bytes to the guest, then the end of the stream.
 *
 * The bytes are made when the guest dials, so that each life of a VM gets its own, and are wiped when they
 * have left. A guest that goes away early or does not read gets nothing further; nobody waits for it.
 */
#include "uvm/entropy.h"
#include "async/check.h"
#include "async/clock.h"
#include <string.h>

static void feed(struct uvm__entropy *n) {
    while (n->sent < UVM__ENTROPY_BYTES) {
        ssize_t done = uvm__stream_write(n->stream, n->bytes + n->sent,
                                         (size_t)(UVM__ENTROPY_BYTES - n->sent));
        if (done == -UVM_E_AGAIN) {
            return;
        }
        if (done < 0) {
            uvm__entropy_stop(n);
            return;
        }
        n->sent = (uint16_t)(n->sent + done);
    }
    uvm__stream_close(n->stream); /* delivers first */
    n->stream = NULL;
    explicit_bzero(n->bytes, sizeof n->bytes);
}

static void on_stream(struct uvm__stream *s, unsigned events, void *arg) {
    struct uvm__entropy *n = arg;
    UVM_ASSERT(s == n->stream);
    if ((events & UVM__STREAM_WRITABLE) != 0) {
        feed(n);
    }
}

void uvm__entropy_feed(struct uvm__entropy *n, uvm_engine *e, struct uvm__stream *take_stream) {
    UVM_ASSERT(n->stream == NULL);
    n->stream = take_stream;
    n->sent = 0;
    uvm__random(e, n->bytes, sizeof n->bytes);
    uvm__stream_set_handler(take_stream, on_stream, n);
    feed(n);
}

void uvm__entropy_stop(struct uvm__entropy *n) {
    if (n->stream != NULL) {
        uvm__stream_reset(n->stream);
        n->stream = NULL;
    }
    explicit_bzero(n->bytes, sizeof n->bytes);
}
