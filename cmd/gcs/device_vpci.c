/* SPDX-License-Identifier: MIT
 *
 * Assigned devices, in the guest: the agent's part is to say when the function is there. What shows it is the kernel
 * on Hyper-V, else the process of the offers (offers.c): /sys/bus/vmbus/devices/<GUID>/pci<DDDD:BB>/<DDDD:BB:SS.F>.
 * There is no Remove: the host's rescind is the notice, and the driver lets go of the device then (release.c).
 */
#include "cmd/gcs/device.h"

#include "async/guid.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define DEVICES "/sys/bus/vmbus/devices"
#define POLL_MS 2

/* The number of entries that begin with `begin`, and the last one's name. */
static unsigned entries(const char *folder, const char *begin, char ret[NAME_MAX + 1]) {
    DIR *d = opendir(folder);
    unsigned count = 0;
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.' && strncmp(e->d_name, begin, strlen(begin)) == 0) {
            (void)snprintf(ret, NAME_MAX + 1, "%s", e->d_name);
            count++;
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return count;
}

/* One bus, and on it a function: "pci0000:02" has "0000:02:…". */
static bool is_there(const char *guid) {
    char folder[sizeof DEVICES + UVM_GUID_TEXT + NAME_MAX + 2], bus[NAME_MAX + 1],
        name[NAME_MAX + 1];

    (void)snprintf(folder, sizeof folder, DEVICES "/%s", guid);
    if (entries(folder, "pci", bus) != 1) {
        return false;
    }
    (void)snprintf(folder, sizeof folder, DEVICES "/%s/%s", guid, bus);
    return entries(folder, bus + 3, name) > 0;
}

int gcs_vpci_wait(const cJSON *settings, struct gcs_words *w) {
    const char *text;
    struct uvm__guid instance;
    char guid[UVM_GUID_TEXT];

    if (gcs_setting_text(settings, "VMBusGUID", &text, w) < 0) {
        return -1;
    }
    if (uvm__guid_read(text, strlen(text), &instance) < 0) {
        return gcs_bad(w, "VMBusGUID: \"%.60s\" is no GUID", text);
    }
    uvm__guid_text(&instance, guid); /* as the kernel writes it */
    for (unsigned waited = 0; !is_there(guid); waited += POLL_MS) {
        if (waited > GCS_DEVICE_WAIT_MS) {
            return gcs_fail(w, "%s: no PCI function came there in %u ms", guid, GCS_DEVICE_WAIT_MS);
        }
        (void)poll(NULL, 0, POLL_MS);
    }
    return 0;
}
