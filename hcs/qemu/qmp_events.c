/* SPDX-License-Identifier: MIT
 * qmp_events.c — what QEMU tells unasked, by one table; everything else is ignored.
 *
 * Events only note facts and change the state; what follows from an end is end.c's. STOP and RESUME come for
 * our own verbs and for others' (a VMM that stops itself because of an internal error), and the state
 * follows them either way.
 */
#include "hcs/qemu/command.h"

#include <string.h>

#include "async/json.h"
#include "async/log.h"

static void on_shutdown(struct uvm__qemu_system *s, const cJSON *data) {
    const char *reason =
        data == NULL ? NULL : uvm__json_string(uvm__json_get(UVM__JSON_STRICT, data, "reason"));
    uvm__exit_on_shutdown(&s->facts, reason == NULL ? "no reason given" : reason);
}

static void on_panicked(struct uvm__qemu_system *s, const cJSON *data) {
    (void)data;
    uvm__exit_on_panic(&s->facts);
}

static void on_stop(struct uvm__qemu_system *s, const cJSON *data) {
    (void)data;
    if (s->state == UVM__QEMU_RUNNING) {
        s->state = UVM__QEMU_PAUSED;
        if (s->vsock != NULL) {
            uvm__vsock_device_paused(s->vsock, true);
        }
        uvm__qemu_tell_paused(s, true);
    }
}

static void on_resume(struct uvm__qemu_system *s, const cJSON *data) {
    (void)data;
    if (s->state == UVM__QEMU_PAUSED) {
        s->state = UVM__QEMU_RUNNING;
        if (s->vsock != NULL) {
            uvm__vsock_device_paused(s->vsock, false);
        }
        uvm__qemu_tell_paused(s, false);
    }
}

static void on_deleted(struct uvm__qemu_system *s, const cJSON *data) {
    const char *device =
        data == NULL ? NULL : uvm__json_string(uvm__json_get(UVM__JSON_STRICT, data, "device"));
    if (device != NULL) { /* the inner devices of ours have no name */
        uvm__command_on_deleted(s, device);
    }
}

static const struct {
    const char *name;
    void (*fn)(struct uvm__qemu_system *s, const cJSON *data);
} events[] = {
    {"SHUTDOWN", on_shutdown}, {"GUEST_PANICKED", on_panicked}, {"DEVICE_DELETED", on_deleted},
    {"STOP", on_stop},         {"RESUME", on_resume},
};

void uvm__qemu_on_qmp_event(struct uvm__qmp *q, const char *name, const cJSON *data, void *arg) {
    struct uvm__qemu_system *s = arg;

    (void)q;
    uvm__log(s->engine, UVM_LOG_DEBUG, s->name, "qemu: %s", name);
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (strcmp(events[i].name, name) == 0) {
            events[i].fn(s, data);
        }
    }
}
