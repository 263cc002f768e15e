/* SPDX-License-Identifier: MIT
 * props.c — what a VM tells of itself, as JSON: our part, and the service's own words beside it.
 *
 * The service's object is passed on as it is under `service`, since what it knows
 * differs from platform to platform; only the accelerator is lifted out, because every list shows it.
 */
#include "async/json.h"
#include "uvm/control_int.h"
#include <stdio.h>
#include <string.h>

static cJSON *read_service(uvm_vm *vm) {
    const char *text = vm->system == NULL ? NULL : uvm__hcs_properties(vm->system);
    cJSON *tree = NULL;
    struct uvm__fail f;
    if (text == NULL || uvm__json_read(UVM__JSON_STRICT, text, strlen(text), &tree, &f) < 0) {
        return NULL;
    }
    return tree;
}

const char *uvm_vm_accel(uvm_vm *vm) {
    if (vm->accel[0] == 0) {
        cJSON *tree = read_service(vm);
        const cJSON *vmm = tree == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, tree, "Vmm");
        const char *text =
            vmm == NULL ? NULL
                        : uvm__json_string(uvm__json_get(UVM__JSON_STRICT, vmm, "Accelerator"));
        (void)snprintf(vm->accel, sizeof vm->accel, "%s", text == NULL ? "" : text);
        cJSON_Delete(tree);
    }
    return vm->accel;
}

/* 0 when the guest shut down, as it should; a VMM that died left a status; else there is none. */
static int exit_code(const uvm_vm *vm) {
    switch (vm->exit) {
    case UVM_EXIT_GUEST_SHUTDOWN:
        return 0;
    case UVM_EXIT_VMM_DIED:
        return vm->vmm_status;
    default:
        return -1;
    }
}

bool uvm__vm_add_exit(cJSON *to, const uvm_vm *vm) {
    if (!uvm__vm_has_ended(vm)) {
        return cJSON_AddNullToObject(to, "exit") != NULL;
    }
    struct uvm_vm_exit exit = uvm_vm_exit(vm);
    int code = exit_code(vm);
    cJSON *o = cJSON_AddObjectToObject(to, "exit");
    return o != NULL &&
           cJSON_AddStringToObject(o, "reason", uvm_exit_reason_key(exit.reason)) != NULL &&
           cJSON_AddStringToObject(o, "text", uvm_exit_reason_text(exit.reason)) != NULL &&
           (code < 0 ? cJSON_AddNullToObject(o, "code") : uvm__json_add_i64(o, "code", code)) !=
               NULL &&
           uvm__control_add_text(o, "detail", exit.detail) != NULL;
}

static bool add_times(cJSON *root, const struct uvm_vm_times *t) {
    cJSON *o = cJSON_AddObjectToObject(root, "times_ms");
    return o != NULL && uvm__json_add_u64(o, "create", t->create) != NULL &&
           uvm__json_add_u64(o, "vmm_start", t->vmm_start) != NULL &&
           uvm__json_add_u64(o, "first_guest_contact", t->first_guest_contact) != NULL &&
           uvm__json_add_u64(o, "negotiated", t->negotiated) != NULL;
}

static bool add_all(cJSON *root, uvm_vm *vm) {
    bool ok = cJSON_AddStringToObject(root, "id", vm->options.id) != NULL &&
              cJSON_AddStringToObject(root, "name", vm->options.name) != NULL &&
              cJSON_AddStringToObject(root, "state", uvm_vm_state_text(vm->state)) != NULL &&
              uvm__vm_add_exit(root, vm) &&
              cJSON_AddStringToObject(root, "accel", uvm_vm_accel(vm)) != NULL &&
              uvm__json_add_u64(root, "cpus", vm->options.cpus) != NULL &&
              uvm__json_add_u64(root, "memory_mb", vm->options.memory_mb) != NULL &&
              add_times(root, &vm->times);
    cJSON *devices = uvm__devices_json(&vm->devices);
    if (devices == NULL || !cJSON_AddItemToObject(root, "devices", devices)) {
        cJSON_Delete(devices);
        return false;
    }
    cJSON *service = read_service(vm);
    if (service == NULL) {
        service = cJSON_CreateNull();
    }
    if (!cJSON_AddItemToObject(root, "service", service)) {
        cJSON_Delete(service);
        return false;
    }
    return ok;
}

const char *uvm_vm_properties(uvm_vm *vm) {
    cJSON *root = cJSON_CreateObject();
    char *text = NULL;
    if (root != NULL && add_all(root, vm)) {
        text = uvm__json_print(vm->engine, root, NULL);
    }
    cJSON_Delete(root);
    if (text != NULL) {
        uvm__free(vm->engine, vm->properties);
        vm->properties = text;
    }
    return text;
}
