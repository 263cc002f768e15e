/* SPDX-License-Identifier: MIT
 * channel.c — the connection that the guest dials: lines out, lines in.
 *
 * Nothing is queued. Each device carries flags that say what the guest has heard of it, and whenever the stream
 * takes bytes, the next line is composed from them: version, every device, sync, then what changes. So a guest
 * that does not read costs one line of memory, and one that dials anew hears everything again.
 *
 * What the guest says must change something, once: "opened" of a device it was told of, "closed" of one it was
 * told is rescinded. Anything else, a line that is too long or no line at all, ends the connection, and with it
 * what the guest can cost us is bounded by the number of devices. One peer at a time; the listener refuses more.
 */
#include <string.h>

#include "async/check.h"
#include "async/log.h"
#include "vmbus/vmbus_int.h"

void uvm__vmbus_hang_up(struct uvm__vmbus *b) {
    struct uvm__list *it, *tmp;

    if (b->stream == NULL) {
        return;
    }
    uvm__stream_set_handler(b->stream, NULL, NULL);
    uvm__stream_reset(b->stream);
    b->stream = NULL;
    b->greeted = b->synced = false;
    b->in_bytes = b->out_bytes = b->out_at = 0;
    UVM__LIST_FOREACH(it, &b->offered) {
        UVM__CONTAINER_OF(it, struct uvm__vmbus_offered, link)->told = false;
    }
    /* Who was to let go of a device will not be told of it again. Waking may rescind others: not these. */
    UVM__LIST_FOREACH_SAFE(it, tmp, &b->offered) {
        struct uvm__vmbus_offered *o = UVM__CONTAINER_OF(it, struct uvm__vmbus_offered, link);
        if (o->rescinded) {
            uvm__vmbus_gone(b, o, 0);
        }
    }
}

/* ---- out ---------------------------------------------------------------------------------- */

static bool compose(struct uvm__vmbus *b, struct uvm__vmbus_line *line) {
    struct uvm__list *it;

    if (!b->greeted) {
        b->greeted = true;
        line->kind = UVM__VMBUS_LINE_VERSION;
        line->version = UVM__VMBUS_VERSION;
        return true;
    }
    UVM__LIST_FOREACH(it, &b->offered) {
        struct uvm__vmbus_offered *o = UVM__CONTAINER_OF(it, struct uvm__vmbus_offered, link);
        line->device = o->device;
        if (!o->told) {
            o->told = true;
            o->opened = false; /* of an earlier connection */
            line->kind = UVM__VMBUS_LINE_OFFER;
            return true;
        }
        if (b->synced && o->rescinded && !o->rescind_told) {
            o->rescind_told = true;
            line->kind = UVM__VMBUS_LINE_RESCIND;
            return true;
        }
    }
    line->kind = UVM__VMBUS_LINE_SYNC;
    return !b->synced && (b->synced = true);
}

void uvm__vmbus_tell(struct uvm__vmbus *b) {
    while (b->stream != NULL) {
        if (b->out_at == b->out_bytes) {
            struct uvm__vmbus_line line = {.kind = UVM__VMBUS_LINE_MAX};
            if (!compose(b, &line)) {
                return;
            }
            b->out_at = 0;
            b->out_bytes = uvm__vmbus_line_write(&line, b->out);
        }
        ssize_t n = uvm__stream_write(b->stream, b->out + b->out_at, b->out_bytes - b->out_at);
        if (n == -UVM_E_AGAIN) {
            return;
        }
        if (n < 0) {
            uvm__vmbus_hang_up(b); /* no memory for it counts as well: the guest dials again */
            return;
        }
        b->out_at += (size_t)n;
    }
}

/* ---- in ----------------------------------------------------------------------------------- */

static int opened(const struct uvm__vmbus_line *line, struct uvm__vmbus_offered *o,
                  struct uvm__fail *f) {
    char guid[UVM_GUID_TEXT];

    uvm__guid_text(&line->device.instance, guid);
    if (o == NULL || !o->told || o->opened) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "opened %s, which %s", guid,
                         o != NULL && o->opened ? "it has open" : "it was not offered");
    }
    o->opened = true;
    uvm__vmbus_wake(&o->opening, 0);
    return 0;
}

static int closed(struct uvm__vmbus *b, const struct uvm__vmbus_line *line,
                  struct uvm__vmbus_offered *o, struct uvm__fail *f) {
    char guid[UVM_GUID_TEXT];

    uvm__guid_text(&line->device.instance, guid);
    if (o == NULL || !o->rescind_told) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "closed %s, which was not rescinded", guid);
    }
    uvm__vmbus_gone(b, o, 0);
    return 0;
}

static int take_line(struct uvm__vmbus *b, const char *text, size_t bytes, struct uvm__fail *f) {
    struct uvm__vmbus_line line;
    int rc = uvm__vmbus_line_read(text, bytes, &line, f);

    if (rc < 0) {
        return rc;
    }
    struct uvm__vmbus_offered *o = uvm__vmbus_find(b, &line.device.instance);
    switch (line.kind) {
    case UVM__VMBUS_LINE_OPENED:
        return opened(&line, o, f);
    case UVM__VMBUS_LINE_CLOSED:
        return closed(b, &line, o, f);
    default:
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "a line that is the host's to say");
    }
}

/* Takes the lines that are complete; a waiter may close the bus in the middle. */
static int take_lines(struct uvm__vmbus *b, struct uvm__fail *f) {
    char *end;

    while (b->stream != NULL && (end = memchr(b->in, '\n', b->in_bytes)) != NULL) {
        size_t bytes = (size_t)(end - b->in);
        int rc = take_line(b, b->in, bytes, f);

        if (rc < 0 || b->stream == NULL) {
            return rc;
        }
        b->in_bytes -= bytes + 1;
        memmove(b->in, end + 1, b->in_bytes);
    }
    return b->stream != NULL && b->in_bytes == sizeof b->in
               ? uvm__fail(f, UVM_E_PROTOCOL, 0, "a line of more than %zu bytes", sizeof b->in)
               : 0;
}

/* Once for each VM in words: a guest may do it again and again. */
static void complain(struct uvm__vmbus *b, const struct uvm__fail *f) {
    uvm__log(b->engine, b->complained ? UVM_LOG_DEBUG : UVM_LOG_WARN, b->name,
             "offers: the guest is hung up on: %s", f->msg);
    b->complained = true;
}

static void on_event(struct uvm__stream *s, unsigned events, void *arg) {
    struct uvm__vmbus *b = uvm__vmbus_ref(arg);
    struct uvm__fail f = {.sys = 0};

    (void)events;
    while (b->stream == s) {
        ssize_t n = uvm__stream_read(s, b->in + b->in_bytes, sizeof b->in - b->in_bytes);
        if (n == -UVM_E_AGAIN) {
            uvm__vmbus_tell(b);
            break;
        }
        if (n <= 0) {
            uvm__log(b->engine, UVM_LOG_DEBUG, b->name, "offers: the guest hung up");
            uvm__vmbus_hang_up(b);
            break;
        }
        b->in_bytes += (size_t)n;
        if (take_lines(b, &f) < 0) {
            complain(b, &f);
            uvm__vmbus_hang_up(b);
        }
    }
    uvm__vmbus_unref(b);
}

void uvm__vmbus_on_dial(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    struct uvm__vmbus *b = arg;

    (void)l;
    UVM_ASSERT(b->stream == NULL && !b->closed);
    b->stream = take_stream;
    b->dialled = true;
    uvm__stream_set_handler(take_stream, on_event, b);
    uvm__vmbus_tell(b);
}
