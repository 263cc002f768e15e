/* SPDX-License-Identifier: MIT
 * user.h — "name|uid[:group|gid]" to numbers, by /etc/passwd and /etc/group alone.
 *
 * No name service: a static program cannot load its modules, and the guest has none. A user without an
 * explicit group gets the group of its passwd line; a number without a line gets group 0.
 * Source: PROTOCOL-bridge.md, Process control.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"

#define GCS_USER_SPEC_MAX 256u  /* bytes of the text, terminator included */
#define GCS_USER_LINE_MAX 1024u /* longer lines of the files are passed over */

struct gcs_user {
    uint32_t uid, gid;
};

/* The files are given by path. -UVM_E_INVAL: empty, too long or not of this form; -UVM_E_NOTFOUND: no
 * such user or group. `f` says which. A missing file is an empty one. */
int gcs_user_find(const char *spec, const char *passwd_path, const char *group_path,
                  struct gcs_user *ret, struct uvm__fail *f);
