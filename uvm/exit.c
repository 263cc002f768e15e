/* SPDX-License-Identifier: MIT
 * exit.c — the end of a VM: why it ended, who hears of it, and what an error about it says.
 *
 * Signs of an end come in any order: the bridge breaks, the service says EXITED. The service's word
 * decides, since it has seen the VMM go; a bridge that broke gets UVM__AGENT_LOST_MS for that word, then
 * the VM is terminated because its agent is lost. Whoever failed with a lost connection waits here for the
 * decision, so that the error says what happened to the VM and not what happened to a socket.
 * While the VM starts, its boot alone hears of the end (boot.c): it undoes itself.
 */
#include "async/cleanup.h"
#include "async/mark.h"
#include "uvm/vm_int.h"
#include <stdio.h>
#include <string.h>

#define SHOWN_BYTES 4096u /* of console and log in an error */

UVM_STATIC_ASSERT(UVM__AGENT_LOST_MS < UVM__UNDO_MS,
                  "an undo that the lost agent cannot answer is settled by the VM's end");

/* ---- the reason --------------------------------------------------------------------------- */

static enum uvm_exit_reason reason_of(const uvm_vm *vm) {
    switch (vm->cause) {
    case UVM__HCS_EXIT_GUEST_SHUTDOWN:
        return UVM_EXIT_GUEST_SHUTDOWN;
    case UVM__HCS_EXIT_GUEST_RESET:
        return UVM_EXIT_GUEST_RESET;
    case UVM__HCS_EXIT_GUEST_PANIC:
        return UVM_EXIT_GUEST_PANIC;
    case UVM__HCS_EXIT_TERMINATED:
        return vm->agent_lost ? UVM_EXIT_AGENT_LOST : UVM_EXIT_TERMINATED;
    case UVM__HCS_EXIT_STUCK:
        return UVM_EXIT_VMM_STUCK;
    case UVM__HCS_EXIT_NONE:
    case UVM__HCS_EXIT_VMM_DIED:
        break;
    }
    return UVM_EXIT_VMM_DIED;
}

/* The line in which a Linux kernel says why it panicked, as far as the console's tail has it. */
static bool find_panic(const char *console, char *ret, size_t bytes) {
    static const char mark[] = "Kernel panic - not syncing: ";
    const char *found = NULL;
    for (const char *p = console; (p = strstr(p, mark)) != NULL; p += sizeof mark - 1) {
        found = found == NULL ? p : found; /* the first one is the cause of any other */
    }
    if (found == NULL) {
        return false;
    }
    found += sizeof mark - 1;
    size_t n = 0;
    while (n + 1 < bytes && (unsigned char)found[n] >= 0x20 && found[n] != 0x7f) {
        ret[n] = found[n];
        n++;
    }
    ret[n] = 0;
    return n > 0;
}

static void note_detail(uvm_vm *vm, const char *detail) {
    char panic[200];
    if (vm->cause == UVM__HCS_EXIT_TERMINATED) {
        if (!vm->agent_lost) { /* else the bridge's words are there already */
            uvm__free(vm->engine, UVM_TAKE_PTR(vm->exit_detail));
        }
        return;
    }
    if (vm->cause == UVM__HCS_EXIT_GUEST_PANIC || vm->cause == UVM__HCS_EXIT_GUEST_RESET) {
        char *text = uvm__alloc(vm->engine, UVM__CONSOLE_TAIL_BYTES + 1);
        if (text != NULL) {
            (void)uvm__tail_read(&vm->console, text, UVM__CONSOLE_TAIL_BYTES + 1);
            if (find_panic(text, panic, sizeof panic)) {
                detail = panic;
                vm->cause = UVM__HCS_EXIT_GUEST_PANIC; /* also where nothing reported it */
            }
            uvm__free(vm->engine, text);
        }
    }
    uvm__free(vm->engine, vm->exit_detail);
    vm->exit_detail = detail[0] == 0 ? NULL : uvm__strdup(vm->engine, detail);
}

/* ---- errors ------------------------------------------------------------------------------- */

void uvm__vm_exit_text(const uvm_vm *vm, char ret[UVM__EXIT_TEXT_BYTES]) {
    const char *detail = vm->exit_detail == NULL ? "" : vm->exit_detail;
    (void)snprintf(ret, UVM__EXIT_TEXT_BYTES, "%s%s%.*s", uvm_exit_reason_text(vm->exit),
                   detail[0] == 0 ? "" : ": ", (int)strcspn(detail, "\n"), detail);
}

uvm_error *uvm__vm_exit_error(uvm_vm *vm) {
    UVM_ASSERT(vm->exit != UVM_EXIT_NONE);
    char text[UVM__EXIT_TEXT_BYTES];
    uvm__vm_exit_text(vm, text);
    uvm_error *err = uvm__error(vm->engine, UVM_E_EXITED, 0, "%s: %s", vm->options.name, text);
    const char *rest = vm->exit_detail == NULL ? NULL : strchr(vm->exit_detail, '\n');
    return rest == NULL ? err : uvm__error_detail(err, rest + 1, strlen(rest + 1));
}

static void add_part(struct uvm__buf *b, const char *title, const char *text, size_t len) {
    if (len == 0) {
        return;
    }
    /* Whole lines, and none when memory is short: a detail is a courtesy. */
    (void)uvm__buf_printf(b, "%s:\n", title);
    (void)uvm__buf_append(b, text, len);
    if (text[len - 1] != '\n') {
        (void)uvm__buf_puts(b, "\n");
    }
}

/* The newest whole lines of a tail. */
static void add_tail(struct uvm__buf *b, const char *title, const struct uvm__tail *t,
                     char *scratch) {
    size_t len = uvm__tail_read(t, scratch, SHOWN_BYTES + 1);
    char *text = scratch;
    char *newline = len == SHOWN_BYTES ? memchr(text, '\n', len) : NULL;
    if (newline != NULL && newline + 1 < text + len) {
        len -= (size_t)(newline + 1 - text);
        text = newline + 1;
    }
    add_part(b, title, text, len);
}

uvm_error *uvm__vm_exit_remember(uvm_vm *vm, uvm_error *take_err) {
    char *scratch = uvm__alloc(vm->engine, SHOWN_BYTES + 1);
    if (scratch == NULL) {
        return take_err;
    }
    struct uvm__buf b;
    uvm__buf_init(&b, vm->engine, (size_t)4 * SHOWN_BYTES);
    const char *said = uvm_error_detail(take_err);
    add_part(&b, "details", said, strlen(said) < SHOWN_BYTES ? strlen(said) : SHOWN_BYTES);
    add_tail(&b, "guest console, last lines", &vm->console, scratch);
    add_tail(&b, "agent log, last lines", &vm->log.tail, scratch);
    add_part(&b, "events", scratch, uvm__ring_print(&vm->ring, scratch, SHOWN_BYTES + 1));
    if (b.len > 0) {
        take_err = uvm__error_detail(take_err, (const char *)b.data, b.len);
    }
    uvm__buf_deinit(&b);
    uvm__free(vm->engine, scratch);
    return take_err;
}

/* ---- the end ------------------------------------------------------------------------------ */

/* Everything that needs the guest fails with the reason; everything that waits for the end is woken. */
static void tell_everybody(uvm_vm *vm) {
    uvm_error *why = uvm__vm_exit_error(vm);
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &vm->ops) {
        struct uvm__vm_op *o = UVM__CONTAINER_OF(it, struct uvm__vm_op, link);
        if (o->needs_guest) {
            uvm__scope_fail(uvm__op_scope(o->op), UVM__VM_EXITED, why);
        }
    }
    uvm__scope_fail(&vm->undo_root, UVM__VM_EXITED, why);
    uvm_error_unref(why);
    struct uvm__list waiters;
    uvm__list_init(&waiters);
    uvm__list_splice(&waiters, &vm->exit_waiters);
    while (!uvm__list_empty(&waiters)) {
        struct uvm__vm_exit_waiter *w =
            UVM__CONTAINER_OF(waiters.next, struct uvm__vm_exit_waiter, link);
        uvm__list_remove(&w->link);
        w->fn(w);
    }
}

void uvm__vm_exit_settle(uvm_vm *vm) {
    UVM_ASSERT(vm->vmm_ended && vm->state != UVM_VM_STARTING && vm->exit == UVM_EXIT_NONE);
    uvm__deadline_clear(vm->engine, &vm->lost_timer);
    vm->exit = reason_of(vm);
    uvm__vm_happened(vm, vm->cause == UVM__HCS_EXIT_STUCK ? UVM__EV_STUCK : UVM__EV_EXITED);
    char text[UVM__EXIT_TEXT_BYTES];
    uvm__vm_exit_text(vm, text);
    uvm__log(vm->engine, UVM_LOG_INFO, vm->options.name, "ended: %s", text);
    tell_everybody(vm);
    uvm__vm_hang_up(vm);
}

void uvm__vm_exit_on_vmm_end(uvm_vm *vm, enum uvm__hcs_exit cause, int status, const char *detail) {
    UVM_ASSERT(!vm->vmm_ended);
    vm->vmm_status = status;
    vm->vmm_ended = true;
    vm->cause = cause;
    note_detail(vm, detail);
    uvm__ring_note(vm->engine, &vm->ring, "VMM ended: %s", uvm__hcs_exit_text(vm->cause));
    if (vm->state == UVM_VM_STARTING) {
        vm->exit = reason_of(vm); /* for the boot's error; it is taken back with the boot */
        uvm__boot_on_vmm_end(vm);
    } else if (vm->state != UVM_VM_FAILED) {
        uvm__vm_exit_settle(vm);
    }
}

/* ---- a lost agent ------------------------------------------------------------------------- */

static void on_lost_timer(struct uvm__deadline *d) {
    uvm_vm *vm = UVM__CONTAINER_OF(d, uvm_vm, lost_timer);
    UVM_ASSERT(!vm->vmm_ended && vm->system != NULL);
    int rc = uvm__hcs_terminate(vm->system, uvm__engine_root(vm->engine), NULL, NULL, NULL);
    if (rc == -UVM_E_NOMEM) {
        uvm__deadline_set(vm->engine, d, uvm__now_ms(vm->engine) + UVM__MEMORY_RETRY_MS);
        return;
    }
    UVM__MARK(exit_agent_lost);
    vm->agent_lost = true;
    uvm__ring_note(vm->engine, &vm->ring, "agent lost: the VM is terminated");
    uvm__log(vm->engine, UVM_LOG_WARN, vm->options.name,
             "the agent is gone and the guest goes on without it: terminated");
}

void uvm__vm_exit_on_bridge_lost(uvm_vm *vm, const uvm_error *err) {
    const uvm_error *cause = uvm_error_cause(err) == NULL ? err : uvm_error_cause(err);
    uvm__ring_note(vm->engine, &vm->ring, "bridge lost: %s", uvm_error_message(cause));
    if (vm->state != UVM_VM_RUNNING && vm->state != UVM_VM_PAUSED) {
        return; /* boot and stop know how to wait */
    }
    uvm__free(vm->engine, vm->exit_detail);
    vm->exit_detail = uvm__strdup(vm->engine, uvm_error_message(cause));
    uvm__deadline_set(vm->engine, &vm->lost_timer, uvm__now_ms(vm->engine) + UVM__AGENT_LOST_MS);
}

/* ---- waiting ------------------------------------------------------------------------------ */

void uvm__vm_exit_init(uvm_vm *vm) {
    uvm__list_init(&vm->exit_waiters);
    uvm__deadline_init(&vm->lost_timer, on_lost_timer);
}

void uvm__vm_exit_wait(uvm_vm *vm, struct uvm__vm_exit_waiter *w,
                       void (*fn)(struct uvm__vm_exit_waiter *w)) {
    UVM_ASSERT(!uvm__vm_has_ended(vm));
    w->fn = fn;
    uvm__list_init(&w->link);
    uvm__list_append(&vm->exit_waiters, &w->link);
}

void uvm__vm_exit_unwait(struct uvm__vm_exit_waiter *w) {
    uvm__list_remove(&w->link);
}

/* ---- failing ------------------------------------------------------------------------------ */

void uvm__vm_failing_init(struct uvm__vm_failing *f, struct uvm__vm_op *o) {
    *f = (struct uvm__vm_failing){.o = o};
    uvm__list_init(&f->vm_end.link);
}

void uvm__vm_failing_deinit(struct uvm__vm_failing *f) {
    UVM_ASSERT(!uvm__list_linked(&f->vm_end.link));
    uvm_error_unref(UVM_TAKE_PTR(f->failed));
}

static void on_vm_end(struct uvm__vm_exit_waiter *w) {
    struct uvm__vm_failing *f = UVM__CONTAINER_OF(w, struct uvm__vm_failing, vm_end);
    UVM__MARK(exit_decides);
    uvm_error_unref(UVM_TAKE_PTR(f->failed));
    uvm__step_done(f->o->op, uvm__vm_exit_error(f->o->vm));
}

void uvm__vm_fail_step(struct uvm__vm_failing *f, uvm_error *take_err) {
    uvm_vm *vm = f->o->vm;
    if (uvm_error_code(take_err) != UVM_E_CLOSED) {
        uvm__step_done(f->o->op, take_err);
    } else if (uvm__vm_has_ended(vm)) {
        UVM__MARK(exit_known);
        uvm_error_unref(take_err);
        uvm__step_done(f->o->op, uvm__vm_exit_error(vm));
    } else {
        f->failed = take_err;
        uvm__vm_exit_wait(vm, &f->vm_end, on_vm_end);
    }
}

void uvm__vm_failing_cancel(struct uvm__vm_failing *f) {
    if (f->failed != NULL) {
        UVM__MARK(exit_given_up);
        uvm__vm_exit_unwait(&f->vm_end);
        uvm__step_done(f->o->op, UVM_TAKE_PTR(f->failed));
    }
}
