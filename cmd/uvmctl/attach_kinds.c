/* SPDX-License-Identifier: MIT
 * attach_kinds.c — see attach_kinds.h.
 */
#include "cmd/uvmctl/attach_kinds.h"
#include "async/json.h"
#include "cmd/uvmctl/client.h"
#include "cmd/uvmctl/disk.h"
#include "cmd/uvmctl/nic_words.h"
#include "cmd/uvmctl/out.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BIT(option) (1u << (option))
#define NIC_BITS                                                                                   \
    (BIT(ATTACH_MAC) | BIT(ATTACH_ADDRESS) | BIT(ATTACH_GATEWAY) | BIT(ATTACH_DNS) |               \
     BIT(ATTACH_SEARCH) | BIT(ATTACH_MTU) | BIT(ATTACH_DHCP))

static bool has(const struct attach_words *w, enum attach_option option) {
    return (w->given & BIT(option)) != 0;
}

/* ---- settings ----------------------------------------------------------------------------- */

static bool put_flag(cJSON *o, const char *key, bool value) {
    return !value || cJSON_AddTrueToObject(o, key) != NULL;
}

static bool put_text(cJSON *o, const char *key, const char *value) {
    return value == NULL || cJSON_AddStringToObject(o, key, value) != NULL;
}

static bool put_list(cJSON *o, const char *key, const struct attach_list *list) {
    if (list->count == 0) {
        return true;
    }
    cJSON *array = cJSON_CreateStringArray(list->words, (int)list->count);
    if (array != NULL && cJSON_AddItemToObject(o, key, array)) {
        return true;
    }
    cJSON_Delete(array);
    return false;
}

static bool complete(bool ok) {
    if (!ok) {
        out_message("attach: out of memory");
    }
    return ok;
}

static bool put_scsi(cJSON *s, const struct attach_words *w, const char *word, char **ret_host) {
    *ret_host = disk_host_path("attach", word);
    return *ret_host != NULL &&
           complete(
               put_text(s, "host_path", *ret_host) &&
               put_flag(s, "read_only", has(w, ATTACH_RO) || w->verity != NULL) &&
               put_flag(s, "mount", has(w, ATTACH_MOUNT)) &&
               put_text(s, "guest_path", w->guest_path) &&
               (w->partition == 0 || uvm__json_add_u64(s, "partition", w->partition) != NULL) &&
               put_text(s, "filesystem", w->filesystem) &&
               put_flag(s, "ensure_filesystem", has(w, ATTACH_ENSURE)) &&
               put_flag(s, "block_dev", has(w, ATTACH_BLOCK_DEV)) &&
               put_flag(s, "encrypted", has(w, ATTACH_ENCRYPTED)) &&
               put_text(s, "verity", w->verity) && put_list(s, "options", &w->options));
}

/* Read-only and mounted by itself. */
static bool put_vpmem(cJSON *s, const struct attach_words *w, const char *word, char **ret_host) {
    *ret_host = disk_host_path("attach", word);
    return *ret_host != NULL &&
           complete(put_text(s, "host_path", *ret_host) &&
                    put_text(s, "guest_path", w->guest_path) && put_text(s, "verity", w->verity) &&
                    put_flag(s, "whole_device", has(w, ATTACH_WHOLE_DEVICE)) &&
                    put_flag(s, "or_scsi", has(w, ATTACH_OR_SCSI)));
}

/* Of both kinds of shares. */
static bool put_share(cJSON *s, const struct attach_words *w, const char *word, char **ret_host) {
    struct stat st;
    *ret_host = disk_host_path("attach", word);
    return *ret_host != NULL &&
           complete(put_text(s, "host_path", *ret_host) &&
                    put_text(s, "guest_path", w->guest_path) &&
                    put_flag(s, "read_only", has(w, ATTACH_RO)) &&
                    put_flag(s, "file", stat(*ret_host, &st) == 0 && !S_ISDIR(st.st_mode)) &&
                    put_list(s, "files", &w->files));
}

/* The id may name a virtual function: DEVICE/N. */
static bool put_vpci(cJSON *s, const struct attach_words *w, const char *word, char **ret_host) {
    uint32_t function;
    size_t bytes = uvm_vpci_id_split(word, &function);
    char *device = strndup(word, bytes);
    bool ok = device != NULL && put_text(s, "device", device) &&
              (function == 0 || uvm__json_add_u64(s, "virtual_function", function) != NULL) &&
              put_text(s, "guid", w->id);
    free(device);
    *ret_host = NULL;
    return complete(ok);
}

static bool put_nic(cJSON *s, const struct attach_words *w, const char *word, char **ret_host) {
    struct nic_words n;
    *ret_host = NULL;
    if (!nic_words_read(&n, "attach", word)) {
        return false;
    }
    bool ok = put_text(s, "type", n.name) && put_text(s, "target", n.target) &&
              put_text(s, "interface", n.interface) && put_text(s, "id", w->id) &&
              put_text(s, "mac", w->mac) && put_flag(s, "dhcp", has(w, ATTACH_DHCP)) &&
              (w->mtu == 0 || uvm__json_add_u64(s, "mtu", w->mtu) != NULL) &&
              put_list(s, "addresses", &w->addresses) && put_list(s, "gateways", &w->gateways) &&
              put_list(s, "dns", &w->dns) && put_list(s, "search", &w->search);
    free(n.text);
    return complete(ok);
}

/* ---- places ------------------------------------------------------------------------------- */

static void scsi_place(const cJSON *at, bool full, char *buf, size_t bytes) {
    (void)snprintf(buf, bytes, full ? "controller %lld, LUN %lld" : "%lld:%lld",
                   (long long)client_number(at, "controller"), (long long)client_number(at, "lun"));
}

static void vpmem_place(const cJSON *at, bool full, char *buf, size_t bytes) {
    (void)full;
    (void)snprintf(buf, bytes, "%lld+%lldM", (long long)client_number(at, "device"),
                   (long long)client_number(at, "offset") >> 20);
}

static void share_place(const cJSON *at, bool full, char *buf, size_t bytes) {
    (void)full;
    (void)snprintf(buf, bytes, "%s", client_text(at, "share"));
}

static void instance_place(const cJSON *at, bool full, char *buf, size_t bytes) {
    (void)snprintf(buf, bytes, "%.*s", full ? 36 : 6, client_text(at, "instance"));
}

static void nic_place(const cJSON *at, bool full, char *buf, size_t bytes) {
    if (full) {
        (void)snprintf(buf, bytes, "%s %s", client_text(at, "mac"), client_text(at, "instance"));
    } else {
        instance_place(at, false, buf, bytes);
    }
}

/* ---- the table ---------------------------------------------------------------------------- */

static const struct attach_kind kinds[] = {
    {"scsi",
     ~(BIT(ATTACH_ALLOW) | BIT(ATTACH_ID) | BIT(ATTACH_WHOLE_DEVICE) | BIT(ATTACH_OR_SCSI) |
       NIC_BITS),
     put_scsi, scsi_place},
    {"vpmem",
     BIT(ATTACH_MOUNT) | BIT(ATTACH_RO) | BIT(ATTACH_VERITY) | BIT(ATTACH_WHOLE_DEVICE) |
         BIT(ATTACH_OR_SCSI),
     put_vpmem, vpmem_place},
    {"vsmb", BIT(ATTACH_MOUNT) | BIT(ATTACH_RO) | BIT(ATTACH_ALLOW), put_share, share_place},
    {"plan9", BIT(ATTACH_MOUNT) | BIT(ATTACH_RO) | BIT(ATTACH_ALLOW), put_share, share_place},
    {"vpci", BIT(ATTACH_ID), put_vpci, instance_place},
    {"nic", BIT(ATTACH_ID) | NIC_BITS, put_nic, nic_place},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

const struct attach_kind *attach_kind_of(const char *name) {
    for (size_t i = 0; i < KINDS; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

const struct attach_kind *attach_kind_find(const char *name) {
    const struct attach_kind *kind = attach_kind_of(name);
    char list[128] = "";
    for (size_t i = 0, n = 0; kind == NULL && i < KINDS; i++) {
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s",
                              i == 0          ? ""
                              : i + 1 < KINDS ? ", "
                                              : " and ",
                              kinds[i].name);
    }
    if (kind == NULL) {
        out_usage("attach: \"%s\" is nothing that can be attached; %s are", name, list);
    }
    return kind;
}

/* ---- the command line --------------------------------------------------------------------- */

static bool add_word(struct attach_list *list, const char *option, size_t max, const char *value) {
    if (list->count == max) {
        out_usage("attach: --%s: more than %zu", option, max);
        return false;
    }
    list->words[list->count++] = value;
    return true;
}

bool attach_words_add(struct attach_words *w, enum attach_option option, const char *value) {
    w->given |= BIT(option);
    switch (option) {
    case ATTACH_MOUNT:
        w->guest_path = strcmp(value, "auto") == 0 ? NULL : value;
        return true;
    case ATTACH_PARTITION:
        if (args_read_number(value, 1, UINT32_MAX, &w->partition)) {
            return true;
        }
        out_usage("attach: --partition: \"%s\" is not a number from 1 on", value);
        return false;
    case ATTACH_FILESYSTEM:
        w->filesystem = value;
        return true;
    case ATTACH_VERITY:
        w->verity = value;
        return true;
    case ATTACH_ID:
        w->id = value;
        return true;
    case ATTACH_MAC:
        w->mac = value;
        return true;
    case ATTACH_MTU:
        if (args_read_number(value, 68, UINT16_MAX, &w->mtu)) {
            return true;
        }
        out_usage("attach: --mtu: \"%s\" is not a number from 68 to %u", value, UINT16_MAX);
        return false;
    case ATTACH_ADDRESS:
        return add_word(&w->addresses, "address", UVM_NIC_ADDRESSES_MAX, value);
    case ATTACH_GATEWAY:
        return add_word(&w->gateways, "gateway", UVM_NIC_GATEWAYS_MAX, value);
    case ATTACH_DNS:
        return add_word(&w->dns, "dns", UVM_NIC_DNS_MAX, value);
    case ATTACH_SEARCH:
        return add_word(&w->search, "search", UVM_NIC_SEARCH_MAX, value);
    case ATTACH_OPTION:
        return add_word(&w->options, "option", UVM_DISK_OPTIONS_MAX, value);
    case ATTACH_ALLOW:
        return add_word(&w->files, "allow", UVM_SHARE_FILES_MAX, value);
    case ATTACH_RO:
    case ATTACH_ENSURE:
    case ATTACH_BLOCK_DEV:
    case ATTACH_ENCRYPTED:
    case ATTACH_WHOLE_DEVICE:
    case ATTACH_OR_SCSI:
    case ATTACH_DHCP:
    case ATTACH_OPTION_MAX:
        break;
    }
    return true;
}

bool attach_words_fit(const struct attach_words *w, const struct attach_kind *kind,
                      const struct option_row *rows) {
    for (unsigned o = 0; o < ATTACH_OPTION_MAX; o++) {
        if ((w->given & ~kind->options & BIT(o)) != 0) {
            out_usage("attach: --%s: not with %s", rows[o].name, kind->name);
            return false;
        }
    }
    return true;
}
