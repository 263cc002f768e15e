/* SPDX-License-Identifier: MIT
 * attach_kinds.h — what `uvmctl attach` can attach: a row a kind.
 */
#pragma once
#include "cmd/uvmctl/args.h"
#include "uvm/devices.h"
#include <cjson/cJSON.h>

#define ATTACH_LIST_MAX UVM_SHARE_FILES_MAX /* words of one option that may be repeated */

/* The options; a kind takes some of them. */
enum attach_option {
    ATTACH_MOUNT,
    ATTACH_RO,
    ATTACH_PARTITION,
    ATTACH_FILESYSTEM,
    ATTACH_ENSURE,
    ATTACH_BLOCK_DEV,
    ATTACH_OPTION,
    ATTACH_ENCRYPTED,
    ATTACH_VERITY,
    ATTACH_ALLOW,
    ATTACH_ID,
    ATTACH_WHOLE_DEVICE,
    ATTACH_OR_SCSI,
    ATTACH_MAC,
    ATTACH_ADDRESS,
    ATTACH_GATEWAY,
    ATTACH_DNS,
    ATTACH_SEARCH,
    ATTACH_MTU,
    ATTACH_DHCP,
    ATTACH_OPTION_MAX
};

struct attach_list {
    const char *words[ATTACH_LIST_MAX];
    size_t count;
};

/* The command line of an attach; words are borrowed. */
struct attach_words {
    uint32_t given;         /* a bit by enum attach_option */
    const char *guest_path; /* NULL: "auto", or none */
    const char *filesystem, *verity, *id, *mac;
    uint64_t partition, mtu;
    struct attach_list options, files, addresses, gateways, dns, search;
};

struct attach_kind {
    const char *name;
    uint32_t options; /* bits of what it takes */
    /* Adds the settings for the word behind the kind's name. *ret_host is the host_path that `devices` will show
     * (NULL: none), for free(). False: it said why. */
    bool (*put)(cJSON *settings, const struct attach_words *w, const char *word, char **ret_host);
    /* Where it is, from "location" of its answer (`full`) or of the list. */
    void (*place)(const cJSON *location, bool full, char *buf, size_t bytes);
};

/* NULL: there is none; then it was said which there are. */
const struct attach_kind *attach_kind_find(const char *name);
/* The same without a word. */
const struct attach_kind *attach_kind_of(const char *name);
/* Takes an option; false: it said why. */
bool attach_words_add(struct attach_words *w, enum attach_option option, const char *value);
/* Whether the kind takes all that was given; false: it said what it does not take. `rows` are by enum attach_option. */
bool attach_words_fit(const struct attach_words *w, const struct attach_kind *kind,
                      const struct option_row *rows);
