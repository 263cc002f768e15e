/* SPDX-License-Identifier: MIT
 * offers_table.h — what the host offers, as its lines on the offer channel say (docs/PROTOCOL-vmbus.md).
 *
 * Lines that are complete are taken as they come: they fill the table, hide what is taken back, and are answered
 * where they must be. Showing what is in the table is its user's (offers.c).                         */
#pragma once
#include "async/limits.h"
#include "cmd/gcs/release.h"
#include "vmbus/wire.h"

#include <stdbool.h>
#include <stddef.h>

struct gcs_offered {
    struct uvm__vmbus_device device;
    bool used, shown, answered;
    bool confirmed; /* by the snapshot that is being read */
    bool releasing; /* its driver is letting go: it is answered and hidden then */
};

struct gcs_offers_table {
    const char *sys;               /* where sysfs is (view.h) */
    struct gcs_releases *releases; /* of assigned devices that are taken back; NULL: at once */
    bool greeted, synced;
    char in[UVM__VMBUS_LINE_BYTES_MAX];
    size_t in_bytes;
    struct gcs_offered rows[UVM__VMBUS_DEVICES_MAX];
};

/* A channel was dialled: all is heard anew. What was shown stays until its sync. */
void gcs_offers_begin(struct gcs_offers_table *t);
/* Takes what is there to be read from `channel`, a socket, without waiting. -UVM_E_CLOSED at its end; other
 * errors have words in `f`: the host said what it must not, and the channel must be ended.          */
int gcs_offers_read(struct gcs_offers_table *t, int channel, struct uvm__fail *f);
/* The driver of a device that was being released has let go. 0 or -UVM_E_CLOSED. */
int gcs_offers_released(struct gcs_offers_table *t, int channel, const struct uvm__guid *instance);
/* Says OPENED or CLOSED. 0 or -UVM_E_CLOSED. */
int gcs_offers_answer(int channel, enum uvm__vmbus_line_kind kind,
                      const struct uvm__guid *instance);
