/* SPDX-License-Identifier: MIT
 * nic_words.h — what a network adapter is joined to, as a word: user, tap=NAME, netns=PATH[,INTERFACE], stream=PATH.
 */
#pragma once
#include "uvm/devices.h"

struct nic_words {
    enum uvm_nic_type type;
    const char *name;   /* of the type, as the control socket has it */
    char *text;         /* what follows points into it, for free() */
    const char *target; /* NULL: none */
    const char *interface;
};

/* A namespace without a slash is one of /run/netns. False: it said why, after `who`, and nothing is to be freed. */
bool nic_words_read(struct nic_words *ret, const char *who, const char *word);
