/* SPDX-License-Identifier: MIT
 *
 * gcs-device: the table of requests, and what they share in reading their settings (device.h).
 */
#include "cmd/gcs/device.h"

#include "async/json.h"
#include "cmd/gcs/early.h"
#include "cmd/gcs/gcs.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WHO "gcs-device"

static const struct request {
    const char *resource, *request;
    int (*run)(const cJSON *settings, struct gcs_words *w);
} requests[] = {
    {"MappedVirtualDisk", "Add", gcs_scsi_mount},
    {"MappedVirtualDisk", "Remove", gcs_scsi_unmount},
    {"SCSIDevice", "Remove", gcs_scsi_unplug},
    {"VPMemDevice", "Add", gcs_vpmem_mount},
    {"VPMemDevice", "Remove", gcs_vpmem_unmount},
    {"VPCIDevice", "Add", gcs_vpci_wait},
    {"Network", "Add", gcs_nic_add},
    {"Network", "Remove", gcs_nic_remove},
    {"VSMBShare", "Add", gcs_vsmb_mount},
    {"VSMBShare", "Remove", gcs_vsmb_unmount},
    {"MappedDirectory", "Add", gcs_plan9_mount},
    {"MappedDirectory", "Remove", gcs_plan9_unmount},
    {"CombinedLayers", "Add", gcs_layers_mount},
    {"CombinedLayers", "Remove", gcs_layers_unmount},
};

int gcs_setting_u64(const cJSON *settings, const char *key, uint64_t max, uint64_t *ret,
                    struct gcs_words *w) {
    const cJSON *node = uvm__json_get(UVM__JSON_GO, settings, key);

    *ret = 0;
    if (!uvm__json_absent(node) && uvm__json_u64(node, max, ret) < 0) {
        return gcs_bad(w, "%s: no whole number from 0 to %llu", key, (unsigned long long)max);
    }
    return 0;
}

int gcs_setting_bool(const cJSON *settings, const char *key, bool *ret, struct gcs_words *w) {
    const cJSON *node = uvm__json_get(UVM__JSON_GO, settings, key);

    *ret = false;
    if (!uvm__json_absent(node) && uvm__json_bool(node, ret) < 0) {
        return gcs_bad(w, "%s: neither true nor false", key);
    }
    return 0;
}

int gcs_setting_text(const cJSON *settings, const char *key, const char **ret,
                     struct gcs_words *w) {
    const cJSON *node = uvm__json_get(UVM__JSON_GO, settings, key);

    *ret = uvm__json_absent(node) ? "" : uvm__json_string(node);
    return *ret == NULL ? gcs_bad(w, "%s: no string", key) : 0;
}

static int serve(char **argv, struct gcs_words *w) {
    cJSON *settings = NULL;
    struct uvm__fail f;
    int rc = -1;

    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        const struct request *r = &requests[i];

        if (strcmp(r->resource, argv[1]) != 0 || strcmp(r->request, argv[2]) != 0) {
            continue;
        }
        if (uvm__json_read(UVM__JSON_GO, argv[3], strlen(argv[3]), &settings, &f) < 0) {
            return gcs_bad(w, "%s", f.msg);
        }
        rc = r->run(settings, w);
        cJSON_Delete(settings);
        return rc;
    }
    return gcs_fail(w, "%s %s is not supported by this agent yet", argv[2], argv[1]);
}

int uvm__device_main(int argc, char **argv) {
    struct gcs_words w = {.status = GCS_DEVICE_FAILED};

    if (argc != 4) {
        uvm__say(WHO, "usage: gcs-device RESOURCE REQUEST SETTINGS");
        return GCS_DEVICE_FAILED;
    }
    if (!uvm__under_our_init()) {
        (void)gcs_fail(&w, "not in a guest of ours: devices are left alone");
    } else {
        umask(022);
        if (serve(argv, &w) == 0) {
            return GCS_DEVICE_DONE;
        }
    }
    dprintf(STDERR_FILENO, "%s", w.text);
    return w.status;
}
