/* SPDX-License-Identifier: MIT
 * vpci.c — which function of the host is which device of the guest; the rest of its life is single.c's.
 *
 * The table of a reservation, first row that holds:
 *   the function is there and quarantined                refused
 *   it is on its way out                                 wait, then ask again
 *   it is there, under the GUID that is asked for or any shared
 *   it is there under another GUID                       refused
 *   something else of the VM has the GUID                refused, or waited for where it is on its way out
 *   else                                                 a new one, under the GUID or a random one
 * A function is counted from its reservation on, so that nobody's removal takes it from one who waits for it, and
 * it is known until the host has let go of it for certain.
 *
 * The guest is asked whether the function has come. There is no request to let go of it: the host tells the guest
 * by itself, and waits for its word, before it takes the function away.
 */
#include "devices/vpci.h"
#include "devices/single_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define VIEW "/sys/bus/vmbus/devices/" /* where a guest shows what it was given, by GUIDs */

struct function {
    struct uvm__single single; /* first: its base is the device */
    uint32_t virtual_function;
    char guid[UVM_GUID_TEXT];
    char guest_path[sizeof VIEW + UVM_GUID_TEXT];
    char device[];
};

static struct function *function_of(const struct uvm__device *dev) {
    return UVM__CONTAINER_OF(uvm__single_of(dev), struct function, single);
}

static void over(struct uvm__single *s) {
    (void)s; /* it has no place but the one on the host */
}

/* ---- requests ----------------------------------------------------------------------------- */

static int host_request(struct function *x, bool add, char **ret) {
    const struct uvm__doc_vpci_function function = {.device_instance_path = x->device,
                                                    .virtual_function = x->virtual_function};
    struct uvm__modify m = {.verb = add ? UVM__MODIFY_ADD : UVM__MODIFY_REMOVE,
                            .kind = UVM__MODIFY_VPCI,
                            .has_settings = add};
    struct uvm__fail f;
    size_t bytes;
    memcpy(m.guid, x->guid, sizeof m.guid);
    if (add) {
        m.settings.vpci = (struct uvm__doc_vpci){
            .functions = &function, .functions_count = 1, .propagate_numa_affinity = true};
    }
    int rc = uvm__modify_path(&m, x->single.resource, &f);
    UVM_ASSERT(rc == 0);
    return uvm__modify_build(x->single.base.devices->engine, &m, ret, &bytes, &f);
}

static int guest_request(struct function *x, char **ret) {
    cJSON *root = uvm__guest_request("VPCIDevice", true);
    cJSON *s = cJSON_CreateObject();
    bool ok = root != NULL && s != NULL && cJSON_AddStringToObject(s, "VMBusGUID", x->guid) != NULL;
    return uvm__guest_request_text(x->single.base.devices->engine, root, s, ok, ret);
}

static int make_requests(struct function *x) {
    int rc = host_request(x, true, &x->single.add);
    rc = rc < 0 ? rc : host_request(x, false, &x->single.remove);
    return rc < 0 ? rc : guest_request(x, &x->single.mount);
}

/* ---- attachments -------------------------------------------------------------------------- */

static void free_function(struct uvm__device *dev) {
    uvm_engine *e = dev->devices->engine;
    uvm__single_deinit(e, uvm__single_of(dev));
    uvm__free(e, function_of(dev));
}

/* Of a GUID that was checked, as a guest writes it. */
static void put_guid(uvm_engine *e, const char *text, char ret[UVM_GUID_TEXT]) {
    struct uvm__guid guid;
    if (text == NULL) {
        uvm__guid_random(e, &guid);
    } else {
        int rc = uvm__guid_read(text, strlen(text), &guid);
        UVM_ASSERT(rc == 0);
    }
    uvm__guid_text(&guid, ret);
}

static struct function *new_function(struct uvm__devices *d, const struct uvm__vpci_params *p) {
    size_t bytes = strlen(p->device) + 1;
    struct function *x = uvm__zalloc(d->engine, sizeof *x + bytes);
    if (x == NULL) {
        return NULL;
    }
    x->virtual_function = p->virtual_function;
    memcpy(x->device, p->device, bytes);
    put_guid(d->engine, p->guid, x->guid);
    (void)snprintf(x->guest_path, sizeof x->guest_path, VIEW "%s", x->guid);
    x->single.base.devices = d;
    uvm__single_init(&x->single, over);
    x->single.guest_fails = "the guest did not find it";
    if (make_requests(x) < 0) {
        free_function(&x->single.base);
        return NULL;
    }
    uvm__device_init(&x->single.base, d, &uvm__vpci_kind);
    return x;
}

/* ---- reserving ---------------------------------------------------------------------------- */

/* Neither PnP paths nor PCI addresses tell upper from lower case. */
static struct function *find(const struct uvm__devices *d, const struct uvm__vpci_params *p) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev =
            UVM__CONTAINER_OF((struct uvm__list *)it, struct uvm__device, link);
        if (dev->kind == &uvm__vpci_kind &&
            function_of(dev)->virtual_function == p->virtual_function &&
            strcasecmp(function_of(dev)->device, p->device) == 0) {
            return function_of(dev);
        }
    }
    return NULL;
}

static int join(struct uvm__devices *d, struct function *x, const struct uvm__vpci_params *p,
                struct uvm__device **ret, struct uvm__fail *f) {
    struct uvm__device *dev = &x->single.base;
    int rc = uvm__single_join(&x->single, x->device, f);
    if (rc < 0) {
        return rc;
    }
    if (p->guid != NULL && strcasecmp(p->guid, x->guid) != 0) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s is attached as %s, under %s", d->name,
                         x->device, dev->id, x->guid);
    }
    *ret = dev;
    return 0;
}

/* Of any kind. */
static int check_guid(struct uvm__devices *d, const char *guid, struct uvm__fail *f) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &d->list) {
        struct uvm__device *dev = UVM__CONTAINER_OF(it, struct uvm__device, link);
        struct uvm__attach_result r = UVM__ATTACH_RESULT_NONE;
        dev->kind->result(dev, &r);
        if (strcasecmp(r.instance, guid) != 0) {
            continue;
        }
        bool going = (dev->leaving || dev->failed != NULL) && !uvm__device_quarantined(dev);
        return going ? -UVM_E_AGAIN
                     : uvm__fail(f, UVM_E_EXISTS, 0, "%s: VMBus instance %s is %s's", d->name, guid,
                                 dev->id);
    }
    return 0;
}

int uvm__vpci_check(const struct uvm__vpci_params *p, struct uvm__fail *f) {
    struct uvm__guid guid;
    if (p->device == NULL || p->device[0] == 0) {
        return uvm__fail(f, UVM_E_INVAL, 0, "device: no path of a PCI function");
    }
    if (strnlen(p->device, UVM__VPCI_DEVICE_BYTES_MAX + 1) > UVM__VPCI_DEVICE_BYTES_MAX) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "device: it has more than %u bytes",
                         UVM__VPCI_DEVICE_BYTES_MAX);
    }
    for (const char *c = p->device; *c != 0; c++) {
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f) {
            return uvm__fail(f, UVM_E_INVAL, 0,
                             "device: it has something else than printable ASCII at byte %td",
                             c - p->device);
        }
    }
    if (p->virtual_function > UVM__VPCI_FUNCTIONS_MAX) {
        return uvm__fail(f, UVM_E_INVAL, 0, "virtual_function: %" PRIu32 " is above %u",
                         p->virtual_function, UVM__VPCI_FUNCTIONS_MAX);
    }
    return p->guid == NULL || uvm__guid_read(p->guid, strlen(p->guid), &guid) == 0
               ? 0
               : uvm__fail(f, UVM_E_INVAL, 0, "guid: \"%.60s\" is no GUID", p->guid);
}

static int reserve(struct uvm__devices *d, const void *params, struct uvm__device **ret,
                   bool *ret_shared, struct uvm__fail *f) {
    const struct uvm__vpci_params *p = params;
    char why[sizeof f->msg];
    int rc = uvm__vpci_check(p, f);
    if (rc < 0) {
        (void)snprintf(why, sizeof why, "%s", f->msg);
        return uvm__fail(f, (enum uvm_error_code)(-rc), 0, "%s: %s", d->name, why);
    }
    struct function *there = find(d, p);
    *ret_shared = there != NULL;
    if (there != NULL) {
        return join(d, there, p, ret, f);
    }
    rc = p->guid == NULL ? 0 : check_guid(d, p->guid, f);
    if (rc < 0) {
        return rc;
    }
    struct function *x = new_function(d, p);
    if (x == NULL) {
        return -UVM_E_NOMEM;
    }
    *ret = &x->single.base;
    return 0;
}

int uvm__vpci_pin(struct uvm__devices *d, const struct uvm__vpci_params *p, struct uvm__fail *f) {
    int rc = uvm__vpci_check(p, f);
    if (rc < 0) {
        return rc;
    }
    if (find(d, p) != NULL) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s: %.100s is assigned twice", d->name, p->device);
    }
    struct function *x = new_function(d, p);
    if (x == NULL) {
        return -UVM_E_NOMEM;
    }
    x->single.state = UVM__SINGLE_MOUNTED;
    x->single.base.pinned = true;
    x->single.base.refs = 1;
    x->single.base.phase = UVM__DEVICE_READY;
    return 0;
}

/* ---- the kind ----------------------------------------------------------------------------- */

/* In one block. */
static int copy(uvm_engine *e, const void *params, void **ret) {
    const struct uvm__vpci_params *p = params;
    size_t device = strlen(p->device) + 1, guid = p->guid == NULL ? 0 : strlen(p->guid) + 1;
    struct uvm__vpci_params *c = uvm__zalloc(e, sizeof *c + device + guid);
    if (c == NULL) {
        return -UVM_E_NOMEM;
    }
    char *text = (char *)(c + 1);
    *c = *p;
    c->device = memcpy(text, p->device, device);
    c->guid = guid == 0 ? NULL : memcpy(text + device, p->guid, guid);
    *ret = c;
    return 0;
}

static void released(struct uvm__devices *d, const char *resource) {
    uvm__single_released(d, &uvm__vpci_kind, resource);
}

static void result(const struct uvm__device *dev, struct uvm__attach_result *ret) {
    const struct function *x = function_of(dev);
    ret->guest_path = x->guest_path;
    ret->instance = x->guid;
}

static bool json(const struct uvm__device *dev, cJSON *o) {
    const struct function *x = function_of(dev);
    bool ok = cJSON_AddStringToObject(o, "device", x->device) != NULL &&
              uvm__json_add_u64(o, "virtual_function", x->virtual_function) != NULL &&
              cJSON_AddStringToObject(o, "guest_path", x->guest_path) != NULL;
    cJSON *at = ok ? cJSON_AddObjectToObject(o, "location") : NULL;
    return at != NULL && cJSON_AddStringToObject(at, "instance", x->guid) != NULL;
}

static void text(const struct uvm__device *dev, char *buf, size_t bytes) {
    const struct function *x = function_of(dev);
    (void)snprintf(buf, bytes, "%s (%.80s as %s)", dev->id, x->device, x->guid);
}

const struct uvm__device_kind uvm__vpci_kind = {.name = "vpci",
                                                .reserve = reserve,
                                                .copy = copy,
                                                .turn = uvm__single_turn,
                                                .withdraw = uvm__single_withdraw,
                                                .again = uvm__single_again,
                                                .released = released,
                                                .end = uvm__single_end,
                                                .free = free_function,
                                                .result = result,
                                                .json = json,
                                                .text = text};
