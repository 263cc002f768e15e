/* SPDX-License-Identifier: MIT
 * join.c — see join.h.
 */
#include "hvsock/join.h"

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"

#define BUFFER_BYTES 65536u
#define MOVES_PER_TURN 16u /* of one way; half of them into the buffer, half out of it */

struct way {
    struct uvm__stream *from, *to; /* also the other way's */
    size_t at, len;                /* buf[at] … buf[at + len - 1] are on their way */
    uint8_t buf[BUFFER_BYTES];
};

struct uvm__join {
    uvm_engine *engine;
    uvm__join_fn on_end;
    void *arg;
    struct uvm__ready ready;
    bool ended, first_ended, told;
    struct way ways[2]; /* from the first; from the second */
};

/* Whatever was accepted is still delivered. */
static void end(struct uvm__join *j, bool first) {
    j->ended = true;
    j->first_ended = first;
    uvm__stream_close(UVM_TAKE_PTR(j->ways[0].from));
    uvm__stream_close(UVM_TAKE_PTR(j->ways[1].from));
    uvm__ready_push(j->engine, &j->ready);
}

/* True: go on; false: refused for now, or the join has ended. */
static bool move(struct uvm__join *j, unsigned way) {
    struct way *w = &j->ways[way];

    if (w->len == 0) {
        ssize_t n = uvm__stream_read(w->from, w->buf, sizeof w->buf);
        if (n > 0) {
            w->at = 0;
            w->len = (size_t)n;
        } else if (n != -UVM_E_AGAIN) {
            end(j, way == 0);
        }
        return n > 0;
    }
    ssize_t n = uvm__stream_write(w->to, w->buf + w->at, w->len);
    if (n > 0) {
        w->at += (size_t)n;
        w->len -= (size_t)n;
    } else if (n != -UVM_E_AGAIN) {
        end(j, way != 0);
    }
    return n > 0;
}

static void pump(struct uvm__join *j) {
    for (unsigned way = 0; way < 2; way++) {
        unsigned moves = 0;
        while (!j->ended && move(j, way)) {
            if (++moves == MOVES_PER_TURN) {
                uvm__ready_push(j->engine, &j->ready);
                break;
            }
        }
    }
}

static void on_ready(struct uvm__ready *r) {
    struct uvm__join *j = UVM__CONTAINER_OF(r, struct uvm__join, ready);

    if (!j->ended) {
        pump(j);
    } else if (!j->told) {
        j->told = true;
        j->on_end(j, j->first_ended, j->arg); /* may free it */
    }
}

static void on_stream(struct uvm__stream *s, unsigned events, void *arg) {
    (void)s;
    (void)events;
    pump(arg);
}

int uvm__join_new(uvm_engine *e, struct uvm__stream *take_first, struct uvm__stream *take_second,
                  uvm__join_fn on_end, void *arg, struct uvm__join **ret) {
    struct uvm__join *j = uvm__alloc(e, sizeof *j);

    if (j == NULL) {
        uvm__stream_reset(take_first);
        uvm__stream_reset(take_second);
        return -UVM_E_NOMEM;
    }
    j->engine = e;
    j->on_end = on_end;
    j->arg = arg;
    j->ended = j->first_ended = j->told = false;
    uvm__ready_init(&j->ready, on_ready);
    for (unsigned way = 0; way < 2; way++) {
        j->ways[way].from = way == 0 ? take_first : take_second;
        j->ways[way].to = way == 0 ? take_second : take_first;
        j->ways[way].at = j->ways[way].len = 0;
        uvm__stream_set_handler(j->ways[way].from, on_stream, j);
    }
    *ret = j;
    return 0;
}

void uvm__join_free(struct uvm__join *j) {
    if (j == NULL) {
        return;
    }
    uvm__ready_cancel(j->engine, &j->ready);
    for (unsigned way = 0; way < 2 && !j->ended; way++) {
        uvm__stream_reset(j->ways[way].from);
    }
    uvm__free(j->engine, j);
}
