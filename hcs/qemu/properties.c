/* SPDX-License-Identifier: MIT
 * properties.c — what a system tells of itself: the fields of HCS (hcsshim's
 * internal/hcs/schema1/schema1.go) and, under "Vmm", what only this service knows, for `inspect` and for
 * errors that people report.
 */
#include "hcs/qemu/qemu_int.h"

#include <string.h>

#include "async/alloc.h"
#include "async/json.h"
#include "hcs/qemu/resource.h"
#include "hcs/qemu/statistics.h"

static const char *const state_names[UVM__QEMU_STATE_MAX] = {
    [UVM__QEMU_CREATING] = "Creating", [UVM__QEMU_CREATED] = "Created",
    [UVM__QEMU_RUNNING] = "Running",   [UVM__QEMU_PAUSED] = "Paused",
    [UVM__QEMU_ENDED] = "Stopped",
};

/* Collects failures of cJSON's constructors: no memory is the only one. */
struct writer {
    bool failed;
};

static void add_string(struct writer *w, cJSON *to, const char *key, const char *text) {
    w->failed |= to == NULL || cJSON_AddStringToObject(to, key, text == NULL ? "" : text) == NULL;
}

static void add_u64(struct writer *w, cJSON *to, const char *key, uint64_t value) {
    w->failed |= to == NULL || uvm__json_add_u64(to, key, value) == NULL;
}

static void add_bool(struct writer *w, cJSON *to, const char *key, bool value) {
    w->failed |= to == NULL || cJSON_AddBoolToObject(to, key, value) == NULL;
}

static cJSON *add_object(struct writer *w, cJSON *to, const char *key) {
    cJSON *object = to == NULL ? NULL : cJSON_AddObjectToObject(to, key);
    w->failed |= object == NULL;
    return object;
}

/* Milliseconds since the VMM was spawned; absent when it has not happened. */
static void add_time(struct writer *w, cJSON *to, const char *key,
                     const struct uvm__qemu_times *times, uint64_t at_us) {
    if (at_us != 0 && times->spawn_us != 0) {
        add_u64(w, to, key, (at_us - times->spawn_us) / 1000);
    }
}

static void add_times(struct writer *w, cJSON *to, const struct uvm__qemu_times *t) {
    cJSON *times = add_object(w, to, "TimesMs");

    add_time(w, times, "Qmp", t, t->qmp_us);
    add_time(w, times, "HvSocket", t, t->hvsock_us);
    add_time(w, times, "Created", t, t->created_us);
    add_time(w, times, "Started", t, t->started_us);
    add_time(w, times, "Ended", t, t->ended_us);
}

static void add_command_line(struct writer *w, cJSON *to, const struct uvm__argv *argv) {
    cJSON *list = to == NULL ? NULL : cJSON_AddArrayToObject(to, "CommandLine");

    w->failed |= list == NULL;
    for (size_t i = 0; list != NULL && i < argv->count; i++) {
        cJSON *text = cJSON_CreateString(argv->args[i]);
        if (text == NULL || !cJSON_AddItemToArray(list, text)) {
            cJSON_Delete(text);
            w->failed = true;
        }
    }
}

static void add_hvsock(struct writer *w, cJSON *to, const struct uvm__qemu_system *s) {
    struct uvm__vsock_stats stats;

    if (s->vsock == NULL) {
        return;
    }
    uvm__vsock_device_stats(s->vsock, &stats);
    cJSON *hvsock = add_object(w, to, "HvSocket");
    add_u64(w, hvsock, "PacketsFromGuest", stats.packets_rx);
    add_u64(w, hvsock, "PacketsToGuest", stats.packets_tx);
    add_u64(w, hvsock, "BytesFromGuest", stats.bytes_rx);
    add_u64(w, hvsock, "BytesToGuest", stats.bytes_tx);
    add_u64(w, hvsock, "Streams", stats.streams);
}

static void add_vmm(struct writer *w, cJSON *root, const struct uvm__qemu_system *s) {
    cJSON *vmm = add_object(w, root, "Vmm");

    add_string(w, vmm, "Service", s->base.service->ops->name);
    add_string(w, vmm, "Program", s->qemu_path);
    add_string(w, vmm, "Version", s->qmp == NULL ? "" : uvm__qmp_version(s->qmp));
    add_string(w, vmm, "Accelerator", s->accel.kvm ? "kvm" : "tcg");
    add_string(w, vmm, "AcceleratorReason", s->accel.reason);
    add_u64(w, vmm, "ProcessId", (uint64_t)s->pid);
    add_u64(w, vmm, "UserId", s->lease.uid);
    add_string(w, vmm, "User", s->lease.note);
    if (s->cgroup.path != NULL) {
        add_string(w, vmm, "Cgroup", s->cgroup.path);
    }
    cJSON *line = add_object(w, vmm, "KernelCmdLine");
    add_string(w, line, "Document", s->doc.vm.chipset.linux_kernel_direct.kernel_cmd_line);
    add_string(w, line, "Effective", s->kernel_line);
    add_command_line(w, vmm, &s->argv);
    add_times(w, vmm, &s->times);
    if (s->console != NULL) {
        cJSON *console = add_object(w, vmm, "Console");
        add_u64(w, console, "Bytes", uvm__console_bytes(s->console));
        add_u64(w, console, "Dropped", uvm__console_dropped(s->console));
    }
    add_hvsock(w, vmm, s);
}

static void add_root(struct writer *w, cJSON *root, struct uvm__qemu_system *s) {
    add_string(w, root, "Id", s->id);
    add_string(w, root, "Name", s->name);
    add_string(w, root, "SystemType", "VirtualMachine");
    add_string(w, root, "RuntimeOsType", "Linux");
    add_string(w, root, "Owner", s->doc.owner);
    add_string(w, root, "RuntimeId", s->id);
    add_string(w, root, "State", state_names[s->state]);
    add_bool(w, root, "Stopped", s->state == UVM__QEMU_ENDED);
    if (s->state == UVM__QEMU_ENDED) {
        char detail[UVM__VMM_STDERR_BYTES + 256];
        uvm__qemu_end_text(s, detail, sizeof detail);
        add_string(w, root, "ExitType", uvm__hcs_exit_text(s->exit));
        add_string(w, root, "ExitDetail", detail);
    }
    add_u64(w, root, "MemorySizeInMB", s->doc.vm.topology.memory.size_in_mb);
    add_u64(w, root, "ProcessorCount", s->doc.vm.topology.processor.count);
    w->failed |= !uvm__qemu_add_statistics(s, root);
    w->failed |= !uvm__resource_describe(s, root);
    add_vmm(w, root, s);
}

const char *uvm__qemu_properties(struct uvm__hcs_system *base) {
    struct uvm__qemu_system *s = uvm__qemu_system_of(base);
    struct writer w = {.failed = false};
    cJSON *root = cJSON_CreateObject();
    char *text = NULL;

    if (root != NULL) {
        add_root(&w, root, s);
        text = w.failed ? NULL : uvm__json_print(s->engine, root, NULL);
    }
    cJSON_Delete(root);
    if (text != NULL) {
        uvm__free(s->engine, s->properties);
        s->properties = text;
    }
    return text;
}
