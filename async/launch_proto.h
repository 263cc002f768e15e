/* SPDX-License-Identifier: MIT
 * launch_proto.h — what uvm-launch says to the process that started it, when the start fails.
 *
 * The child of a start gets one end of a pipe as UVM__LAUNCH_STATUS_FD. Either it execs, the pipe
 * (close-on-exec) reaches its end without a byte, and the program runs; or it writes exactly one
 * record and ends with UVM__LAUNCH_EXIT:
 *
 *     u8 step; i32 errno, little-endian                                     UVM__LAUNCH_RECORD_BYTES
 *
 * The write is below PIPE_BUF, so a reader sees all of it or nothing. A reader that gets another
 * length or an unknown step has not been talking to uvm-launch. Header only, no dependencies: the
 * helper itself, the engine's async/child.c and the guest agent include it.                       */
#pragma once

#include <stdint.h>

#define UVM__LAUNCH_STATUS_FD 3
#define UVM__LAUNCH_RECORD_BYTES 5
#define UVM__LAUNCH_EXIT 127

/* In the order in which the helper does them: name, text. */
#define UVM__LAUNCH_STEP_MAP(X)                                                                    \
    X(ARGS, "args")         /* the helper's own command line (EINVAL) */                           \
    X(SESSION, "session")   /* --pgroup, --setsid, --ctty */                                       \
    X(CGROUP, "cgroup")     /* --cgroup */                                                         \
    X(NETNS, "netns")       /* --netns */                                                          \
    X(MOUNTNS, "mountns")   /* --mountns, --tmpfs */                                               \
    X(ROOT, "root")         /* --root */                                                           \
    X(LIMITS, "limits")     /* --nofile, …-core */                                               \
    X(USER, "user")         /* --uid, --gid, --no-new-privs */                                     \
    X(CHDIR, "chdir")       /* --chdir, already with the new credentials */                        \
    X(DEATHSIG, "deathsig") /* --deathsig */                                                       \
    X(PARENT, "parent")     /* --parent is gone (ESRCH) */                                         \
    X(FDS, "fds")           /* --keep-fds */                                                       \
    X(EXEC, "exec")         /* the program itself */

enum uvm__launch_step {
    UVM__LAUNCH_NONE = 0,
#define X(NAME, text) UVM__LAUNCH_##NAME,
    UVM__LAUNCH_STEP_MAP(X)
#undef X
        UVM__LAUNCH_STEP_MAX
};

/* The step's text, for errors; "?" for a number that is none. */
static inline const char *uvm__launch_step_name(unsigned step) {
    static const char *const names[] = {"?",
#define X(NAME, text) text,
                                        UVM__LAUNCH_STEP_MAP(X)
#undef X
    };
    return step < UVM__LAUNCH_STEP_MAX ? names[step] : names[0];
}

static inline void uvm__launch_record_put(uint8_t out[UVM__LAUNCH_RECORD_BYTES],
                                          enum uvm__launch_step step, int32_t err) {
    uint32_t bits = (uint32_t)err;

    out[0] = (uint8_t)step;
    out[1] = (uint8_t)bits;
    out[2] = (uint8_t)(bits >> 8);
    out[3] = (uint8_t)(bits >> 16);
    out[4] = (uint8_t)(bits >> 24);
}

/* 0 and both values, or -1 (nothing written) for a step that is none or an errno below 1. */
static inline int uvm__launch_record_get(const uint8_t in[UVM__LAUNCH_RECORD_BYTES],
                                         enum uvm__launch_step *ret_step, int32_t *ret_err) {
    uint32_t bits =
        (uint32_t)in[1] | (uint32_t)in[2] << 8 | (uint32_t)in[3] << 16 | (uint32_t)in[4] << 24;

    if (in[0] == UVM__LAUNCH_NONE || in[0] >= UVM__LAUNCH_STEP_MAX || bits == 0 ||
        bits > INT32_MAX) {
        return -1;
    }
    *ret_step = (enum uvm__launch_step)in[0];
    *ret_err = (int32_t)bits;
    return 0;
}
