/* SPDX-License-Identifier: MIT
 * message.h — what the bridge's bodies say: one table of messages, a struct and a codec for
 * each, used by both ends.
 *
 * Writing is byte for byte what the reference writes: key order, omitted zeros, escapes, a line
 * feed after the host's bodies and none after the agent's. Reading is the reference's, too (Go's
 * encoding/json): case-insensitive keys, unknown ones ignored, last duplicate wins, null is
 * zero, integers only.
 * Ownership: a struct that was read borrows its strings from the tree it was read from.
 * Errors: readers return -UVM_E_PROTOCOL with the words in `f`, or -UVM_E_NOMEM; writers
 * -UVM_E_NOMEM or -UVM_E_LIMIT (of the buffer).
 * Source: docs/PROTOCOL-bridge.md, whose headings the comments below name. */
#pragma once
#include "async/json.h"
#include "bridge/frame.h"

#define UVM__NULL_ID                                                                               \
    "00000000-0000-0000-0000-000000000000" /* the UVM itself; also the null activity */
#define UVM__PROTOCOL_VERSION 4u
#define UVM__PROCESS_CONTROL 1u /* the level that we speak */
#define UVM__WAIT_INFINITE UINT32_MAX
#define UVM__EXIT_SIGNALED UINT32_MAX /* exit code of a UVM process that a signal ended */
#define UVM__GUEST_STACKS_BYTES_MAX 61440u

/* X(NAME, request word, reference's name without "ComputeSystem" and "V1", effect)
 * effect: something changes in the guest, so the reply is waited for and a late one still counts.
 * Without it a cancel ends the call at once and the late reply is swallowed. That is the
 * reference's table (Messages) but for DumpStacks and WaitForProcess, which change nothing either. */
#define UVM__MESSAGE_MAP(X)                                                                        \
    X(CREATE, 0x10100101u, "Create", true)                                                         \
    X(START, 0x10100201u, "Start", true)                                                           \
    X(SHUTDOWN_GRACEFUL, 0x10100301u, "ShutdownGraceful", false)                                   \
    X(SHUTDOWN_FORCED, 0x10100401u, "ShutdownForced", false)                                       \
    X(EXECUTE_PROCESS, 0x10100501u, "ExecuteProcess", true)                                        \
    X(WAIT_FOR_PROCESS, 0x10100601u, "WaitForProcess", false)                                      \
    X(SIGNAL_PROCESS, 0x10100701u, "SignalProcess", true)                                          \
    X(RESIZE_CONSOLE, 0x10100801u, "ResizeConsole", false)                                         \
    X(GET_PROPERTIES, 0x10100901u, "GetProperties", false)                                         \
    X(MODIFY_SETTINGS, 0x10100a01u, "ModifySettings", true)                                        \
    X(NEGOTIATE_PROTOCOL, 0x10100b01u, "NegotiateProtocol", false)                                 \
    X(DUMP_STACKS, 0x10100c01u, "DumpStacks", false)                                               \
    X(DELETE_CONTAINER_STATE, 0x10100d01u, "DeleteContainerState", true)

enum uvm__message {
#define UVM__X(name, word, text, effect) UVM__MSG_##name,
    UVM__MESSAGE_MAP(UVM__X)
#undef UVM__X
        UVM__MSG_MAX
};

#define UVM__NOTIFICATION_WORD 0x30100101u

struct uvm__message_row {
    uint32_t word;
    const char *name; /* "ExecuteProcess" */
    bool effect;
};
extern const struct uvm__message_row uvm__messages[UVM__MSG_MAX];

/* Row of a request word; UVM__MSG_MAX: not one that the agent knows. */
enum uvm__message uvm__message_of(uint32_t word);
/* (word & 0x0fffffff) | 0x20000000, of any word. */
uint32_t uvm__message_response_word(uint32_t word);
/* As in the reference's error texts: "ComputeSystemExecuteProcessV1", "ComputeSystemResponse…V1",
 * "ComputeSystemNotificationV1", "None", or the decimal number. */
void uvm__message_word_text(uint32_t word, char *buf, size_t bytes);

/* HRESULTs (Error codes). */
#define UVM__HR_NOT_SUPPORTED ((int32_t)0x80004001) /* type unknown, or not in this state */
#define UVM__HR_FAIL ((int32_t)0x80004005)          /* everything without a code */
#define UVM__HR_INVALID_ARG ((int32_t)0x80070057)
#define UVM__HR_NOT_FOUND ((int32_t)0x80070490)     /* no such process */
#define UVM__HR_OUT_OF_MEMORY ((int32_t)0x8007000e) /* ours */
#define UVM__HR_TIMEOUT ((int32_t)0xc0370109)       /* wait timed out */
#define UVM__HR_UNSUPPORTED_VERSION ((int32_t)0xc037010c)
#define UVM__HR_INVALID_JSON ((int32_t)0xc037010d)
#define UVM__HR_NO_SYSTEM ((int32_t)0xc037010e) /* no such container */
#define UVM__HR_SYSTEM_EXISTS ((int32_t)0xc037010f)
#define UVM__HR_NOT_RUNNING ((int32_t)0xc0370110)

/* "HRESULT: 0x80070490" */
#define UVM__HR_TEXT_BYTES 24u
void uvm__hresult_text(int32_t hr, char ret_text[UVM__HR_TEXT_BYTES]);

/* ---- base fields ---------------------------------------------------------------------------- */

/* Of every request and notification. NULL reads as "". */
struct uvm__msg_base {
    const char *container_id;
    const char *activity_id;
};

/* How a process did not start (Process control); step NONE: not said. */
#define UVM__START_STEP_MAP(X)                                                                     \
    X(STDIO, "stdio")                                                                              \
    X(USER, "user")                                                                                \
    X(CHDIR, "chdir")                                                                              \
    X(EXEC, "exec")
enum uvm__start_step {
    UVM__START_NONE,
#define UVM__X(name, text) UVM__START_##name,
    UVM__START_STEP_MAP(UVM__X)
#undef UVM__X
        UVM__START_MAX
};
const char *uvm__start_step_text(enum uvm__start_step step); /* "" for NONE */

struct uvm__msg_start {
    enum uvm__start_step step;
    int32_t error; /* errno in Linux numbers */
};
/* The status of a shell for it: exec + ENOENT 127, exec + other 126, else 125. */
int uvm__msg_start_status(const struct uvm__msg_start *start);

/* An error response. `file`, `function` and `stack` name the reference's place, where an answer
 * must look like the reference's (Base fields); all may be NULL. */
struct uvm__msg_error {
    int32_t result; /* not 0 */
    const char *message;
    const char *stack;
    const char *file;
    const char *function;
    uint32_t line;               /* without a file: UINT32_MAX is written */
    struct uvm__msg_start start; /* written only on a connection that granted process control */
};

/* Of every response that was read. */
struct uvm__msg_result {
    int32_t result;
    const char *message; /* "" when absent */
    const char *records; /* stack of the first record, "" when absent */
    struct uvm__msg_start start;
};

/* ---- negotiate ------------------------------------------------------------------------------ */

struct uvm__msg_negotiate {
    struct uvm__msg_base base;
    uint32_t version_min, version_max;
    uint32_t process_control; /* asked level; 0: the key is absent */
};

struct uvm__msg_capabilities {
    uint32_t version;
    bool namespace_add, signal_process, dump_stacks, delete_container_state;
    bool os_linux; /* RuntimeOsType */
    bool send_host_create, send_host_start;
    uint32_t process_control; /* granted level */
};

/* ---- processes ------------------------------------------------------------------------------ */

/* The inner JSON of an execute (Processes). The reader's struct owns `memory` (arrays, inner tree). */
struct uvm__msg_process {
    const char *command_line; /* NULL or "" : absent */
    const char *const *args;  /* NULL-terminated; NULL: absent */
    const char *const *env; /* "KEY=value", NULL-terminated, written sorted by key; NULL: absent */
    const char *cwd;
    const char *user;  /* Process control */
    bool terminal;     /* EmulateConsole */
    bool in, out, err; /* Create…Pipe */
    bool in_utility_vm;
    bool has_oci_process;   /* read only; its content is containers' work */
    uint16_t height, width; /* Process control; both 0: absent */
    void *memory;
    cJSON *tree;
};

struct uvm__msg_execute {
    struct uvm__msg_base base;
    const char *parameters;               /* the inner JSON's text */
    uint32_t port_in, port_out, port_err; /* 0: absent */
};

struct uvm__msg_wait {
    struct uvm__msg_base base;
    uint32_t pid, timeout_ms;
};

struct uvm__msg_exit {
    uint32_t code;
    int32_t signal; /* 0: exited, or not said (no grant) */
    bool core;
};

struct uvm__msg_signal {
    struct uvm__msg_base base;
    uint32_t pid;
    int32_t signal; /* 0 or absent: SIGKILL */
    bool group;     /* UvmGroup: its whole process group (Process control) */
};

struct uvm__msg_resize {
    struct uvm__msg_base base;
    uint32_t pid;
    uint16_t height, width;
};

/* ---- the rest ------------------------------------------------------------------------------- */

struct uvm__msg_properties {
    struct uvm__msg_base base;
    const char *query; /* inner JSON, may be "" */
};

struct uvm__msg_modify {
    struct uvm__msg_base base;
    const char *request_text; /* writer: the Request object as JSON text */
    const cJSON *request;     /* reader: the same as a tree; NULL when absent */
};

struct uvm__msg_create {
    struct uvm__msg_base base;
    const char *config; /* inner JSON */
};

struct uvm__msg_notification {
    struct uvm__msg_base base;
    const char *type; /* "UnexpectedExit", "GracefulExit", "ForcedExit" */
};

/* Any request. The base is the first member of each. */
union uvm__msg_request {
    struct uvm__msg_base base; /* Start, Shutdown…, DumpStacks, DeleteContainerState */
    struct uvm__msg_negotiate negotiate;
    struct uvm__msg_create create;
    struct uvm__msg_execute execute;
    struct uvm__msg_wait wait;
    struct uvm__msg_signal signal;
    struct uvm__msg_resize resize;
    struct uvm__msg_properties properties;
    struct uvm__msg_modify modify;
};

/* What a response says besides its result. */
union uvm__msg_answer {
    struct uvm__msg_capabilities capabilities; /* Negotiate */
    uint32_t pid;                              /* ExecuteProcess */
    struct uvm__msg_exit exit;                 /* WaitForProcess */
    const char *properties;                    /* GetProperties: valid JSON text */
    const char *stacks;                        /* DumpStacks */
};

/* ---- codecs --------------------------------------------------------------------------------- */

/* Appends a request's body as the host writes it, with its final line feed. */
int uvm__msg_request_write(struct uvm__buf *b, enum uvm__message msg,
                           const union uvm__msg_request *req);

/* Reads a request's body as the agent does. `ret_tree` (the caller's, also on failure) holds
 * the strings of `ret`. `ret->base` is filled as far as it can be also when the call fails: an
 * answer needs the activity. On -UVM_E_PROTOCOL `f` has the words after "HRESULT 0xc037010d: ". */
int uvm__msg_request_read(enum uvm__message msg, const void *body, size_t bytes,
                          union uvm__msg_request *ret, cJSON **ret_tree, struct uvm__fail *f);

/* Appends a success response as the agent writes it. `process_control`: the level that this
 * connection granted (shapes WaitForProcess). Longer than fits `frame_max`: properties give
 * -UVM_E_LIMIT, stacks are cut on a line end. */
int uvm__msg_response_write(struct uvm__buf *b, enum uvm__message msg, const char *activity_id,
                            const union uvm__msg_answer *answer, uint32_t process_control,
                            size_t frame_max);
/* An error response; the message is cut so that the frame fits, the activity left out if it
 * must. */
int uvm__msg_error_write(struct uvm__buf *b, const char *activity_id,
                         const struct uvm__msg_error *err, uint32_t process_control,
                         size_t frame_max);

/* Reads a response as the host does: strict about every known key's type. With result != 0 the
 * answer is zero. `ret_tree` as above; NULL on failure. */
int uvm__msg_response_read(enum uvm__message msg, const void *body, size_t bytes,
                           struct uvm__msg_result *ret_result, union uvm__msg_answer *ret_answer,
                           cJSON **ret_tree, struct uvm__fail *f);

int uvm__msg_notification_write(struct uvm__buf *b, const struct uvm__msg_notification *n);
int uvm__msg_notification_read(const void *body, size_t bytes, struct uvm__msg_notification *ret,
                               cJSON **ret_tree, struct uvm__fail *f);

/* The inner JSON of an execute. write: `process_control` 0 leaves out what is ours (size, user).
 * read: everything in `ret` is its own; uvm__msg_process_deinit() frees it. */
int uvm__msg_process_write(struct uvm__buf *b, const struct uvm__msg_process *p,
                           uint32_t process_control);
int uvm__msg_process_read(uvm_engine *e, const char *text, struct uvm__msg_process *ret,
                          struct uvm__fail *f);
void uvm__msg_process_deinit(uvm_engine *e, struct uvm__msg_process *p);
