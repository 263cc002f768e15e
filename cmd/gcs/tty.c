/* SPDX-License-Identifier: MIT
 *
 * The relay is two flows over three streams: input stream → master, master → output stream. A flow holds at
 * most one buffer, reads only when that is empty, and so passes the slower side's pace on. All of it happens
 * in pump(), which stream events and the ready queue call; a flow that does not run dry within a few buffers
 * yields and is continued in the next turn, so that `yes` on a terminal leaves the loop to others.
 *
 * What ends: input at end of file or when the terminal is gone; output when the terminal is gone and its
 * last bytes were taken, or at once when the host reads no more. The end of output is the end of the
 * relay. Closing the master is what hangs up.
 */
#include "cmd/gcs/tty.h"

#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/ready.h"
#include "cmd/gcs/agent.h"
#include "hvsock/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ROUNDS_PER_TURN 16

enum outcome {
    WAIT,    /* for an event */
    MORE,    /* the turn's share is used up */
    DRY,     /* the source ended and everything was delivered */
    REFUSED, /* the sink takes no more */
};

struct flow {
    char data[GCS_STREAM_BYTES];
    size_t start, end;
    bool ended; /* the source */
};

struct gcs_tty {
    uvm_engine *engine;
    struct uvm__ready ready;
    int master_fd;                               /* owned by `master` once that is there */
    struct uvm__stream *master, *in, *out, *err; /* NULL: absent or closed */
    struct flow input, output;
    bool over;
    void (*on_end)(struct gcs_tty *t, void *arg);
    void *arg;
};

static void close_stream(struct uvm__stream **s) {
    if (*s != NULL) {
        uvm__stream_close(*s);
        *s = NULL;
    }
}

/* Moves bytes as long as both sides are willing. Without a sink they are dropped. */
static enum outcome move(struct flow *f, struct uvm__stream *from, struct uvm__stream *to) {
    for (int i = 0; i < ROUNDS_PER_TURN; i++) {
        ssize_t n;

        if (f->start == f->end && !f->ended) {
            n = uvm__stream_read(from, f->data, sizeof f->data);
            if (n == -UVM_E_AGAIN) {
                return WAIT;
            }
            f->ended = n <= 0; /* a reset, or a terminal's EIO, is an end as well */
            f->start = 0;
            f->end = n > 0 ? (size_t)n : 0;
        }
        if (f->start == f->end) {
            return DRY;
        }
        n = to == NULL ? (ssize_t)(f->end - f->start)
                       : uvm__stream_write(to, f->data + f->start, f->end - f->start);
        if (n == -UVM_E_AGAIN) {
            return WAIT;
        }
        if (n < 0) {
            return REFUSED;
        }
        f->start += (size_t)n;
    }
    return MORE;
}

static void hang_up(struct gcs_tty *t) {
    if (t->master != NULL) {
        close_stream(&t->master);
    } else if (t->master_fd >= 0) {
        close(t->master_fd);
    }
    t->master_fd = -1;
}

static void finish(struct gcs_tty *t) {
    hang_up(t);
    close_stream(&t->in);
    close_stream(&t->out);
    close_stream(&t->err);
    uvm__ready_cancel(t->engine, &t->ready);
    t->over = true;
    t->on_end(t, t->arg);
}

static void pump(struct gcs_tty *t) {
    enum outcome in = WAIT, out;

    if (t->over) {
        return;
    }
    if (t->in != NULL) {
        in = move(&t->input, t->in, t->master);
        if (in == DRY || in == REFUSED) {
            close_stream(&t->in);
        }
    }
    out = move(&t->output, t->master, t->out);
    if (out == DRY || out == REFUSED) {
        finish(t);
    } else if (in == MORE || out == MORE) {
        uvm__ready_push(t->engine, &t->ready);
    }
}

static void on_event(struct uvm__stream *s, unsigned events, void *arg) {
    (void)s;
    (void)events;
    pump(arg);
}

static void on_ready(struct uvm__ready *r) {
    pump(UVM__CONTAINER_OF(r, struct gcs_tty, ready));
}

static int open_pair(int *ret_master, int *ret_slave) {
    UVM_CLEANUP_FD int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    int slave;

    if (master < 0 || unlockpt(master) < 0) {
        return -1;
    }
    /* Without a path: it works in whatever mount namespace this is. */
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        return -1;
    }
    *ret_master = UVM_TAKE_FD(master);
    *ret_slave = slave;
    return 0;
}

int gcs_tty_open(uvm_engine *e, uint16_t height, uint16_t width, struct gcs_tty **ret,
                 int *ret_slave_fd, struct uvm__fail *f) {
    struct gcs_tty *t = uvm__zalloc(e, sizeof *t);
    int slave;

    if (t == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, ENOMEM, "terminal: out of memory");
    }
    t->engine = e;
    uvm__ready_init(&t->ready, on_ready);
    if (open_pair(&t->master_fd, &slave) < 0) {
        int err = errno;

        uvm__free(e, t);
        return uvm__fail(f, UVM_E_IO, err, "no terminal: %s", strerror(err));
    }
    if (height != 0 || width != 0) {
        (void)gcs_tty_resize(t, height, width);
    }
    *ret = t;
    *ret_slave_fd = slave;
    return 0;
}

/* Takes the descriptor; absent stays absent. */
static int stream(uvm_engine *e, int take_fd, struct uvm__stream **ret) {
    return take_fd < 0 ? 0 : uvm__stream_from_fds(e, take_fd, take_fd, ret);
}

int gcs_tty_start(struct gcs_tty *t, int take_in_fd, int take_out_fd, int take_err_fd,
                  void (*on_end)(struct gcs_tty *t, void *arg), void *arg) {
    int rc[4];

    UVM_ASSERT(t->master == NULL && t->master_fd >= 0);
    t->on_end = on_end;
    t->arg = arg;
    rc[0] = stream(t->engine, take_in_fd, &t->in);
    rc[1] = stream(t->engine, take_out_fd, &t->out);
    rc[2] = stream(t->engine, take_err_fd, &t->err);
    rc[3] = stream(t->engine, t->master_fd, &t->master);
    for (size_t i = 0; i < 4; i++) {
        if (rc[i] < 0) {
            t->master_fd = t->master == NULL ? -1 : t->master_fd;
            return rc[i];
        }
    }
    uvm__stream_set_handler(t->master, on_event, t);
    if (t->in != NULL) {
        uvm__stream_set_handler(t->in, on_event, t);
    }
    if (t->out != NULL) {
        uvm__stream_set_handler(t->out, on_event, t);
    }
    return 0;
}

int gcs_tty_resize(struct gcs_tty *t, uint16_t height, uint16_t width) {
    struct winsize size = {.ws_row = height, .ws_col = width};

    if (t->master_fd >= 0 && ioctl(t->master_fd, TIOCSWINSZ, &size) < 0) {
        return -UVM_E_IO;
    }
    return 0;
}

void gcs_tty_close(struct gcs_tty *t) {
    if (t == NULL) {
        return;
    }
    t->over = true;
    hang_up(t);
    close_stream(&t->in);
    close_stream(&t->out);
    close_stream(&t->err);
    uvm__ready_cancel(t->engine, &t->ready);
    uvm__free(t->engine, t);
}

size_t gcs_tty_dump(const struct gcs_tty *t, char *buf, size_t bytes) {
    int n = snprintf(buf, bytes, "in %s %zu bytes, out %s %zu bytes",
                     t->in == NULL ? "closed" : "open", t->input.end - t->input.start,
                     t->over ? "closed" : "open", t->output.end - t->output.start);

    return n < 0 ? 0 : (size_t)n < bytes ? (size_t)n : bytes - 1;
}
