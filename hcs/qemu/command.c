/* SPDX-License-Identifier: MIT
 * command.c — see command.h.
 *
 * device_del has two answers, and either may come first: the reply, and DEVICE_DELETED. A reply that refuses
 * because there is no such device is a success of the removal. The event alone is not enough to go on, since the
 * reply would then find the next command under its node.
 */
#include "hcs/qemu/command.h"

#include <stdio.h>
#include <string.h>

#include "async/check.h"
#include "async/json.h"

static void over(struct uvm__command *c, enum uvm__command_end how, uvm_error *take_err) {
    uvm__list_remove(&c->unplug);
    c->fn(c, how, take_err);
}

static void on_end(struct uvm__end_wait *w) {
    over(UVM__CONTAINER_OF(w, struct uvm__command, end), UVM__COMMAND_GONE, NULL);
}

/* QMP is lost, so that the end is near, or was decided already. */
static void wait_end(struct uvm__command *c) {
    if (c->system->state == UVM__QEMU_ENDED) {
        over(c, UVM__COMMAND_GONE, NULL);
    } else {
        uvm__qemu_end_wait(c->system, &c->end);
    }
}

static bool is_not_found(const cJSON *reply) {
    const cJSON *node = uvm__json_get(UVM__JSON_STRICT, reply, "error");
    const char *class = cJSON_IsObject(node)
                            ? uvm__json_string(uvm__json_get(UVM__JSON_STRICT, node, "class"))
                            : NULL;
    return class != NULL && strcmp(class, "DeviceNotFound") == 0;
}

static void on_reply(struct uvm__call *call, const void *reply, const uvm_error *err) {
    struct uvm__command *c = UVM__CONTAINER_OF(call, struct uvm__command, call);

    if (err != NULL) {
        wait_end(c);
        return;
    }
    bool unplug = uvm__list_linked(&c->unplug);
    uvm_error *refused = uvm__qmp_reply_error(c->system->engine, c->name, reply);
    c->answered = true;
    if (unplug && refused != NULL && is_not_found(reply)) {
        refused = uvm_error_unref(refused);
        c->deleted = true;
    }
    if (refused != NULL) {
        over(c, UVM__COMMAND_REFUSED, refused);
    } else if (!unplug || c->deleted) {
        over(c, UVM__COMMAND_DONE, NULL);
    } else {
        wait_end(c); /* no call waits any more: only the event, or the VM's end */
    }
}

/* Now, or when its turn has come. A guest that does not run yet has no commands under way. */
static bool is_turn(struct uvm__command *c) {
    bool plugs = c->removes || strcmp(c->name, "device_add") == 0;

    return !plugs || c->pace == NULL || c->system->state < UVM__QEMU_RUNNING ||
           uvm__pace_wait(c->pace, &c->turn);
}

static void send_now(struct uvm__command *c, int fd) {
    struct uvm__qemu_system *s = c->system;
    int rc = s->qmp == NULL ? -UVM_E_CLOSED
                            : uvm__qmp_call(s->qmp, &c->call, c->op, c->name, c->arguments,
                                            fd < 0 ? NULL : &fd, fd < 0 ? 0 : 1, on_reply);

    if (rc == -UVM_E_CLOSED) {
        wait_end(c);
    } else if (rc < 0 && c->must) {
        uvm__command_again(c);
    } else if (rc < 0) {
        over(c, UVM__COMMAND_UNSENT,
             uvm__error(s->engine, (enum uvm_error_code) - rc, 0,
                        "vm %s: %s cannot be sent to qemu", s->name, c->name));
    }
}

static void send(struct uvm__command *c, int fd) {
    if (is_turn(c)) {
        send_now(c, fd);
    }
}

static void on_turn(struct uvm__pace_turn *t) {
    send_now(UVM__CONTAINER_OF(t, struct uvm__command, turn), -1);
}

static void on_again(struct uvm__deadline *d) {
    send(UVM__CONTAINER_OF(d, struct uvm__command, again), -1);
}

static void listen_for_event(struct uvm__command *c) {
    c->answered = c->deleted = false;
    if (c->removes && !uvm__list_linked(&c->unplug)) {
        uvm__list_append(&c->system->unplugs, &c->unplug);
    }
}

void uvm__command_again(struct uvm__command *c) {
    UVM_ASSERT(uvm__command_idle(c) && c->must);
    listen_for_event(c);
    uvm__deadline_set(c->system->engine, &c->again,
                      uvm__now_ms(c->system->engine) + UVM__MEMORY_RETRY_MS);
}

void uvm__command_init(struct uvm__command *c, struct uvm__qemu_system *s, uvm_op *op) {
    c->system = s;
    c->op = op;
    c->end.fn = on_end;
    uvm__list_init(&c->end.link);
    uvm__list_init(&c->call.link);
    uvm__list_init(&c->unplug);
    uvm__deadline_init(&c->again, on_again);
    uvm__pace_turn_init(&c->turn, on_turn);
}

bool uvm__command_idle(const struct uvm__command *c) {
    return !uvm__list_linked(&c->end.link) && !uvm__list_linked(&c->call.link) &&
           !uvm__list_linked(&c->turn.link) && !c->again.linked;
}

void uvm__command_send(struct uvm__command *c, const char *name, int fd, uvm__command_fn fn) {
    UVM_ASSERT(uvm__command_idle(c) && !uvm__list_linked(&c->unplug));
    c->name = name;
    c->must = c->removes = false;
    c->fn = fn;
    send(c, fd);
}

void uvm__command_must(struct uvm__command *c, const char *name, uvm__command_fn fn) {
    UVM_ASSERT(uvm__command_idle(c) && !uvm__list_linked(&c->unplug));
    c->name = name;
    c->must = true;
    c->removes = false;
    c->fn = fn;
    send(c, -1);
}

void uvm__command_unplug(struct uvm__command *c, const char *device, uvm__command_fn fn) {
    UVM_ASSERT(uvm__command_idle(c) && !uvm__list_linked(&c->unplug));
    c->name = "device_del";
    c->must = c->removes = true;
    c->fn = fn;
    snprintf(c->device, sizeof c->device, "%s", device);
    snprintf(c->arguments, sizeof c->arguments, "{\"id\":\"%s\"}", c->device);
    listen_for_event(c);
    send(c, -1);
}

bool uvm__command_withdraw(struct uvm__command *c) {
    if (!uvm__pace_leave(&c->turn)) {
        return false;
    }
    uvm__list_remove(&c->unplug);
    return true;
}

void uvm__command_on_deleted(struct uvm__qemu_system *s, const char *device) {
    struct uvm__list *it;

    UVM__LIST_FOREACH(it, &s->unplugs) {
        struct uvm__command *c = UVM__CONTAINER_OF(it, struct uvm__command, unplug);
        if (strcmp(c->device, device) == 0 && !c->deleted) {
            c->deleted = true;
            if (c->answered) {
                uvm__qemu_end_forget(&c->end);
                over(c, UVM__COMMAND_DONE, NULL);
            }
            return;
        }
    }
}
