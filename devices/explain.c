/* SPDX-License-Identifier: MIT
 * explain.c — what all kinds do alike: errors that name the device, and requests to the guest.
 */
#include "devices/device_int.h"
#include <string.h>

bool uvm__device_lost(const uvm_error *err) {
    return uvm_error_code(err) == UVM_E_CLOSED || uvm_error_code(err) == UVM_E_EXITED;
}

enum uvm__call_end uvm__device_call_end(const uvm_error *err) {
    return err == NULL                         ? UVM__CALL_DONE
           : uvm__device_lost(err)             ? UVM__CALL_LOST
           : uvm_error_code(err) == UVM_E_UNDO ? UVM__CALL_UNSAID
                                               : UVM__CALL_REFUSED;
}

uvm_error *uvm__device_explain(const struct uvm__device *dev, const uvm_error *err,
                               const char *what) {
    char text[UVM__DEVICE_TEXT_BYTES];
    dev->kind->text(dev, text, sizeof text);
    enum uvm_error_code code = uvm__device_lost(err) ? UVM_E_CLOSED : uvm_error_code(err);
    uvm_error *said = uvm__error(dev->devices->engine, code, uvm_error_sys(err), "%s: %s: %s: %s",
                                 dev->devices->name, text, what, uvm_error_message(err));
    const char *detail = uvm_error_detail(err);
    said = uvm__error_detail(said, detail, strlen(detail));
    return uvm__error_cause(said, uvm_error_ref((uvm_error *)err));
}

int uvm__device_check_place(struct uvm__devices *d, const char *path, struct uvm__fail *f) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev = UVM__CONTAINER_OF(it, struct uvm__device, link);
        struct uvm__attach_result r = {.guest_path = ""};
        dev->kind->result(dev, &r);
        if (path == NULL || strcmp(r.guest_path, path) != 0) {
            continue;
        }
        bool going = (dev->leaving || dev->failed != NULL) && !uvm__device_quarantined(dev);
        return going ? -UVM_E_AGAIN
                     : uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s in the guest is %s's", d->name,
                                 path, dev->id);
    }
    return 0;
}

cJSON *uvm__guest_request(const char *resource_type, bool add) {
    cJSON *root = cJSON_CreateObject();
    if (root == NULL ||
        cJSON_AddStringToObject(root, "RequestType", add ? "Add" : "Remove") == NULL ||
        cJSON_AddStringToObject(root, "ResourceType", resource_type) == NULL) {
        cJSON_Delete(root);
        return NULL;
    }
    return root;
}

int uvm__guest_request_text(uvm_engine *e, cJSON *take_root, cJSON *take_settings, bool ok,
                            char **ret) {
    ok = ok && cJSON_AddItemToObject(take_root, "Settings", take_settings);
    if (!ok) {
        cJSON_Delete(take_settings);
    }
    *ret = ok ? uvm__json_print(e, take_root, NULL) : NULL;
    cJSON_Delete(take_root);
    return *ret == NULL ? -UVM_E_NOMEM : 0;
}
