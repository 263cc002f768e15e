/* SPDX-License-Identifier: MIT
 * properties.c — what a modelled system tells of itself: the fields that each service has. A disk has no format
 * and no size here, for the model opens no file.
 */
#include "async/json.h"
#include "hcs/sim/sim_int.h"
#include <string.h>

static bool add(cJSON *to, const char *key, const char *text) {
    return cJSON_AddStringToObject(to, key, text) != NULL;
}

static bool add_image(cJSON *o, const struct uvm__sim_disk *d) {
    const struct uvm__modify m = {.kind = d->whole ? UVM__MODIFY_VPMEM : UVM__MODIFY_VPMEM_MAPPING,
                                  .number = d->controller - UVM__SIM_VPMEM,
                                  .offset = d->lun};
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    return uvm__modify_path(&m, path, &f) == 0 && add(o, "Kind", "VirtualPMem") &&
           add(o, "ResourcePath", path) && add(o, "State", "Present") &&
           uvm__json_add_u64(o, "Device", m.number) != NULL &&
           uvm__json_add_u64(o, "Offset", d->lun) != NULL &&
           uvm__json_add_u64(o, "Bytes", d->bytes) != NULL &&
           cJSON_AddBoolToObject(o, "WholeDevice", d->whole) != NULL && add(o, "Path", d->path);
}

static bool add_share(cJSON *o, const struct uvm__sim_disk *d) {
    const struct uvm__modify m = {.kind = UVM__MODIFY_PLAN9, .settings.plan9.name = d->name};
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    return uvm__modify_path(&m, path, &f) == 0 && add(o, "Kind", "Plan9") &&
           add(o, "ResourcePath", path) && add(o, "State", "Present") &&
           uvm__json_add_u64(o, "Port", d->lun) != NULL && add(o, "Path", d->path) &&
           cJSON_AddBoolToObject(o, "ReadOnly", d->read_only) != NULL;
}

static bool add_vsmb(cJSON *o, const struct uvm__sim_disk *d) {
    const struct uvm__modify m = {.kind = UVM__MODIFY_VSMB, .settings.vsmb.name = d->name};
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    return uvm__modify_path(&m, path, &f) == 0 && add(o, "Kind", "VirtualSmb") &&
           add(o, "ResourcePath", path) && add(o, "State", "Present") && add(o, "Name", d->name) &&
           add(o, "Path", d->path) && cJSON_AddBoolToObject(o, "ReadOnly", d->read_only) != NULL;
}

static bool add_function(cJSON *o, const struct uvm__sim_disk *d) {
    struct uvm__modify m = {.kind = UVM__MODIFY_VPCI};
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    memcpy(m.guid, d->name, sizeof m.guid);
    return uvm__modify_path(&m, path, &f) == 0 && add(o, "Kind", "VirtualPci") &&
           add(o, "ResourcePath", path) && add(o, "State", "Present") &&
           add(o, "Function", d->path);
}

static bool add_nic(cJSON *o, const struct uvm__sim_disk *d) {
    struct uvm__modify m = {.kind = UVM__MODIFY_NIC};
    char path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    memcpy(m.guid, d->name, sizeof m.guid - 1);
    return uvm__modify_path(&m, path, &f) == 0 && add(o, "Kind", "NetworkAdapter") &&
           add(o, "ResourcePath", path) && add(o, "State", "Present") &&
           add(o, "JoinedTo", d->path);
}

static bool add_disk(cJSON *list, const struct uvm__sim_system *s, const struct uvm__sim_disk *d) {
    cJSON *o = cJSON_CreateObject();
    char guid[UVM_GUID_TEXT], path[UVM__MODIFY_PATH_BYTES];
    struct uvm__fail f;
    if (o == NULL || !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        return false;
    }
    if (d->controller == UVM__SIM_NIC) {
        return add_nic(o, d);
    }
    if (d->controller == UVM__SIM_VSMB) {
        return add_vsmb(o, d);
    }
    if (d->controller == UVM__SIM_PLAN9) {
        return add_share(o, d);
    }
    if (d->controller == UVM__SIM_VPCI) {
        return add_function(o, d);
    }
    if (d->controller >= UVM__SIM_VPMEM) {
        return add_image(o, d);
    }
    uvm__guid_text(&s->facts.controllers[d->controller], guid);
    return uvm__modify_scsi_path(guid, d->lun, path, &f) == 0 && add(o, "Kind", "Scsi") &&
           add(o, "ResourcePath", path) && add(o, "State", "Present") &&
           add(o, "Controller", guid) && uvm__json_add_u64(o, "Lun", d->lun) != NULL &&
           add(o, "Path", d->path) && cJSON_AddBoolToObject(o, "ReadOnly", d->read_only) != NULL;
}

static bool add_disks(cJSON *root, const struct uvm__sim_system *s) {
    cJSON *list = cJSON_AddArrayToObject(root, "Resources");
    const struct uvm__list *it;
    if (list == NULL) {
        return false;
    }
    UVM__LIST_FOREACH(it, &s->disks) {
        if (!add_disk(list, s, UVM__CONTAINER_OF(it, struct uvm__sim_disk, link))) {
            return false;
        }
    }
    return true;
}

static bool add_all(cJSON *root, const struct uvm__sim_system *s) {
    static const char *const states[] = {"Created", "Running", "Paused", "Stopped"};
    bool ended = s->state == UVM__SIM_ENDED;
    bool ok = add(root, "Id", s->id) && add(root, "Name", s->name) &&
              add(root, "SystemType", "VirtualMachine") && add(root, "RuntimeOsType", "Linux") &&
              add(root, "Owner", s->facts.owner) && add(root, "RuntimeId", s->id) &&
              add(root, "State", states[s->state]) &&
              cJSON_AddBoolToObject(root, "Stopped", ended) != NULL;
    if (ok && ended) {
        ok = add(root, "ExitType", uvm__hcs_exit_text(s->exit)) &&
             add(root, "ExitDetail", s->detail);
    }
    ok = ok && uvm__json_add_u64(root, "MemorySizeInMB", s->facts.memory_mb) != NULL &&
         uvm__json_add_u64(root, "ProcessorCount", s->facts.processors) != NULL &&
         add_disks(root, s);
    cJSON *vmm = ok ? cJSON_AddObjectToObject(root, "Vmm") : NULL;
    return vmm != NULL && add(vmm, "Service", s->host->base.ops->name) &&
           add(vmm, "Accelerator", "sim");
}

const char *uvm__sim_properties(struct uvm__hcs_system *base) {
    struct uvm__sim_system *s = UVM__CONTAINER_OF(base, struct uvm__sim_system, base);
    uvm_engine *e = s->host->base.engine;
    cJSON *root = cJSON_CreateObject();
    char *text = root != NULL && add_all(root, s) ? uvm__json_print(e, root, NULL) : NULL;
    cJSON_Delete(root);
    if (text != NULL) {
        uvm__free(e, s->properties);
        s->properties = text;
    }
    return text;
}
