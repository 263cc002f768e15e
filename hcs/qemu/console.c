/* SPDX-License-Identifier: MIT
 * console.c — drains the console's socket; relays it to and from the descriptor of the document's COM1.
 *
 * Output goes to three places: the tail (for errors), the owner's callback, the peer. Input comes from the
 * peer only, and is read no faster than the guest takes it: reading stops while bytes are queued. Bytes that
 * were read and could not be sent for lack of memory are held and tried again. The peer's end of file ends the
 * relay, not the console. A turn of the loop takes a bounded number of bytes, so that a
 * guest that writes for ever does not keep the loop from everybody else.
 */
#include "hcs/qemu/console.h"

#include <string.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/buf.h"
#include "async/check.h"
#include "async/clock.h"
#include "async/limits.h"
#include "async/sock.h"
#include "hvsock/stream.h"

#define CHUNK_BYTES 4096u
#define CHUNKS_PER_TURN 16u
#define INPUT_BYTES 1024u

struct uvm__console {
    uvm_engine *engine;
    struct uvm__sock *vmm;
    struct uvm__stream *peer;
    struct uvm__tail tail;
    uint64_t dropped;
    char held[INPUT_BYTES]; /* read from the peer, not sent yet */
    size_t held_bytes;
    struct uvm__deadline again;
    bool closing;
    struct uvm__console_params params;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

static void drop_peer(struct uvm__console *c) {
    if (c->peer != NULL) {
        uvm__stream_close(c->peer);
        c->peer = NULL;
    }
}

static void pass_on(struct uvm__console *c, const char *data, size_t bytes) {
    size_t done = 0;

    while (c->peer != NULL && done < bytes) {
        ssize_t n = uvm__stream_write(c->peer, data + done, bytes - done);
        if (n == -UVM_E_AGAIN) {
            break;
        }
        if (n < 0) {
            drop_peer(c);
            break;
        }
        done += (size_t)n;
    }
    c->dropped += bytes - done;
}

static void on_output(struct uvm__sock *s, void *arg) {
    struct uvm__console *c = arg;
    char data[CHUNK_BYTES];

    for (unsigned i = 0; i < CHUNKS_PER_TURN && !c->closing; i++) {
        ssize_t n = uvm__sock_recv(s, data, sizeof data, NULL, NULL);
        if (n == -UVM_E_AGAIN) {
            return;
        }
        if (n <= 0) {
            uvm__sock_reading(s, false); /* the VMM is gone; others tell that */
            return;
        }
        uvm__tail_write(&c->tail, data, (size_t)n);
        if (c->params.take_peer_fd >= 0) {
            pass_on(c, data, (size_t)n);
        }
        c->params.on_output(c, data, (size_t)n, c->params.arg);
    }
}

/* True when nothing is held any more. */
static bool send_held(struct uvm__console *c) {
    if (c->held_bytes == 0) {
        return true;
    }
    int rc = uvm__sock_send(c->vmm, c->held, c->held_bytes, NULL, 0);
    if (rc == -UVM_E_NOMEM) {
        uvm__deadline_set(c->engine, &c->again, uvm__now_ms(c->engine) + UVM__MEMORY_RETRY_MS);
        return false;
    }
    c->held_bytes = 0; /* sent, or the VMM is gone: others tell that */
    return rc == 0;
}

/* Moves input until the peer has no more for now, or the guest has not taken what it has. */
static void pump_input(struct uvm__console *c) {
    for (unsigned i = 0; i < CHUNKS_PER_TURN && c->peer != NULL; i++) {
        if (uvm__sock_queued(c->vmm) > 0) {
            return; /* on_input_taken goes on */
        }
        if (!send_held(c)) {
            return;
        }
        ssize_t n = uvm__stream_read(c->peer, c->held, sizeof c->held);
        if (n <= 0) {
            if (n == -UVM_E_CLOSED) {
                drop_peer(c);
            }
            return;
        }
        c->held_bytes = (size_t)n;
        if (!send_held(c)) {
            return;
        }
    }
    if (c->peer != NULL) {
        /* More than a turn's worth: the handler set anew tells again of what is there. */
        uvm__stream_set_handler(c->peer, c->peer->on_event, c);
    }
}

static void on_again(struct uvm__deadline *d) {
    pump_input(UVM__CONTAINER_OF(d, struct uvm__console, again));
}

static void on_peer(struct uvm__stream *s, unsigned events, void *arg) {
    (void)s;
    if ((events & UVM__STREAM_READABLE) != 0) {
        pump_input(arg);
    }
}

static void on_input_taken(struct uvm__sock *s, void *arg) {
    (void)s;
    pump_input(arg);
}

static int open_both(struct uvm__console *c) {
    static const struct uvm__sock_events events = {.on_readable = on_output,
                                                   .on_drained = on_input_taken};
    int peer = c->params.take_peer_fd;
    int rc = peer < 0 ? 0 : uvm__stream_from_fds(c->engine, peer, peer, &c->peer);

    if (rc < 0) {
        close(c->params.take_fd);
        return rc;
    }
    rc = uvm__sock_open(c->engine, c->params.take_fd, &events, c, &c->vmm);
    if (rc < 0) {
        drop_peer(c);
        return rc;
    }
    uvm__sock_reading(c->vmm, true);
    if (c->peer != NULL) {
        uvm__stream_set_handler(c->peer, on_peer, c);
    }
    return 0;
}

int uvm__console_open(uvm_engine *e, const struct uvm__console_params *params,
                      struct uvm__console **ret) {
    struct uvm__console *c = uvm__zalloc(e, sizeof *c);
    int rc = c == NULL ? -UVM_E_NOMEM : uvm__tail_init(&c->tail, e, UVM__CONSOLE_TAIL_BYTES);

    if (rc < 0) {
        uvm__free(e, c);
        close(params->take_fd);
        if (params->take_peer_fd >= 0) {
            close(params->take_peer_fd);
        }
        return rc;
    }
    c->engine = e;
    c->params = *params;
    uvm__deadline_init(&c->again, on_again);
    rc = open_both(c);
    if (rc < 0) {
        uvm__tail_deinit(&c->tail);
        uvm__free(e, c);
        return rc;
    }
    *ret = c;
    return 0;
}

size_t uvm__console_tail(const struct uvm__console *c, char *buf, size_t bytes) {
    return uvm__tail_read(&c->tail, buf, bytes);
}

uint64_t uvm__console_bytes(const struct uvm__console *c) {
    return c->tail.total;
}

uint64_t uvm__console_dropped(const struct uvm__console *c) {
    return c->dropped;
}

static void closed(void *arg) {
    struct uvm__console *c = arg;
    void (*on_closed)(void *) = c->on_closed;
    void *closed_arg = c->closed_arg;

    uvm__tail_deinit(&c->tail);
    uvm__free(c->engine, c);
    if (on_closed != NULL) {
        on_closed(closed_arg);
    }
}

void uvm__console_close(struct uvm__console *c, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(!c->closing);
    c->closing = true;
    c->on_closed = on_closed;
    c->closed_arg = arg;
    uvm__deadline_clear(c->engine, &c->again);
    drop_peer(c);
    uvm__sock_close(c->vmm, closed, c);
}
