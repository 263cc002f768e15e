/* SPDX-License-Identifier: MIT
 * control_int.h — the control socket's inside: control → connections → calls and processes.
 *
 * A connection that fails in any way is *doomed*: it is torn down from the ready queue, never inside
 * the call that found out. Its memory goes when its last call has been answered, its last process been let
 * go and its socket closed. A call is in flight from its request to uvm__control_reply() or
 * uvm__control_refuse(), each of which frees it.
 */
#pragma once
#include "async/fdio_linux.h"
#include "async/json.h"
#include "async/local.h"
#include "async/sock.h"
#include "uvm/control.h"
#include "uvm/vm_int.h"

#define CONTROL_ID_BYTES 80u /* id of a control request, as JSON */

struct control_conn;
struct control_stream;

struct uvm_control {
    uvm_vm *vm; /* one reference */
    uvm_engine *engine;
    int parent_fd, folder_fd;
    struct uvm__local *listener;
    uint64_t started_ms; /* wall clock */
    uint32_t owner_pid;
    struct uvm__list conns;
    uint32_t conns_count;
    bool ending;                /* no more requests are read */
    bool ended;                 /* the folder is gone */
    struct uvm__span_tap spans; /* there is one exactly while spans_calls > 0 */
    uint32_t spans_calls;
    struct uvm__ready free_ready;
    void (*on_closed)(void *arg); /* of an explicit close */
    void *closed_arg;
};

struct control_conn {
    struct uvm__list link;
    uvm_control *control;
    uvm_engine *engine;
    struct uvm__sock *sock;
    uvm_scope *scope;
    struct uvm__buf in;
    int fds[UVM__CONTROL_FDS_MAX]; /* received, taken by no call yet */
    size_t fds_count;
    bool greeted;
    bool doomed, torn; /* shall be torn down; is */
    bool leaving;      /* answers what is in flight, then ends */
    struct uvm__ready doom_ready;
    struct uvm__deadline timer; /* to hello, or to the end of the last words */
    struct uvm__list calls, processes;
    uint32_t calls_count, processes_count;
    uint64_t next_process;
    uint64_t next_call; /* of calls without an id of their own: never shown */
};

/* Calls that no operation of the engine stands for: what ends them. */
enum control_wait {
    CONTROL_WAIT_NONE,
    CONTROL_WAIT_VM,     /* the VM's end */
    CONTROL_WAIT_UNBOOT, /* a boot that was cancelled */
    CONTROL_WAIT_EVENTS, /* the connection's end */
    CONTROL_WAIT_SPANS,  /* ..., or more than it may have */
    CONTROL_WAIT_STREAM
};

struct control_process {
    struct uvm__list link;
    struct control_conn *conn;
    uint64_t number;
    uvm_process *process;
    bool ending; /* is being killed and let go */
};

struct control_call {
    struct uvm__list link;
    struct control_conn *conn;
    char id[CONTROL_ID_BYTES]; /* as JSON */
    const struct control_method *method;
    enum control_wait wait;
    uvm_op *op;                      /* a reference; NULL: none */
    struct control_stream *stream;   /* of CONTROL_WAIT_STREAM */
    struct control_process *process; /* exec: ours until it started */
    uint64_t number;                 /* wait: of the process; spans: how many were sent */
    int exec_status;                 /* exec: what a shell would return; 0: not known */
};

struct control_method {
    const char *name;
    /* Answers now or later. Negative: the call is refused with it and `f`. */
    int (*run)(struct control_call *call, const cJSON *params, struct uvm__fail *f);
    const char *const *keys; /* of params, NULL-terminated: no others are allowed */
};

/* control.c; what the VM calls is in vm_int.h */
void uvm__control_on_conn_gone(uvm_control *c, struct control_conn *conn);

/* control_conn.c */
int uvm__control_conn_new(uvm_control *c, int take_fd);
void uvm__control_conn_doom(struct control_conn *conn);
/* Reads no more; ends when nothing is in flight. */
void uvm__control_conn_leave(struct control_conn *conn);
void uvm__control_conn_check(
    struct control_conn *conn); /* something of it may have been the last */
/* Sends {"jsonrpc":"2.0","method":"event","params":…}. */
void uvm__control_notify(struct control_conn *conn, cJSON *take_params);
/* `result` NULL: there was no memory for it. False: the client does not get it, for it is gone. */
bool uvm__control_reply(struct control_call *call, cJSON *take_result);
void uvm__control_refuse(struct control_call *call, const uvm_error *err);
void uvm__control_refuse_code(struct control_call *call, int negative, const struct uvm__fail *f);
/* Takes descriptors that came with the request; -UVM_E_INVAL: there are fewer. */
int uvm__control_take_fds(struct control_conn *conn, int *ret_fds, size_t count,
                          struct uvm__fail *f);

/* control_calls.c */
const struct control_method *uvm__control_method(const char *name);
void uvm__control_calls_on_state(struct control_conn *conn);
/* The VM is over, or the connection: calls without an operation end. */
void uvm__control_calls_end(struct control_conn *conn);
/* An operation of the VM that could not be started, in words: `rc`. */
int uvm__control_refused(const uvm_vm *vm, int rc, struct uvm__fail *f);

/* control_exec.c */
int uvm__control_exec(struct control_call *call, const cJSON *params, struct uvm__fail *f);
int uvm__control_signal(struct control_call *call, const cJSON *params, struct uvm__fail *f);
int uvm__control_resize(struct control_call *call, const cJSON *params, struct uvm__fail *f);
int uvm__control_wait(struct control_call *call, const cJSON *params, struct uvm__fail *f);
/* Kills what still runs, lets go of all. */
void uvm__control_processes_end(struct control_conn *conn);

/* control_devices.c */
int uvm__control_attach(struct control_call *call, const cJSON *params, struct uvm__fail *f);
int uvm__control_detach(struct control_call *call, const cJSON *params, struct uvm__fail *f);
int uvm__control_devices(struct control_call *call, const cJSON *params, struct uvm__fail *f);
/* An event for those who wait for events. */
void uvm__control_calls_on_device(struct control_conn *conn, enum uvm__device_news news,
                                  const struct uvm__attach_result *about);

/* control_stream.c: bytes of console or log to a client's descriptor. */
enum control_source { CONTROL_CONSOLE, CONTROL_LOG };
int uvm__control_stream_open(struct control_call *call, enum control_source source, bool tail,
                             bool follow, int fd, struct uvm__fail *f);
void uvm__control_stream_feed(struct control_stream *s, enum control_source source,
                              const void *data, size_t bytes);
void uvm__control_stream_finish(
    struct control_stream *s); /* nothing more comes: answers when all left */
void uvm__control_stream_free(struct control_stream *s); /* accepts NULL */

/* control_spans.c: what the engine does for the VM, to clients that trace. */
int uvm__control_spans(struct control_call *call, const cJSON *params, struct uvm__fail *f);
void uvm__control_spans_reply(struct control_call *call, bool complete);
void uvm__control_spans_free(struct control_call *call); /* before such a call is freed */

/* control_ended.c: the end of the VM that had this name, for those who ask later. */
void uvm__control_remember(uvm_control *c);
void uvm__control_forget(uvm_control *c);

/* control_json.c */
/* A string that is valid UTF-8 whatever `text` is. */
cJSON *uvm__control_add_text(cJSON *to, const char *key, const char *text);
cJSON *uvm__control_error(uvm_engine *e, const uvm_error *err);
/* Raw JSON text of ours, whatever bytes a guest put into its strings. */
cJSON *uvm__control_raw(uvm_engine *e, const char *text);
int uvm__control_check_keys(const cJSON *params, const char *const *keys, struct uvm__fail *f);
/* Members of params: absent ones leave *ret alone. -UVM_E_INVAL. */
int uvm__control_get_u64(const cJSON *params, const char *key, uint64_t min, uint64_t max,
                         uint64_t *ret, struct uvm__fail *f);
int uvm__control_get_bool(const cJSON *params, const char *key, bool *ret, struct uvm__fail *f);
int uvm__control_get_text(const cJSON *params, const char *key, const char **ret,
                          struct uvm__fail *f);
/* A list of at most `max` strings, NULL-terminated and NULL where there is none; for uvm__free(), also after
 * an error. The strings stay the request's. */
int uvm__control_get_list(uvm_engine *e, const cJSON *params, const char *key, unsigned max,
                          const char ***ret, struct uvm__fail *f);
