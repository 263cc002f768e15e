/* SPDX-License-Identifier: MIT
 * fault.h — error answers that name the reference's place and, as their stack, ours.
 *
 * A host that compares answers sees the reference's file and function (PROTOCOL-bridge.md, Base
 * fields); a person who reads the stack finds the line of this program that refused.
 */
#pragma once
#include "bridge/server.h"

struct gcs_fault {
    const char *file, *function; /* the reference's; NULL: it records no place for this error */
    const char *stack;
    uint32_t line;
};

#define GCS_FAULT_TEXT_(x) #x
#define GCS_FAULT_TEXT(x) GCS_FAULT_TEXT_(x)
#define GCS_FAULT(file, function)                                                                  \
    ((struct gcs_fault){(file), (function),                                                        \
                        "\n" function "\n\t" __FILE__ ":" GCS_FAULT_TEXT(__LINE__), __LINE__})
#define GCS_NO_PLACE ((struct gcs_fault){NULL, NULL, NULL, 0})

/* Answers with `result` and the words; `start` may be NULL. Long words are cut by the codec. */
__attribute__((format(printf, 5, 6))) void gcs_fault_reply(struct uvm__server_request *take_r,
                                                           int32_t result, struct gcs_fault place,
                                                           const struct uvm__msg_start *start,
                                                           const char *fmt, ...);
