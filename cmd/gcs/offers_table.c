/* SPDX-License-Identifier: MIT
 *
 * The table of offers (offers_table.h).
 */
#include "cmd/gcs/offers_table.h"

#include "cmd/gcs/view.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static struct gcs_offered *find(struct gcs_offers_table *t, const struct uvm__guid *instance) {
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        if (t->rows[i].used && uvm__guid_equal(&t->rows[i].device.instance, instance)) {
            return &t->rows[i];
        }
    }
    return NULL;
}

int gcs_offers_answer(int channel, enum uvm__vmbus_line_kind kind,
                      const struct uvm__guid *instance) {
    struct uvm__vmbus_line line = {.kind = kind, .device.instance = *instance};
    char text[UVM__VMBUS_LINE_BYTES_MAX];
    size_t bytes = uvm__vmbus_line_write(&line, text);

    return send(channel, text, bytes, MSG_NOSIGNAL) == (ssize_t)bytes ? 0 : -UVM_E_CLOSED;
}

static void forget(const struct gcs_offers_table *t, struct gcs_offered *d) {
    uvm__view_hide(t->sys, &d->device.instance);
    d->used = false;
}

int gcs_offers_released(struct gcs_offers_table *t, int channel, const struct uvm__guid *instance) {
    struct gcs_offered *d = find(t, instance);

    if (d == NULL || !d->releasing) {
        return 0; /* the channel was lost meanwhile, and nobody waits for the word */
    }
    forget(t, d);
    return gcs_offers_answer(channel, UVM__VMBUS_LINE_CLOSED, instance);
}

/* ---- lines ----------------------------------------------------------------------------------------- */

static int take_offer(struct gcs_offers_table *t, const struct uvm__vmbus_device *device,
                      struct uvm__fail *f) {
    struct gcs_offered *d = find(t, &device->instance);

    for (size_t i = 0; d == NULL && i < UVM__VMBUS_DEVICES_MAX; i++) {
        if (!t->rows[i].used) {
            d = &t->rows[i];
            *d = (struct gcs_offered){.device = *device, .used = true};
        }
    }
    if (d == NULL) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "more than %u devices", UVM__VMBUS_DEVICES_MAX);
    }
    if (strcmp(d->device.location, device->location) != 0) {
        forget(t, d);
        *d = (struct gcs_offered){.device = *device, .used = true};
    }
    d->confirmed = true;
    d->answered = d->releasing = false;
    return 0;
}

static void take_sync(struct gcs_offers_table *t) {
    t->synced = true;
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        if (t->rows[i].used && !t->rows[i].confirmed) {
            forget(t, &t->rows[i]);
        }
    }
}

static int take_rescind(struct gcs_offers_table *t, int channel, const struct uvm__guid *instance) {
    struct gcs_offered *d = find(t, instance);

    if (d != NULL && d->shown && d->device.kind == UVM__VMBUS_VPCI && t->releases != NULL) {
        d->releasing = d->releasing || gcs_release_begin(t->releases, instance);
        if (d->releasing) {
            return 0;
        }
    }
    if (d != NULL) {
        forget(t, d);
    }
    return gcs_offers_answer(channel, UVM__VMBUS_LINE_CLOSED, instance);
}

static int take_line(struct gcs_offers_table *t, int channel, const char *text, size_t bytes,
                     struct uvm__fail *f) {
    struct uvm__vmbus_line line;
    int rc = uvm__vmbus_line_read(text, bytes, &line, f);

    if (rc < 0) {
        return rc;
    }
    if (t->greeted != (line.kind != UVM__VMBUS_LINE_VERSION)) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "the version does not come first");
    }
    switch (line.kind) {
    case UVM__VMBUS_LINE_VERSION:
        t->greeted = true;
        return line.version == UVM__VMBUS_VERSION
                   ? 0
                   : uvm__fail(f, UVM_E_UNSUPPORTED, 0, "version %u is not known here",
                               line.version);
    case UVM__VMBUS_LINE_OFFER:
        return take_offer(t, &line.device, f);
    case UVM__VMBUS_LINE_SYNC:
        take_sync(t);
        return 0;
    case UVM__VMBUS_LINE_RESCIND:
        return take_rescind(t, channel, &line.device.instance);
    default:
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "a line that is the guest's to say");
    }
}

int gcs_offers_read(struct gcs_offers_table *t, int channel, struct uvm__fail *f) {
    ssize_t n = recv(channel, t->in + t->in_bytes, sizeof t->in - t->in_bytes, MSG_DONTWAIT);
    int rc = 0;
    char *end;

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (n <= 0) {
        return -UVM_E_CLOSED;
    }
    t->in_bytes += (size_t)n;
    while (rc == 0 && (end = memchr(t->in, '\n', t->in_bytes)) != NULL) {
        size_t bytes = (size_t)(end - t->in);

        rc = take_line(t, channel, t->in, bytes, f);
        t->in_bytes -= bytes + 1;
        memmove(t->in, end + 1, t->in_bytes);
    }
    return rc == 0 && t->in_bytes == sizeof t->in
               ? uvm__fail(f, UVM_E_PROTOCOL, 0, "a line of more than %zu bytes", sizeof t->in)
               : rc;
}

void gcs_offers_begin(struct gcs_offers_table *t) {
    t->greeted = t->synced = false;
    t->in_bytes = 0;
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        t->rows[i].confirmed = t->rows[i].answered = false;
    }
}
