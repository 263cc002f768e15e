/* SPDX-License-Identifier: MIT
 * boot_devices.c — the devices that `uvmctl boot` begins with: a row a kind.
 */
#include "cmd/uvmctl/boot_devices.h"
#include "cmd/uvmctl/nic_words.h"
#include "cmd/uvmctl/out.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool read_scsi(struct boot_device *d, const char *who, const char *word) {
    if (!disk_words_read(&d->words, who, word)) {
        return false;
    }
    d->params.scsi = d->words.params;
    return true;
}

static bool read_vpmem(struct boot_device *d, const char *who, const char *word) {
    if (!disk_words_read(&d->words, who, word)) {
        return false;
    }
    if (d->words.params.encrypted) {
        out_usage("%s: \"%s\": what is read-only cannot be encrypted", who, word);
        disk_words_free(&d->words);
        return false;
    }
    d->params.vpmem = (struct uvm_vpmem_params)UVM_VPMEM_PARAMS_INIT;
    d->params.vpmem.host_path = d->words.params.host_path;
    d->params.vpmem.guest_path = d->words.params.guest_path;
    d->params.vpmem.verity = d->words.params.verity;
    return true;
}

/* The words' text is the device and behind it, where there is one, the GUID. */
static bool read_vpci(struct boot_device *d, const char *who, const char *word) {
    d->words = (struct disk_words){.text = strdup(word)};
    if (d->words.text == NULL) {
        out_usage("%s: out of memory", who);
        return false;
    }
    char *guid = strchr(d->words.text, ',');
    if (guid != NULL) {
        *guid++ = 0;
    }
    d->params.vpci = (struct uvm_vpci_params)UVM_VPCI_PARAMS_INIT;
    d->params.vpci.device = d->words.text;
    d->params.vpci.guid = guid;
    d->words.text[uvm_vpci_id_split(d->words.text, &d->params.vpci.virtual_function)] = 0;
    return true;
}

/* Of both kinds of shares. */
static bool read_share(struct boot_device *d, const char *who, const char *word, bool *ret_file) {
    struct stat st;
    if (!disk_words_read(&d->words, who, word)) {
        return false;
    }
    const struct uvm_scsi_params *w = &d->words.params;
    if (w->encrypted || w->verity != NULL) {
        out_usage("%s: \"%s\": a share is neither encrypted nor verified", who, word);
        disk_words_free(&d->words);
        return false;
    }
    *ret_file = stat(w->host_path, &st) == 0 && !S_ISDIR(st.st_mode);
    return true;
}

static bool read_vsmb(struct boot_device *d, const char *who, const char *word) {
    const struct uvm_scsi_params *w = &d->words.params;
    d->params.vsmb = (struct uvm_vsmb_params)UVM_VSMB_PARAMS_INIT;
    if (!read_share(d, who, word, &d->params.vsmb.file)) {
        return false;
    }
    d->params.vsmb.host_path = w->host_path;
    d->params.vsmb.guest_path = w->guest_path;
    d->params.vsmb.read_only = w->read_only;
    return true;
}

static bool read_plan9(struct boot_device *d, const char *who, const char *word) {
    const struct uvm_scsi_params *w = &d->words.params;
    d->params.plan9 = (struct uvm_plan9_params)UVM_PLAN9_PARAMS_INIT;
    if (!read_share(d, who, word, &d->params.plan9.file)) {
        return false;
    }
    d->params.plan9.host_path = w->host_path;
    d->params.plan9.guest_path = w->guest_path;
    d->params.plan9.read_only = w->read_only;
    return true;
}

static bool read_nic(struct boot_device *d, const char *who, const char *word) {
    struct nic_words n;
    if (!nic_words_read(&n, who, word)) {
        return false;
    }
    d->words = (struct disk_words){.text = n.text};
    d->params.nic = (struct uvm_nic_params)UVM_NIC_PARAMS_INIT;
    d->params.nic.type = n.type;
    d->params.nic.target = n.target;
    d->params.nic.interface = n.interface;
    return true;
}

static const struct row {
    const char *option;
    size_t list; /* in struct uvm_vm_params */
    /* False: it said why, and nothing is to be freed. */
    bool (*read)(struct boot_device *d, const char *who, const char *word);
} rows[BOOT_KIND_MAX] = {
    [BOOT_SCSI] = {"scsi", offsetof(struct uvm_vm_params, disks), read_scsi},
    [BOOT_VPMEM] = {"vpmem", offsetof(struct uvm_vm_params, vpmem), read_vpmem},
    [BOOT_VSMB] = {"vsmb", offsetof(struct uvm_vm_params, vsmb), read_vsmb},
    [BOOT_PLAN9] = {"plan9", offsetof(struct uvm_vm_params, plan9), read_plan9},
    [BOOT_NIC] = {"nic", offsetof(struct uvm_vm_params, nics), read_nic},
    [BOOT_VPCI] = {"vpci", offsetof(struct uvm_vm_params, vpci), read_vpci},
};

bool boot_devices_add(struct boot_devices *b, enum boot_kind kind, const char *word,
                      struct uvm_vm_params *vm) {
    size_t n = b->counts[kind];
    char who[32];
    (void)snprintf(who, sizeof who, "boot: --%s", rows[kind].option);
    if (n == BOOT_DEVICES_MAX) {
        out_usage("%s: more than %u", who, BOOT_DEVICES_MAX);
        return false;
    }
    if (b->items[kind] == NULL) {
        b->items[kind] = calloc(BOOT_DEVICES_MAX, sizeof *b->items[kind]);
    }
    if (b->items[kind] == NULL) {
        out_usage("%s: out of memory", who);
        return false;
    }
    struct boot_device *d = &b->items[kind][n];
    if (!rows[kind].read(d, who, word)) {
        return false;
    }
    b->lists[kind][n] = &d->params;
    b->counts[kind]++;
    *(const void *const **)(void *)((char *)vm + rows[kind].list) = b->lists[kind];
    return true;
}

void boot_devices_free(struct boot_devices *b) {
    for (unsigned k = 0; k < BOOT_KIND_MAX; k++) {
        for (size_t i = 0; i < b->counts[k]; i++) {
            disk_words_free(&b->items[k][i].words);
        }
        free(b->items[k]);
    }
    *b = (struct boot_devices){0};
}
