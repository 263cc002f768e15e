/* SPDX-License-Identifier: MIT
 * host.c — what a VM has on the host while it lives: system, listeners, the streams behind them.
 *
 * Three ports are listened on: entropy (one stream, once), log and bridge (one live stream each, since an
 * agent may dial again). Nobody listens on the offer port, so a guest that asks is refused at once and
 * takes that as "no offers". What a guest dials is bounded here: a second stream is refused by the
 * listener, a stream that nobody expects is reset.
 */
#include "uvm/vm_int.h"

static uint64_t since_boot(uvm_vm *vm) {
    return uvm__now_ms(vm->engine) - vm->boot_ms;
}

static void note_contact(uvm_vm *vm, const char *what) {
    uvm__ring_note(vm->engine, &vm->ring, "guest dialled: %s", what);
    if (!vm->contacted) {
        vm->contacted = true;
        vm->times.first_guest_contact = since_boot(vm);
    }
}

static void on_entropy(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    uvm_vm *vm = arg;
    (void)l;
    note_contact(vm, "entropy");
    uvm__entropy_feed(&vm->entropy, vm->engine, take_stream);
    uvm__boot_on_contact(vm);
}

static void on_log(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    uvm_vm *vm = arg;
    (void)l;
    note_contact(vm, "log");
    uvm__agent_log_connect(&vm->log, take_stream);
    uvm__boot_on_contact(vm);
}

static void on_bridge(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    uvm_vm *vm = arg;
    (void)l;
    note_contact(vm, "bridge");
    if (vm->agent != NULL || vm->bridge != NULL || vm->state != UVM_VM_STARTING) {
        uvm__stream_reset(take_stream);
        return;
    }
    vm->agent = take_stream;
    uvm__boot_on_contact(vm);
}

int uvm__vm_listen(uvm_vm *vm) {
    const struct {
        struct uvm__listen_params params;
        struct uvm__listener **ret;
    } rows[] = {
        {{UVM__PORT_ENTROPY, true, 1, on_entropy, vm}, &vm->entropy_listener},
        {{UVM__PORT_LOG, false, 1, on_log, vm}, &vm->log_listener},
        {{UVM__PORT_BRIDGE, false, 1, on_bridge, vm}, &vm->bridge_listener},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int rc = uvm__hvsock_listen(vm->system->hvsock, &rows[i].params, rows[i].ret);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static void close_listener(struct uvm__listener **l) {
    if (*l != NULL) {
        uvm__listener_close(*l);
        *l = NULL;
    }
}

void uvm__vm_hang_up(uvm_vm *vm) {
    close_listener(&vm->entropy_listener);
    close_listener(&vm->log_listener);
    close_listener(&vm->bridge_listener);
    uvm__entropy_stop(&vm->entropy);
    uvm__agent_log_hang_up(&vm->log);
    if (vm->agent != NULL) {
        uvm__stream_reset(vm->agent);
        vm->agent = NULL;
    }
    uvm__devices_end(&vm->devices); /* before the bridge goes, which its calls use */
    if (vm->bridge != NULL) {
        uvm__bridge_close(vm->bridge);
        vm->bridge = NULL;
    }
    uvm__deadline_clear(vm->engine, &vm->lost_timer);
}

void uvm__vm_close_system(uvm_vm *vm, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(vm->system != NULL && !vm->system_closing);
    uvm__vm_hang_up(vm);
    vm->system_closing = true;
    uvm__hcs_close(vm->system, on_closed, arg);
}

/* ---- the service's events ----------------------------------------------------------------- */

static void on_paused(uvm_vm *vm, enum uvm__event ev) {
    /* The service says it; a state in which it cannot happen is the service's error, not ours. */
    enum uvm_vm_state next = vm->state;
    if (uvm__state_next(vm->state, ev, &next) < 0) {
        uvm__log(vm->engine, UVM_LOG_WARN, vm->options.name, "the service said \"%s\" while %s",
                 uvm__event_text(ev), uvm_vm_state_text(vm->state));
    }
    uvm__vm_set_state(vm, next);
}

void uvm__vm_on_event(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg) {
    uvm_vm *vm = arg;
    (void)s;
    switch (ev->kind) {
    case UVM__HCS_EVENT_EXITED:
        if (!vm->vmm_ended) {
            uvm__vm_exit_on_vmm_end(vm, ev->exit, ev->status, ev->detail);
        }
        break;
    case UVM__HCS_EVENT_PAUSED:
        on_paused(vm, UVM__EV_PAUSED);
        break;
    case UVM__HCS_EVENT_RESUMED:
        on_paused(vm, UVM__EV_RESUMED);
        break;
    case UVM__HCS_EVENT_RELEASED:
        uvm__ring_note(vm->engine, &vm->ring, "released: %s", ev->resource);
        uvm__devices_released(&vm->devices, ev->resource);
        break;
    case UVM__HCS_EVENT_CONSOLE:
        uvm__tail_write(&vm->console, ev->data, ev->bytes);
        if (vm->control != NULL) {
            uvm__control_on_console(vm->control, ev->data, ev->bytes);
        }
        if (vm->on_console != NULL) {
            vm->on_console(vm, ev->data, ev->bytes, vm->arg);
        }
        break;
    }
}
