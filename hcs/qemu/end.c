/* SPDX-License-Identifier: MIT
 * end.c — how a VM's end is noticed and decided.
 *
 * Three signs can come in any order: the hvsock device's front end is gone, QMP came to its end, the
 * process has ended. The first begins the end. The reason is decided when QMP was read to its end (so that
 * no SHUTDOWN is missed) and the process has ended (so that its status is known), or UVM__EXIT_CLASSIFY_MS
 * after the first sign; what then still runs is killed. A VMM that was killed and gives no sign for
 * UVM__CHILD_KILLED_MS is stuck in the kernel (its disk does not answer, say), which nobody can change: that is
 * the decision then. It is made once, and everybody who waits for it is told.
 */
#include <stdio.h>
#include <string.h>

#include "async/check.h"
#include "async/limits.h"
#include "async/log.h"
#include "hcs/qemu/qemu_int.h"

static void kill_now(struct uvm__qemu_system *s) {
    if (s->child != NULL && !s->facts.exited) {
        if (!s->kill_sent && s->state != UVM__QEMU_ENDED) {
            uvm__deadline_set(s->engine, &s->stuck_at,
                              uvm__now_ms(s->engine) + UVM__CHILD_KILLED_MS);
        }
        s->kill_sent = true;
        uvm__child_end(s->child, true);
    }
}

void uvm__qemu_decide(struct uvm__qemu_system *s) {
    if (s->state == UVM__QEMU_ENDED) {
        return;
    }
    s->state = UVM__QEMU_ENDED;
    s->exit = uvm__exit_reason(&s->facts);
    s->times.ended_us = uvm__now_us(s->engine);
    uvm__deadline_clear(s->engine, &s->decide_at);
    uvm__deadline_clear(s->engine, &s->stuck_at);
    for (unsigned i = 0; i < UVM__DOC_SCSI_CONTROLLERS_MAX; i++) {
        uvm__pace_open(&s->plugs[i]);
    }
    uvm__log(s->engine, UVM_LOG_INFO, s->name, "ended: %s", uvm__hcs_exit_text(s->exit));
    while (!uvm__list_empty(&s->end_waiters)) {
        struct uvm__end_wait *w =
            UVM__CONTAINER_OF(s->end_waiters.next, struct uvm__end_wait, link);
        uvm__list_remove(&w->link);
        w->fn(w);
    }
    if (s->on_progress != NULL) {
        s->on_progress(s, NULL);
    }
    uvm__qemu_tell_exited(s);
}

/* One of the signs. May come after the decision, too. */
static void sign(struct uvm__qemu_system *s) {
    if (s->state == UVM__QEMU_ENDED) {
        return;
    }
    if (s->qmp_ended && s->facts.exited) {
        uvm__qemu_decide(s);
    } else if (!s->end_begun) {
        s->end_begun = true;
        uvm__deadline_set(s->engine, &s->decide_at, uvm__now_ms(s->engine) + UVM__EXIT_CLASSIFY_MS);
    }
}

static void on_decide_at(struct uvm__deadline *d) {
    struct uvm__qemu_system *s = UVM__CONTAINER_OF(d, struct uvm__qemu_system, decide_at);
    kill_now(s);
    uvm__qemu_decide(s);
}

static void on_stuck_at(struct uvm__deadline *d) {
    struct uvm__qemu_system *s = UVM__CONTAINER_OF(d, struct uvm__qemu_system, stuck_at);
    s->facts.stuck = (int)s->pid;
    uvm__qemu_decide(s);
}

static void on_kill_at(struct uvm__deadline *d) {
    kill_now(UVM__CONTAINER_OF(d, struct uvm__qemu_system, kill_at));
}

void uvm__qemu_end_init(struct uvm__qemu_system *s) {
    s->facts.status = -1;
    uvm__deadline_init(&s->decide_at, on_decide_at);
    uvm__deadline_init(&s->kill_at, on_kill_at);
    uvm__deadline_init(&s->stuck_at, on_stuck_at);
    uvm__list_init(&s->end_waiters);
}

static void keep_why(struct uvm__qemu_system *s, const uvm_error *err) {
    if (s->end_why == NULL && err != NULL) {
        s->end_why = uvm_error_ref(err);
        uvm__log(s->engine, UVM_LOG_WARN, s->name, "%s", uvm_error_message(err));
    }
}

void uvm__qemu_on_exit(struct uvm__child *c, int status, void *arg) {
    struct uvm__qemu_system *s = arg;

    (void)c;
    s->facts.exited = true;
    s->facts.status = status;
    uvm__deadline_clear(s->engine, &s->kill_at);
    if (s->qmp == NULL) {
        s->qmp_ended = true; /* it was never opened */
    }
    sign(s);
}

void uvm__qemu_on_qmp_end(struct uvm__qmp *q, const uvm_error *err, void *arg) {
    struct uvm__qemu_system *s = arg;

    (void)q;
    s->qmp_ended = true;
    if (err != NULL) {
        keep_why(s, err);
        kill_now(s); /* a VMM that speaks garbage is nobody to go on with */
    }
    sign(s);
}

void uvm__qemu_on_vsock_end(struct uvm__vsock_device *d, const uvm_error *err, void *arg) {
    struct uvm__qemu_system *s = arg;

    (void)d;
    if (err != NULL) {
        keep_why(s, err);
        s->facts.hvsock_broken = true;
        kill_now(s); /* the device is stopped: nobody can talk to this guest any more */
    }
    sign(s);
}

/* The answer to `quit` says nothing that the end itself does not say. */
static void on_quit_reply(struct uvm__call *call, const void *reply, const uvm_error *err) {
    (void)call;
    (void)reply;
    (void)err;
}

void uvm__qemu_end(struct uvm__qemu_system *s, struct uvm__call *call, uvm_op *op) {
    uvm__exit_on_terminate(&s->facts);
    if (s->kill_sent || s->facts.exited || s->kill_at.linked) {
        return;
    }
    if (s->qmp != NULL && uvm__qmp_ready(s->qmp) &&
        uvm__qmp_call(s->qmp, call, op, "quit", NULL, NULL, 0, on_quit_reply) == 0) {
        uvm__deadline_set(s->engine, &s->kill_at, uvm__now_ms(s->engine) + UVM__CHILD_ASK_MS);
        return;
    }
    kill_now(s);
}

void uvm__qemu_end_wait(struct uvm__qemu_system *s, struct uvm__end_wait *w) {
    UVM_ASSERT(s->state != UVM__QEMU_ENDED);
    uvm__list_append(&s->end_waiters, &w->link);
}

void uvm__qemu_end_forget(struct uvm__end_wait *w) {
    uvm__list_remove(&w->link);
}

/* ---- words -------------------------------------------------------------------------------- */

static size_t put(char *buf, size_t bytes, size_t len, const char *text) {
    int n = len < bytes ? snprintf(buf + len, bytes - len, "%s", text) : 0;
    return n < 0 ? len : len + (size_t)n < bytes ? len + (size_t)n : bytes - 1;
}

void uvm__qemu_end_text(struct uvm__qemu_system *s, char *buf, size_t bytes) {
    size_t len;

    uvm__exit_text(&s->facts, buf, bytes);
    len = strlen(buf);
    if (s->end_why != NULL) {
        len = put(buf, bytes, len, "\n");
        len = put(buf, bytes, len, uvm_error_message(s->end_why));
    }
    if (s->child != NULL && len + 2 < bytes) {
        len = put(buf, bytes, len, "\n");
        size_t n = uvm__child_stderr(s->child, buf + len, bytes - len);
        buf[n == 0 ? len - 1 : len + n] = '\0';
    }
}

uvm_error *uvm__qemu_end_error(struct uvm__qemu_system *s, const char *what) {
    /* Static room would be shared by systems; the stack has it: two bounded tails. */
    char text[UVM__VMM_STDERR_BYTES + UVM__CONSOLE_TAIL_BYTES + 512];
    uvm_error *err = uvm__error(s->engine, UVM_E_EXITED, 0, "vm %s: %s: %s", s->name, what,
                                uvm__hcs_exit_text(s->exit));

    uvm__qemu_end_text(s, text, UVM__VMM_STDERR_BYTES + 256);
    size_t len = strlen(text);
    if (s->console != NULL && uvm__console_bytes(s->console) > 0) {
        len = put(text, sizeof text, len, "\nconsole:\n");
        len += uvm__console_tail(s->console, text + len, sizeof text - len);
    }
    err = uvm__error_detail(err, text, len);
    return s->end_why == NULL ? err : uvm__error_cause(err, uvm_error_ref(s->end_why));
}
