/* SPDX-License-Identifier: MIT
 * process.h — one process in the guest, seen from the host: start, streams, signals, end.
 *
 * exec is a saga: listen on a port for each stream wanted → ExecuteProcess → the streams are
 * there. Its commit point is the guest's reply. Before it a cancel undoes: a process that was
 * started all the same is killed and waited for (process control), or quarantined where the
 * agent cannot do that. WaitForProcess goes out right behind the reply and is answered when the
 * process ends.
 *
 * Streams are relayed with back-pressure and half-close. After the exit code is known, output is
 * drained until end of file, or until UVM__STDIO_IDLE_MS passed without a byte while the reader
 * was ready; then on_exit runs. A reader that is not ready stops that clock, not the guest.
 *
 * Ownership: a successful exec hands the process to its starter, who ends it with
 * uvm__process_close(). Descriptors stay the caller's: they are duplicated or opened anew, and
 * their flags are left alone.
 * Threading: loop thread only. */
#pragma once
#include "bridge/client.h"

struct uvm__process;

enum uvm__stdio { UVM__STDIN, UVM__STDOUT, UVM__STDERR, UVM__STDIO_MAX };

enum uvm__stdio_kind {
    UVM__STDIO_NONE,     /* the stream is not asked for (the process gets /dev/null) */
    UVM__STDIO_FD,       /* relayed from or to `fd` */
    UVM__STDIO_CALLBACK, /* out, err: on_output; in: uvm__process_write() */
};

struct uvm__process_exit {
    uint32_t code; /* UVM__EXIT_SIGNALED when a signal ended it */
    int signal;    /* 0: none, or not said by the agent */
    bool core;
};

struct uvm__process_events {
    /* Once, later: the process ended and its output was drained. `err`: the bridge was lost, or
     * the wait was refused; then `exit` is NULL. */
    void (*on_exit)(struct uvm__process *p, const struct uvm__process_exit *exit,
                    const uvm_error *err, void *arg);
    /* CALLBACK output. Returns how many of the bytes were taken; fewer than given stops the
     * stream until uvm__process_resume(). */
    size_t (*on_output)(struct uvm__process *p, enum uvm__stdio which, const void *data,
                        size_t bytes, void *arg);
    /* CALLBACK input: there is room again after a short write. May be NULL. */
    void (*on_writable)(struct uvm__process *p, void *arg);
    /* Once for each stream, before on_exit: it ended. `err` NULL: end of file, all bytes
     * delivered. Else the descriptor failed (stdout closed early: CLOSED; the guest's process
     * then sees a closed stream), or output was cut by the idle rule (TIMEDOUT). May be NULL. */
    void (*on_stream_end)(struct uvm__process *p, enum uvm__stdio which, const uvm_error *err,
                          void *arg);
};

struct uvm__process_params {
    const char *container_id; /* NULL: a process of the UVM */
    const char *const *args;  /* NULL-terminated; either this or command_line */
    const char *command_line;
    const char *const *env; /* "KEY=value"; NULL: the guest's process has none */
    const char *cwd;        /* NULL: "/" */
    const char *user;       /* NULL: root; needs process control (UNSUPPORTED) */
    bool terminal;
    uint16_t height, width; /* of the terminal; 0: unknown; needs process control, else left out */
    enum uvm__stdio_kind stdio[UVM__STDIO_MAX];
    int fd[UVM__STDIO_MAX]; /* borrowed during the call only */
    struct uvm__process_events events;
    void *arg; /* of the events */
};

/* exec fails with PEER (see uvm__process_exec_failure), UNSUPPORTED, CLOSED, LIMIT, or TIMEDOUT
 * when the guest did not connect the streams within UVM__ACCEPT_STDIO_MS. */
int uvm__process_exec(struct uvm__bridge *b, const struct uvm__process_params *params,
                      uvm_scope *scope, uvm_done_fn on_done, void *arg, uvm_op **ret_op);
/* Takes the process out of a successful exec, inside or after on_done: from here on bytes move and
 * events come. NULL when taken already. One that nobody took is let go when the op is freed. */
struct uvm__process *uvm__process_exec_result(uvm_op *op);
/* How a failed exec did not start; step NONE when the agent did not say. */
struct uvm__msg_start uvm__process_exec_failure(uvm_op *op);

uint32_t uvm__process_pid(const struct uvm__process *p);
bool uvm__process_exited(const struct uvm__process *p); /* its exit code is known */

/* CALLBACK stdin: bytes accepted, perhaps fewer; -UVM_E_AGAIN (on_writable will run);
 * -UVM_E_NOMEM (nothing will run: try again); -UVM_E_CLOSED. Another stdin: -UVM_E_STATE. */
ssize_t uvm__process_write(struct uvm__process *p, const void *data, size_t bytes);
/* Half-close, behind what was accepted; also ends an FD relay. Idempotent. */
void uvm__process_close_stdin(struct uvm__process *p);
void uvm__process_resume(struct uvm__process *p, enum uvm__stdio which);

/* As uvm__bridge_signal() and uvm__bridge_resize() of its pid; results by
 * uvm__bridge_signal_delivered(). -UVM_E_NOTFOUND once its exit is known: its pid is never used
 * again. */
int uvm__process_signal(struct uvm__process *p, int signo, bool group, uvm_scope *scope,
                        uvm_done_fn on_done, void *arg, uvm_op **ret_op);
int uvm__process_resize(struct uvm__process *p, uint16_t height, uint16_t width, uvm_scope *scope,
                        uvm_done_fn on_done, void *arg, uvm_op **ret_op);

/* Lets go: streams are closed, events no longer run, the wait stays behind as an orphan. A
 * process that still runs is not killed. Accepts NULL. */
void uvm__process_close(struct uvm__process *p);
