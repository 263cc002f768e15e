/* SPDX-License-Identifier: MIT
 * statistics.c — what a VM has used, as JSON: the service's counters under names of ours, and each device by the
 * ids of its attachments.
 *
 * The service knows resources, the registry knows attachments; kind and path on the host bring them together. A
 * disk that is mounted twice is one device with two ids; one that is just coming or going has none.
 */
#include "async/json.h"
#include "uvm/vm_int.h"
#include <string.h>

struct ask {
    struct uvm__vm_op base;
    struct uvm__vm_failing failing;
    uvm_op *child; /* the service's */
    char *text;
};

/* ---- the answer --------------------------------------------------------------------------- */

struct name {
    const char *theirs, *ours;
};

/* The kinds of devices that can be told of, and what is told of one. */
static const struct name kinds[] = {
    {"Scsi", "scsi"},
    {"VirtualPMem", "vpmem"},
};
static const struct name counters[] = {
    {"ReadBytes", "read_bytes"},   {"WriteBytes", "write_bytes"},  {"ReadOperations", "reads"},
    {"WriteOperations", "writes"}, {"FlushOperations", "flushes"}, {"MappedBytes", "mapped_bytes"},
};
#define COUNT(table) (sizeof(table) / sizeof(table)[0])

static const cJSON *at(const cJSON *o, const char *key) {
    return o == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, o, key);
}

static uint64_t number(const cJSON *o, const char *key) {
    const cJSON *node = at(o, key);
    uint64_t n = 0;
    if (node != NULL) {
        (void)uvm__json_u64(node, UINT64_MAX, &n);
    }
    return n;
}

static bool text_is(const cJSON *o, const char *key, const char *text) {
    const char *found = uvm__json_string(at(o, key));
    return found != NULL && strcmp(found, text) == 0;
}

static bool add_ids(cJSON *o, const cJSON *attached, const char *kind, const char *path) {
    cJSON *ids = cJSON_AddArrayToObject(o, "ids");
    const cJSON *entry;
    bool ok = ids != NULL;
    cJSON_ArrayForEach(entry, attached) {
        if (ok && text_is(entry, "kind", kind) && text_is(entry, "host_path", path)) {
            cJSON *id = cJSON_CreateString(uvm__json_string(at(entry, "id")));
            ok = id != NULL && cJSON_AddItemToArray(ids, id);
            if (!ok) {
                cJSON_Delete(id);
            }
        }
    }
    return ok;
}

static bool add_device(cJSON *list, const cJSON *resource, const cJSON *attached) {
    const char *kind = NULL, *path = uvm__json_string(at(resource, "Path"));
    for (size_t i = 0; i < COUNT(kinds); i++) {
        kind = text_is(resource, "Kind", kinds[i].theirs) ? kinds[i].ours : kind;
    }
    if (kind == NULL || path == NULL) {
        return true;
    }
    cJSON *o = cJSON_CreateObject();
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    bool ok = cJSON_AddStringToObject(o, "kind", kind) != NULL &&
              add_ids(o, attached, kind, path) &&
              cJSON_AddStringToObject(o, "host_path", path) != NULL;
    for (size_t i = 0; ok && i < COUNT(counters); i++) {
        if (at(resource, counters[i].theirs) != NULL) {
            ok = uvm__json_add_u64(o, counters[i].ours, number(resource, counters[i].theirs)) !=
                 NULL;
        }
    }
    return ok;
}

static bool add_devices(cJSON *root, const cJSON *told, uvm_vm *vm) {
    cJSON *list = cJSON_AddArrayToObject(root, "devices");
    cJSON *attached = uvm__devices_json(&vm->devices);
    const cJSON *resource;
    bool ok = list != NULL && attached != NULL;
    cJSON_ArrayForEach(resource, at(told, "Resources")) {
        ok = ok && add_device(list, resource, attached);
    }
    cJSON_Delete(attached);
    return ok;
}

static bool add_all(cJSON *root, const cJSON *told, uvm_vm *vm) {
    const cJSON *statistics = at(told, "Statistics"), *processor = at(statistics, "Processor");
    const cJSON *used = at(at(told, "Memory"), "UsedBytes");
    bool ok =
        uvm__json_add_u64(root, "at_ms", uvm__wall_ns(vm->engine) / 1000000u) != NULL &&
        uvm__json_add_u64(root, "uptime_ms", number(statistics, "Uptime100ns") / 10000u) != NULL &&
        uvm__json_add_u64(root, "cpus", vm->options.cpus) != NULL;
    cJSON *cpu = ok ? cJSON_AddObjectToObject(root, "cpu") : NULL;
    cJSON *memory = cpu == NULL ? NULL : cJSON_AddObjectToObject(root, "memory");
    return memory != NULL &&
           uvm__json_add_u64(cpu, "total_us", number(processor, "TotalRuntime100ns") / 10u) !=
               NULL &&
           uvm__json_add_u64(cpu, "user_us", number(processor, "RuntimeUser100ns") / 10u) != NULL &&
           uvm__json_add_u64(cpu, "kernel_us", number(processor, "RuntimeKernel100ns") / 10u) !=
               NULL &&
           uvm__json_add_u64(memory, "assigned_bytes", vm->options.memory_mb << 20) != NULL &&
           uvm__json_add_u64(memory, "used_bytes", number(used, "Guest")) != NULL &&
           uvm__json_add_u64(memory, "vpmem_bytes", number(used, "VirtualPMem")) != NULL &&
           uvm__json_add_u64(memory, "vmm_bytes", number(used, "Vmm")) != NULL &&
           add_devices(root, told, vm);
}

static char *answer(uvm_vm *vm, const char *text) {
    cJSON *told = NULL, *root = cJSON_CreateObject();
    struct uvm__fail f;
    char *ret = NULL;
    if (root != NULL && text != NULL &&
        uvm__json_read(UVM__JSON_STRICT, text, strlen(text), &told, &f) == 0 &&
        add_all(root, told, vm)) {
        ret = uvm__json_print(vm->engine, root, NULL);
    }
    cJSON_Delete(told);
    cJSON_Delete(root);
    return ret;
}

/* ---- the operation ------------------------------------------------------------------------ */

static void on_told(uvm_op *child, const uvm_error *err, void *arg) {
    struct ask *x = arg;
    uvm_vm *vm = x->base.vm;
    if (err != NULL) {
        uvm__vm_fail_step(&x->failing, uvm_error_ref(err));
        return;
    }
    x->text = vm->system == NULL ? NULL : answer(vm, uvm__hcs_statistics_result(vm->system, child));
    uvm__step_done(x->base.op, x->text == NULL ? uvm__error_nomem() : NULL);
}

static void ask_run(uvm_op *op, void *state) {
    struct ask *x = state;
    uvm_vm *vm = x->base.vm;
    int rc = vm->system == NULL || vm->system_closing
                 ? -UVM_E_STATE
                 : uvm__hcs_statistics(vm->system, uvm__op_scope(op), on_told, x, &x->child);
    if (rc == -UVM_E_UNSUPPORTED) {
        uvm__step_done(op, uvm__error(vm->engine, UVM_E_UNSUPPORTED, 0,
                                      "%s: its compute service does not tell what VMs use",
                                      vm->options.name));
    } else if (rc == -UVM_E_STATE) {
        uvm__step_done(op, uvm__error(vm->engine, UVM_E_STATE, 0, "%s is %s", vm->options.name,
                                      uvm_vm_state_text(vm->state)));
    } else if (rc < 0) {
        uvm__vm_fail_step(&x->failing, uvm__fail_error(vm->engine, rc, NULL));
    }
}

static void ask_cancel(uvm_op *op, void *state) {
    struct ask *x = state;
    (void)op;
    uvm__vm_failing_cancel(&x->failing);
}

static int init(uvm_op *op, void *state, const void *params) {
    struct ask *x = state;
    (void)op;
    (void)params;
    uvm__vm_failing_init(&x->failing, &x->base);
    return 0;
}

static void deinit(void *state) {
    struct ask *x = state;
    uvm__vm_failing_deinit(&x->failing);
    uvm__free(x->base.vm->engine, x->text);
    uvm_op_unref(x->child);
    uvm__vm_op_deinit(&x->base);
}

static const struct uvm__step steps[] = {{"service", ask_run, ask_cancel, NULL, true}};
static const struct uvm__saga saga = {.name = "vm statistics",
                                      .steps = steps,
                                      .steps_count = 1,
                                      .state_bytes = sizeof(struct ask),
                                      .init = init,
                                      .deinit = deinit};

int uvm_vm_statistics(uvm_vm *vm, uvm_scope *scope, uvm_done_fn on_done, void *arg,
                      uvm_op **ret_op) {
    const struct uvm__vm_op_params p = {&saga, NULL, true, on_done, arg};
    if (vm->system == NULL || uvm__vm_has_ended(vm)) {
        return -UVM_E_STATE;
    }
    return uvm__vm_op_start(vm, scope, &p, NULL, ret_op);
}

const char *uvm_vm_statistics_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &saga);
    const struct ask *x = uvm__op_state(op);
    return uvm__op_succeeded(op) ? x->text : NULL;
}
