/* SPDX-License-Identifier: MIT
 * explain.c — a boot that failed, in words for people: what happened, what did not come, where to look.
 *
 * An operation knows that it waited, or that it was cut off; how far the boot had come says what that
 * means. The error that comes of it keeps code, step and cause of the operation's own, and carries what is
 * remembered of the VM (console, log, events) as its detail.
 */
#include "uvm/vm_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LITTLE_MEMORY_MB 128u /* below it, memory is named among the causes */

static const char *const awaited[] = {
    [UVM__STAGE_CREATE] = "the virtual machine monitor was not ready",
    [UVM__STAGE_START] = "the virtual machine monitor did not start the guest",
    [UVM__STAGE_CONTACT] = "the guest did not call in: its kernel or /init is slow, or hangs; "
                           "see its console",
    [UVM__STAGE_AGENT] = "the guest's agent did not call in, /init did: the agent is not there, or "
                         "hangs; see its log",
    [UVM__STAGE_NEGOTIATE] = "the guest's agent called in and then said nothing",
    [UVM__STAGE_MOUNT] = "the guest did not say that it has mounted the disks",
    [UVM__STAGE_DONE] = "",
};

static const char *const ended[] = {
    [UVM__STAGE_CREATE] = "",
    [UVM__STAGE_START] = "",
    [UVM__STAGE_CONTACT] = "; check that kernel and initrd belong together",
    [UVM__STAGE_AGENT] = "; /init ran, so look at the agent in the initrd",
    [UVM__STAGE_NEGOTIATE] = "; its agent had called in",
    [UVM__STAGE_MOUNT] = "; its agent was to mount disks",
    [UVM__STAGE_DONE] = "",
};

/* The last thing that /init complained of before it ended, and the kernel with it; "": it did not. */
static void find_complaint(const char *console, char *ret, size_t bytes) {
    static const char mark[] = "init: ", end[] = "the guest ends";
    ret[0] = 0;
    for (const char *line = console; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *said = line + sizeof mark - 1;
        if (strncmp(line, mark, sizeof mark - 1) != 0 || strncmp(said, end, sizeof end - 1) == 0) {
            continue;
        }
        size_t n = 0;
        while (n + 1 < bytes && (unsigned char)said[n] >= 0x20 && said[n] != 0x7f) {
            ret[n] = said[n];
            n++;
        }
        ret[n] = 0;
    }
}

/* Where to look, of a guest that ended before it called in: what /init said, else the boot files. */
static void say_where(uvm_vm *vm, char *ret, size_t bytes) {
    char said[160] = "";
    char *text = vm->stage == UVM__STAGE_CONTACT
                     ? uvm__alloc(vm->engine, UVM__CONSOLE_TAIL_BYTES + 1)
                     : NULL;
    if (text != NULL) {
        (void)uvm__tail_read(&vm->console, text, UVM__CONSOLE_TAIL_BYTES + 1);
        find_complaint(text, said, sizeof said);
        uvm__free(vm->engine, text);
    }
    (void)snprintf(ret, bytes, "%s%s", said[0] != 0 ? "; its /init said: " : ended[vm->stage],
                   said);
}

static uvm_error *say_ended(uvm_vm *vm) {
    bool guest = vm->exit == UVM_EXIT_GUEST_PANIC || vm->exit == UVM_EXIT_GUEST_RESET ||
                 vm->exit == UVM_EXIT_GUEST_SHUTDOWN;
    char text[UVM__EXIT_TEXT_BYTES];
    char memory[48] = "", where[256] = "";
    uvm__vm_exit_text(vm, text);
    if (guest && vm->options.memory_mb < LITTLE_MEMORY_MB) {
        (void)snprintf(memory, sizeof memory, "; %" PRIu64 " MB of memory may be too little",
                       vm->options.memory_mb);
    }
    if (guest) {
        say_where(vm, where, sizeof where);
    }
    return uvm__error(vm->engine, UVM_E_EXITED, 0, "%s: while it booted %s%s%s", vm->options.name,
                      text, where, memory);
}

static const char *without_name(const uvm_vm *vm, const char *message) {
    size_t len = strlen(vm->options.name);
    bool begins = strncmp(message, vm->options.name, len) == 0 && message[len] == ':' &&
                  message[len + 1] == ' ';
    return begins ? message + len + 2 : message;
}

/* A message names the VM, once. */
static uvm_error *named(uvm_vm *vm, const uvm_error *err) {
    const char *name = vm->options.name;
    if (strstr(uvm_error_message(err), name) != NULL) {
        return uvm_error_ref(err);
    }
    return uvm__error(vm->engine, uvm_error_code(err), uvm_error_sys(err), "%s: %s", name,
                      uvm_error_message(err));
}

/* What did not come, where the operation only knows that it waited or was cut off. */
static uvm_error *what_happened(uvm_vm *vm, const uvm_error *err) {
    enum uvm_error_code code = uvm_error_code(err);
    const uvm_error *cause = uvm_error_cause(err) == NULL ? err : uvm_error_cause(err);
    switch (code) {
    case UVM_E_TIMEDOUT:
        return uvm__error(vm->engine, code, 0, "%s: within %.1f s %s", vm->options.name,
                          (double)(uvm__now_ms(vm->engine) - vm->boot_ms) / 1000.0,
                          awaited[vm->stage]);
    case UVM_E_EXITED:
        return vm->vmm_ended ? say_ended(vm) : uvm_error_ref(err);
    case UVM_E_CLOSED:
    case UVM_E_PROTOCOL:
    case UVM_E_PEER:
    case UVM_E_UNSUPPORTED:
        if (vm->stage == UVM__STAGE_NEGOTIATE) {
            return uvm__error(vm->engine, code, uvm_error_sys(err),
                              "%s: no agreement with the guest's agent: %s; is it one for this "
                              "engine?",
                              vm->options.name, without_name(vm, uvm_error_message(cause)));
        }
        return named(vm, err);
    default:
        return named(vm, err);
    }
}

uvm_error *uvm__vm_boot_explain(uvm_vm *vm, const uvm_error *err) {
    uvm_error *said = what_happened(vm, err);
    if (said != err) {
        said = uvm__error_detail(said, uvm_error_detail(err), strlen(uvm_error_detail(err)));
        said = uvm__error_cause(said, uvm_error_ref(err));
        said = uvm__error_step(said, uvm_error_step(err));
    }
    return uvm__vm_exit_remember(vm, said);
}
