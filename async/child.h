/* SPDX-License-Identifier: MIT
 * child.h — child processes through uvm-launch: started, watched by pidfd, ended by a ladder.
 *
 * The start is posix_spawn of the helper (signals reset, descriptors by dup2: 0, 1, 2, 3 = status,
 * then `fds`); the helper sets group, credentials, limits, death signal, and execs. It is always
 * told --parent (this process) and --keep-fds (the highest target), before `launch_args`.
 * on_started tells that the exec happened or which step failed. The end is learned from the pidfd
 * only; a status that somebody else reaped is "unknown", an ordinary outcome. stderr is kept
 * (UVM__VMM_STDERR_BYTES) when captured.
 * Ownership: params are copied. Callbacks run from the loop, never inside a call of this header;
 * each of them may close the child.
 */
#pragma once
#include "async/async.h"
#include "async/error.h"
#include <sys/types.h>

struct uvm__child;

struct uvm__child_fd {
    int fd;     /* ours; duplicated into the child; stays the caller's */
    int target; /* in the child: 0, 1, 2, or 4 to UVM__CHILD_TARGET_MAX; each once */
};

/* A start without the helper, for a child that needs no more than this between fork and exec. It
 * costs one exec less, and the spawn itself says how the exec went. The descriptors, signals and
 * environment are as with the helper. */
struct uvm__child_direct {
    const char *path; /* what is executed; argv[0] is what the child is told */
    int folder_fd;    /* its folder, also for a relative path; -1: ours */
    bool session;     /* leads a session of its own */
};

struct uvm__child_params {
    const struct uvm__child_direct *direct; /* NULL: through uvm-launch */
    const char *launch_path; /* uvm-launch; may be a binary of many names ("/proc/self/exe"): its
                              * argv[0] is "uvm-launch" whatever the path */
    const char *name;        /* for messages: "vmm" */
    const char *const *argv; /* NULL-terminated; argv[0] is the program's path */
    const char *const *envp; /* NULL-terminated; NULL: empty environment */
    const char *const *launch_args; /* NULL-terminated further options of uvm-launch; may be NULL */
    const struct uvm__child_fd *fds;
    size_t fds_count;
    bool
        capture_stderr; /* 2 is a pipe to us. What of 0, 1, 2 is not given otherwise is /dev/null */
    /* err NULL: the exec happened (or the helper was killed before it could tell). Else:
     * uvm_error_sys() is the errno, uvm_error_step() the name of the step of uvm-launch that
     * failed, alone ("exec", "chdir", "user": async/launch_proto.h); "spawn" when what came is no
     * record of the helper. The code is UVM_E_HOST when the program is missing or may not be run.
     * on_exit follows all the same. */
    void (*on_started)(struct uvm__child *c, const uvm_error *err, void *arg);
    /* Once, after on_started, when the process ended and stderr (if captured) was drained or 200 ms
     * passed. status: waitpid status, or -1 when unknown. */
    void (*on_exit)(struct uvm__child *c, int status, void *arg);
    void *arg;
};

/* Fails when the helper (`direct`: the program) cannot be started, with the errno in f->sys: -UVM_E_HOST (it is missing or
 * may not be run), -UVM_E_IO, -UVM_E_NOMEM, -UVM_E_INVAL (also for a descriptor that is not open),
 * -UVM_E_LIMIT; -UVM_E_UNSUPPORTED on an engine without a loop. */
int uvm__child_spawn(uvm_engine *e, const struct uvm__child_params *params, struct uvm__child **ret,
                     struct uvm__fail *f);
pid_t uvm__child_pid(const struct uvm__child *c);
bool uvm__child_exited(const struct uvm__child *c);
/* By pidfd: never a reused pid. -UVM_E_STATE when it has ended, -UVM_E_INVAL for no signal,
 * -UVM_E_IO. */
int uvm__child_signal(struct uvm__child *c, int signo);
/* As uvm__tail_read(); "" when not captured. */
size_t uvm__child_stderr(const struct uvm__child *c, char *buf, size_t bytes);
/* SIGTERM now, SIGKILL after UVM__CHILD_TERM_MS; `now` true: SIGKILL at once. Idempotent. */
void uvm__child_end(struct uvm__child *c, bool now);
/* Takes a descriptor that is closed when the process is gone for certain, which may be long after the
 * close; at the latest with the engine. For what others must not get as long as it is there. Once. */
void uvm__child_entrust(struct uvm__child *c, int take_fd);
/* Kills what still runs (SIGKILL), reaps, then on_closed; no other callback runs after this call. A
 * process that the kernel keeps UVM__CHILD_KILLED_MS after the SIGKILL is left behind, with a warning
 * in the log; it is reaped later, if it ends while the engine is there. */
void uvm__child_close(struct uvm__child *c, void (*on_closed)(void *arg), void *arg);
/* "exit status 1", "killed by SIGKILL", "status unknown". */
void uvm__child_status_text(int status, char *buf, size_t bytes);
