/* SPDX-License-Identifier: MIT
 * offers_fuzz.c — any bytes from a host on the offer channel, at the guest's end: taken, or the channel ends with
 * words; and what a line says, it says again when it is written and read.
 *
 * The first byte says in which pieces the rest arrives. After each, the devices that the table has are shown by a
 * guest that finds all of them; what it answered are lines that the host's end takes, "closed" once for each
 * rescind. At the input's end the channel is dialled again, and an empty snapshot empties the table.
 */
#include "async/check.h"
#include "cmd/gcs/offers_table.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char greeting[] = "{\"version\":1}\n{\"sync\":true}\n";

/* What is a line reads back from its own writing; of a class that is not known only the refusal would differ. */
static void check_line(const char *text, size_t bytes) {
    struct uvm__vmbus_line line, again;
    char copy[UVM__VMBUS_LINE_BYTES_MAX];
    struct uvm__fail f = {.msg = ""};
    int rc = uvm__vmbus_line_read(text, bytes, &line, &f);

    UVM_ASSERT(rc == 0 || (rc == -UVM_E_PROTOCOL && f.msg[0] != '\0'));
    if (rc < 0 ||
        (line.kind == UVM__VMBUS_LINE_OFFER && line.device.kind == UVM__VMBUS_CLASS_MAX)) {
        return;
    }
    size_t n = uvm__vmbus_line_write(&line, copy);
    UVM_ASSERT(n > 0 && copy[n - 1] == '\n' && memchr(copy, '\n', n) == copy + n - 1);
    UVM_ASSERT(uvm__vmbus_line_read(copy, n - 1, &again, &f) == 0);
    UVM_ASSERT(again.kind == line.kind && again.version == line.version);
    UVM_ASSERT(again.device.kind == line.device.kind);
    UVM_ASSERT(uvm__guid_equal(&again.device.instance, &line.device.instance));
    UVM_ASSERT(strcmp(again.device.location, line.device.location) == 0);
}

static void check_table(const struct gcs_offers_table *t) {
    UVM_ASSERT(t->in_bytes <= sizeof t->in);
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        for (size_t j = 0; t->rows[i].used && j < i; j++) {
            UVM_ASSERT(!t->rows[j].used ||
                       !uvm__guid_equal(&t->rows[i].device.instance, &t->rows[j].device.instance));
        }
        UVM_ASSERT(!t->rows[i].used || uvm__vmbus_location_valid(t->rows[i].device.location));
    }
}

/* Everything in the table is found. */
static void show(struct gcs_offers_table *t, int channel) {
    for (size_t i = 0; t->synced && i < UVM__VMBUS_DEVICES_MAX; i++) {
        struct gcs_offered *d = &t->rows[i];
        if (d->used && !d->answered) {
            d->shown = d->answered = true;
            UVM_ASSERT(gcs_offers_answer(channel, UVM__VMBUS_LINE_OPENED, &d->device.instance) ==
                       0);
        }
    }
}

/* What the guest said since: whole lines, and such that are a guest's to say. */
static void hear(int host) {
    char text[65536];
    ssize_t n = recv(host, text, sizeof text, MSG_DONTWAIT);
    char *end;

    for (char *at = text; n > 0; at = end + 1) {
        struct uvm__vmbus_line line;
        struct uvm__fail f = {.sys = 0};
        end = memchr(at, '\n', (size_t)n);
        UVM_ASSERT(end != NULL);
        UVM_ASSERT(uvm__vmbus_line_read(at, (size_t)(end - at), &line, &f) == 0);
        UVM_ASSERT(line.kind == UVM__VMBUS_LINE_OPENED || line.kind == UVM__VMBUS_LINE_CLOSED);
        n -= end + 1 - at;
    }
}

static int read_all(struct gcs_offers_table *t, int guest, size_t bytes) {
    struct uvm__fail f = {.msg = ""};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i <= bytes / sizeof t->in + 1; i++) {
        rc = gcs_offers_read(t, guest, &f);
    }
    UVM_ASSERT(rc == 0 || (rc != -UVM_E_CLOSED && f.msg[0] != '\0'));
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct gcs_offers_table t;
    size_t piece = bytes == 0 || data[0] < 8 ? bytes + 1 : data[0];
    int pair[2], rc = 0;

    if (bytes > 16384) {
        return 0; /* what a socket takes at once */
    }
    memset(&t, 0, sizeof t);
    t.sys = "/nonexistent";
    gcs_offers_begin(&t);
    UVM_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    for (size_t at = 1; rc == 0 && at < bytes; at += piece) {
        size_t n = bytes - at < piece ? bytes - at : piece;
        check_line((const char *)data + at, n);
        UVM_ASSERT(send(pair[0], data + at, n, 0) == (ssize_t)n);
        rc = read_all(&t, pair[1], n);
        check_table(&t);
        show(&t, pair[1]);
        hear(pair[0]);
    }
    close(pair[0]);
    close(pair[1]);

    UVM_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    gcs_offers_begin(&t);
    UVM_ASSERT(send(pair[0], greeting, sizeof greeting - 1, 0) == sizeof greeting - 1);
    UVM_ASSERT(read_all(&t, pair[1], sizeof greeting) == 0);
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        UVM_ASSERT(!t.rows[i].used);
    }
    close(pair[0]);
    close(pair[1]);
    return 0;
}
