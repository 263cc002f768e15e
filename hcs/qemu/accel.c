/* SPDX-License-Identifier: MIT
 * accel.c — auto, kvm or tcg: the cheap questions first, the probe VM last, the answer once.
 *
 * The probe is one op whoever asks; several creates wait for the same answer.
 */
#include "hcs/qemu/accel.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "async/check.h"
#include "async/engine.h"
#include "async/log.h"
#include "hcs/qemu/host.h"
#include "hcs/qemu/probe.h"

/* ---- answer ------------------------------------------------------------------------------- */

static void tell(struct uvm__ready *r) {
    struct uvm__accel *a = UVM__CONTAINER_OF(r, struct uvm__accel, tell);

    while (!uvm__list_empty(&a->waiters)) {
        struct uvm__accel_wait *w =
            UVM__CONTAINER_OF(a->waiters.next, struct uvm__accel_wait, link);
        uvm__list_remove(&w->link);
        w->fn(w);
    }
    a->telling = false;
}

bool uvm__accel_verdict(enum uvm_error_code code) {
    return code == UVM_OK || code == UVM_E_HOST || code == UVM_E_PROTOCOL;
}

static void answer(struct uvm__accel *a, bool keep, bool kvm, const char *reason) {
    a->known = keep;
    a->telling = true;
    a->answer.kvm = kvm;
    snprintf(a->answer.reason, sizeof a->answer.reason, "%s", reason);
    uvm__log(a->engine, UVM_LOG_INFO, "", "accelerator: %s (%s)", kvm ? "kvm" : "tcg",
             a->answer.reason);
    uvm__ready_push(a->engine, &a->tell);
}

/* The last line that QEMU said, for the reason. */
static const char *last_line(const char *text, char *buf, size_t bytes) {
    size_t end = strlen(text);

    while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == '\r')) {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && text[begin - 1] != '\n') {
        begin--;
    }
    snprintf(buf, bytes, "%.*s", (int)(end - begin), text + begin);
    return buf;
}

static void on_probed(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__accel *a = arg;
    char reason[UVM__ACCEL_REASON_BYTES], line[100];

    (void)op;
    a->probe = uvm_op_unref(a->probe);
    if (err == NULL) {
        snprintf(reason, sizeof reason, "a probe VM ran");
    } else if (uvm_error_code(err) == UVM_E_TIMEDOUT) {
        snprintf(reason, sizeof reason, "a probe VM ran no guest code within one second");
    } else {
        last_line(uvm_error_detail(err), line, sizeof line);
        snprintf(reason, sizeof reason, "%.90s%s%s", uvm_error_message(err),
                 line[0] == '\0' ? "" : "; ", line);
    }
    if (a->on_idle != NULL) {
        a->on_idle(a); /* nobody asks any more */
        return;
    }
    bool keep = uvm__accel_verdict(err == NULL ? UVM_OK : uvm_error_code(err));
    answer(a, keep, err == NULL, reason);
    if (keep && a->cache_dir != NULL) {
        uvm__accel_cache_write(a->cache_dir, a->probed_path, &a->answer);
    }
}

void uvm__accel_init(struct uvm__accel *a, uvm_engine *e) {
    a->engine = e;
    uvm__list_init(&a->waiters);
    uvm__ready_init(&a->tell, tell);
}

static void begin(struct uvm__accel *a, const char *qemu_path) {
    char reason[UVM__ACCEL_REASON_BYTES];
    bool dropped = a->drop == UVM_QEMU_DROP_AUTO && geteuid() == 0, lasting = true;

    if (a->option == UVM_QEMU_ACCEL_TCG) {
        answer(a, true, false, "asked for");
        return;
    }
    if (!uvm__host_kvm(dropped, &a->answer.kvm_gid, &lasting, reason, sizeof reason)) {
        answer(a, lasting, false, reason);
        return;
    }
    if (a->cache_dir != NULL && uvm__accel_cache_read(a->cache_dir, qemu_path, &a->answer)) {
        snprintf(reason, sizeof reason, "%s", a->answer.reason);
        answer(a, true, a->answer.kvm, reason);
        return;
    }
    snprintf(a->probed_path, sizeof a->probed_path, "%s", qemu_path);
    const struct uvm__probe_params params = {.qemu_path = qemu_path,
                                             .launch_path = a->launch_path,
                                             .drop = a->drop,
                                             .uid_base = a->uid_base,
                                             .gid = a->answer.kvm_gid,
                                             .kvm = true};
    int rc = uvm__qemu_probe(a->engine, &params, NULL, on_probed, a, &a->probe);
    if (rc < 0) {
        answer(a, false, false, "a probe VM could not be started: out of memory");
    }
}

void uvm__accel_ask(struct uvm__accel *a, const char *qemu_path, struct uvm__accel_wait *w) {
    uvm__list_append(&a->waiters, &w->link);
    if (a->known) {
        a->telling = true;
        uvm__ready_push(a->engine, &a->tell);
    } else if (a->probe == NULL && !a->telling) {
        begin(a, qemu_path);
    }
}

void uvm__accel_forget(struct uvm__accel *a, struct uvm__accel_wait *w) {
    (void)a;
    uvm__list_remove(&w->link);
}

bool uvm__accel_idle(struct uvm__accel *a, void (*on_idle)(struct uvm__accel *a)) {
    UVM_ASSERT(uvm__list_empty(&a->waiters));
    uvm__ready_cancel(a->engine, &a->tell);
    if (a->probe == NULL) {
        return true;
    }
    a->on_idle = on_idle;
    uvm_op_cancel(a->probe);
    return false;
}
