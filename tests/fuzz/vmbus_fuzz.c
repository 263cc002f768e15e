/* SPDX-License-Identifier: MIT
 * vmbus_fuzz.c — the host's end of the offer channel under any order of offers, rescinds, dials and words of a
 * guest, some of them true, some lies, some noise.
 *
 * The input is a list of steps, a byte each with its argument in the next. The guest keeps its own books, made from
 * the lines that it hears alone, and they tell of each of its words whether the host must take it or hang up. A
 * guest that made noise has no books until it dials again. Each op ends once, when the bus closes at the latest.
 */
#include "async/check.h"
#include "async/engine.h"
#include "async/limits.h"
#include "hvsock/hvsock.h"
#include "hvsock/ports.h"
#include "vmbus/vmbus.h"
#include "vmbus/wire.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { DEVICES = 8, OPS_MAX = 64, STEPS_MAX = 256 };

struct world {
    uvm_engine *engine;
    struct uvm__hvsock *host, *guest;
    struct uvm__vmbus *bus;
    uvm_op *ops[OPS_MAX];
    unsigned started, done;

    /* the guest */
    struct uvm__stream *stream;
    bool end, noise, greeted, synced;
    bool heard[DEVICES], opened[DEVICES], rescinded[DEVICES];
    char in[UVM__VMBUS_LINE_BYTES_MAX];
    size_t in_bytes;
};

static void turn(struct world *w) {
    while (uvm__engine_turn(w->engine)) {
    }
}

static struct uvm__vmbus_device device(unsigned n) {
    struct uvm__vmbus_device d = {.kind = (enum uvm__vmbus_class)(n % UVM__VMBUS_CLASS_MAX),
                                  .location = "0000:00:04.0"};

    memset(&d.instance, (int)n + 1, sizeof d.instance);
    return d;
}

/* Which of the devices it is; DEVICES for none. */
static unsigned number(const struct uvm__guid *instance) {
    unsigned n = 0;

    for (; n < DEVICES; n++) {
        struct uvm__vmbus_device d = device(n);
        if (uvm__guid_equal(&d.instance, instance)) {
            break;
        }
    }
    return n;
}

/* ---- the guest ---------------------------------------------------------------------------- */

static void hear(struct world *w, const char *text, size_t bytes) {
    struct uvm__vmbus_line line;
    struct uvm__fail f = {.sys = 0};

    UVM_ASSERT(uvm__vmbus_line_read(text, bytes, &line, &f) == 0);
    UVM_ASSERT(w->greeted == (line.kind != UVM__VMBUS_LINE_VERSION));
    unsigned n = number(&line.device.instance);
    switch (line.kind) {
    case UVM__VMBUS_LINE_VERSION:
        w->greeted = true;
        break;
    case UVM__VMBUS_LINE_OFFER:
        UVM_ASSERT(n < DEVICES && (w->noise || !w->heard[n]));
        UVM_ASSERT(line.device.kind == device(n).kind);
        w->heard[n] = true;
        w->opened[n] = w->rescinded[n] = false;
        break;
    case UVM__VMBUS_LINE_RESCIND:
        UVM_ASSERT(n < DEVICES && w->synced);
        UVM_ASSERT(w->noise || (w->heard[n] && !w->rescinded[n]));
        w->rescinded[n] = true;
        break;
    case UVM__VMBUS_LINE_SYNC:
        UVM_ASSERT(!w->synced);
        w->synced = true;
        break;
    default:
        UVM_ASSERT(false); /* the guest's to say */
    }
}

static void on_guest(struct uvm__stream *s, unsigned events, void *arg) {
    struct world *w = arg;
    ssize_t n;
    char *end;

    (void)events;
    while ((n = uvm__stream_read(s, w->in + w->in_bytes, sizeof w->in - w->in_bytes)) > 0) {
        w->in_bytes += (size_t)n;
        while ((end = memchr(w->in, '\n', w->in_bytes)) != NULL) {
            size_t bytes = (size_t)(end - w->in);
            hear(w, w->in, bytes);
            w->in_bytes -= bytes + 1;
            memmove(w->in, end + 1, w->in_bytes);
        }
    }
    w->end = w->end || n != -UVM_E_AGAIN;
}

static void hang_up(struct world *w) {
    if (w->stream != NULL) {
        uvm__stream_reset(w->stream);
        w->stream = NULL;
        turn(w);
    }
}

static void dial(struct world *w) {
    uvm_op *op = NULL;

    hang_up(w);
    UVM_ASSERT(uvm__hvsock_connect(w->guest, UVM__PORT_OFFERS, NULL, NULL, NULL, &op) == 0);
    turn(w);
    w->stream = uvm__hvsock_connect_result(op);
    uvm_op_unref(op);
    UVM_ASSERT(w->stream != NULL);
    w->end = w->noise = w->greeted = w->synced = false;
    memset(w->heard, 0, sizeof w->heard);
    w->in_bytes = 0;
    uvm__stream_set_handler(w->stream, on_guest, w);
    on_guest(w->stream, 0, w);
    turn(w);
    UVM_ASSERT(w->synced && !w->end);
}

static void say(struct world *w, const void *text, size_t bytes) {
    (void)uvm__stream_write(w->stream, text, bytes);
    turn(w);
}

/* "opened" or "closed" of a device, which the host must take exactly if it is true. */
static void word(struct world *w, enum uvm__vmbus_line_kind kind, unsigned n) {
    struct uvm__vmbus_line line = {.kind = kind, .device = device(n)};
    char text[UVM__VMBUS_LINE_BYTES_MAX];
    bool opens = kind == UVM__VMBUS_LINE_OPENED;
    bool is_true = w->heard[n] && (opens ? !w->opened[n] : w->rescinded[n]);

    if (w->end) {
        return;
    }
    if (opens) {
        w->opened[n] = true;
    } else {
        w->heard[n] = false;
    }
    say(w, text, uvm__vmbus_line_write(&line, text));
    UVM_ASSERT(w->noise || w->end != is_true);
}

/* ---- the host ----------------------------------------------------------------------------- */

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    (void)err;
    ((struct world *)arg)->done++;
}

static void start(struct world *w, unsigned what, unsigned n) {
    const struct uvm__vmbus_device d = device(n);
    uvm_op **op = &w->ops[w->started];
    int rc;

    if (w->started == OPS_MAX) {
        return;
    }
    switch (what) {
    case 0:
        rc = uvm__vmbus_offer(w->bus, &d, NULL, on_done, w, op);
        break;
    case 1:
        rc = uvm__vmbus_rescind(w->bus, &d.instance, NULL, on_done, w, op);
        break;
    default:
        rc = uvm__vmbus_wait(w->bus, &d.instance, NULL, on_done, w, op);
    }
    if (rc == 0) {
        w->started++;
    } else {
        UVM_ASSERT(rc == (what == 0 ? -UVM_E_EXISTS : -UVM_E_NOTFOUND));
    }
}

static void present(struct world *w, unsigned n) {
    const struct uvm__vmbus_device d = device(n);
    bool opened, has = uvm__vmbus_has(w->bus, &d.instance, &opened);

    UVM_ASSERT(uvm__vmbus_present(w->bus, &d) == (has ? -UVM_E_EXISTS : 0));
}

/* Returns how many bytes of what follows it took. */
static size_t step(struct world *w, unsigned what, const uint8_t *data, size_t bytes) {
    unsigned n = bytes > 0 ? data[0] % DEVICES : 0;
    size_t noise = bytes > 0 ? data[0] : 0;

    switch (what % 11) {
    case 0:
        present(w, n);
        break;
    case 1:
    case 2:
    case 3:
        start(w, what % 11 - 1, n);
        break;
    case 4:
        dial(w);
        break;
    case 5:
        hang_up(w);
        break;
    case 6:
    case 7:
        if (w->stream != NULL) {
            word(w, what % 11 == 6 ? UVM__VMBUS_LINE_OPENED : UVM__VMBUS_LINE_CLOSED, n);
        }
        break;
    case 8:
        noise = noise < bytes ? noise : bytes - (bytes > 0);
        if (w->stream != NULL && !w->end && noise > 0) {
            w->noise = true;
            say(w, data + 1, noise);
        }
        return noise + 1;
    case 9:
        uvm__engine_advance(w->engine, noise * 100);
        break;
    default:
        if (w->started > 0) {
            uvm_op_cancel(w->ops[noise % w->started]);
        }
    }
    turn(w);
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    struct world w = {.started = 0};

    UVM_ASSERT(uvm__engine_new_virtual(&params, 1, &w.engine) == 0);
    UVM_ASSERT(uvm__loopback_new(w.engine, 512, &w.host, &w.guest) == 0);
    UVM_ASSERT(uvm__vmbus_open(w.engine, w.host, "fuzz", &w.bus) == 0);
    size_t at = 0;
    for (unsigned i = 0; i < STEPS_MAX && at < bytes; i++) {
        size_t rest = bytes - at - 1;
        at += 1 + step(&w, data[at], data + at + 1, rest);
    }
    uvm__vmbus_close(w.bus);
    turn(&w);
    UVM_ASSERT_CMP(w.done, ==, w.started);
    hang_up(&w);
    for (unsigned i = 0; i < w.started; i++) {
        uvm_op_unref(w.ops[i]);
    }
    uvm__loopback_free(w.host, w.guest);
    turn(&w);
    uvm__engine_free_virtual(w.engine);
    return 0;
}
