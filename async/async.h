/* SPDX-License-Identifier: MIT
 * async.h — the public face of asynchronous work: engine, operations, scopes, errors, log, allocator.
 *
 * An engine belongs to one libuv loop that the embedder owns; several engines may live in a process.
 * Threading: everything here runs on the loop's thread and is checked by assertion.
 * Ownership: arguments are copied unless a name says `take_`; what a `ret_` pointer receives belongs
 * to the caller. A negative return is `-UVM_E_…`, nothing happened and `ret_` is untouched.
 * Params begin with their size, which the UVM_…_PARAMS_INIT of each sets. A struct from an older header
 * is shorter and means the same as ever; one from a newer header than the library's is refused with
 * INVAL, in words to the log (uvm_vm_new(): in its error).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;
typedef struct uvm_engine uvm_engine;
typedef struct uvm_error uvm_error;
typedef struct uvm_op uvm_op;
typedef struct uvm_scope uvm_scope;

/* ---- errors ------------------------------------------------------------------------------- */

/* X(name, text): the closed list of codes. Codes decide, texts are for people. */
#define UVM_ERROR_MAP(X)                                                                           \
    X(INVAL, "invalid argument")                                                                   \
    X(NOMEM, "out of memory")                                                                      \
    X(CANCELED, "canceled")                                                                        \
    X(TIMEDOUT, "deadline passed")                                                                 \
    X(UNDO, "failed and could not be undone")                                                      \
    X(STATE, "wrong state")                                                                        \
    X(LIMIT, "limit reached")                                                                      \
    X(EXISTS, "already exists")                                                                    \
    X(NOTFOUND, "not found")                                                                       \
    X(UNSUPPORTED, "not supported")                                                                \
    X(PROTOCOL, "peer broke the protocol")                                                         \
    X(PEER, "peer refused")                                                                        \
    X(IO, "system call failed")                                                                    \
    X(CLOSED, "connection lost")                                                                   \
    X(EXITED, "utility VM exited")                                                                 \
    X(REFUSED, "connection refused")                                                               \
    X(HOST, "host lacks something")                                                                \
    X(AGAIN, "would block")                                                                        \
    X(EOF, "end of stream")

enum uvm_error_code {
    UVM_OK = 0,
#define UVM__X(name, text) UVM_E_##name,
    UVM_ERROR_MAP(UVM__X)
#undef UVM__X
        UVM_E_MAX
};

/* Short text of a code; never NULL. Accepts the code or its negative. */
const char *uvm_error_code_text(int code);
/* Name of a code without prefix ("TIMEDOUT"); never NULL. */
const char *uvm_error_code_name(int code);

/* Errors are counted and immutable. Accessors never return NULL strings: absent is "". */
enum uvm_error_code uvm_error_code(const uvm_error *err);
int64_t uvm_error_sys(const uvm_error *err);         /* errno or HRESULT of the peer; 0 if none */
const char *uvm_error_step(const uvm_error *err);    /* "vm boot › negotiate" */
const char *uvm_error_message(const uvm_error *err); /* one line: object, numbers, cause, remedy */
const char *uvm_error_detail(const uvm_error *err);  /* what the peer said; may be many lines */
bool uvm_error_retryable(const uvm_error *err);
const uvm_error *uvm_error_cause(const uvm_error *err); /* NULL at the end of the chain */
uvm_error *uvm_error_ref(const uvm_error *err);
uvm_error *uvm_error_unref(uvm_error *err); /* accepts NULL, returns NULL */

/* ---- memory and log ----------------------------------------------------------------------- */

/* All three are needed. `realloc` follows realloc(3); failure is NULL and is survived everywhere. */
struct uvm_allocator {
    void *(*malloc)(size_t bytes, void *arg);
    void *(*realloc)(void *ptr, size_t bytes, void *arg);
    void (*free)(void *ptr, void *arg);
    void *arg;
};

enum uvm_log_level {
    UVM_LOG_ERROR,
    UVM_LOG_WARN,
    UVM_LOG_INFO,
    UVM_LOG_DEBUG,
    UVM_LOG_TRACE,
    UVM_LOG_MAX
};

/* What a record says besides its text: plain text, or the begin or end of an op, of a step, or of a
 * step's undo. */
enum uvm_log_kind {
    UVM_LOG_TEXT,
    UVM_LOG_OP_BEGIN,
    UVM_LOG_OP_END,
    UVM_LOG_STEP_BEGIN,
    UVM_LOG_STEP_END,
    UVM_LOG_UNDO_BEGIN,
    UVM_LOG_UNDO_END
};

/* Valid during the callback only. Strings are never NULL. */
struct uvm_log_record {
    enum uvm_log_level level;
    enum uvm_log_kind kind;
    uint64_t at_ms;      /* engine clock */
    uint64_t op_id;      /* 0: none */
    const char *vm;      /* name of the VM, "" if none */
    const char *op;      /* name of the operation */
    const char *step;    /* name of the step */
    uint64_t elapsed_ms; /* of the span that ends here */
    int code;            /* enum uvm_error_code of what is reported */
    const char *text;
    /* Of spans; 0 in plain text. Microseconds of a clock that all processes of a host share
     * (CLOCK_MONOTONIC), or of the simulation's. */
    uint64_t at_us;     /* when this was said */
    uint64_t begin_us;  /* when the span began */
    uint64_t parent_id; /* the op that this op was started for; 0: none */
};
typedef void (*uvm_log_fn)(const struct uvm_log_record *record, void *arg);

/* ---- engine ------------------------------------------------------------------------------- */

struct uvm_engine_params {
    size_t size;                           /* sizeof this struct */
    const struct uvm_allocator *allocator; /* copied; NULL: malloc, realloc, free */
    uvm_log_fn log;                        /* NULL: no log */
    void *log_arg;
    enum uvm_log_level log_level; /* records above it are not made; default INFO */
};
#define UVM_ENGINE_PARAMS_INIT                                                                     \
    { sizeof(struct uvm_engine_params), NULL, NULL, NULL, UVM_LOG_INFO }

/* Makes an engine on `loop`, which must outlive it. Fails with NOMEM, INVAL, IO. */
int uvm_engine_new(struct uv_loop_s *loop, const struct uvm_engine_params *params,
                   uvm_engine **ret_engine);

/* Closes an engine on which no object is alive any more (asserted). `on_closed` runs once, later,
 * and last; after it the engine is gone and, for the engine's part, uv_loop_close() returns 0. */
void uvm_engine_close(uvm_engine *engine, void (*on_closed)(void *arg), void *arg);

/* ---- operations --------------------------------------------------------------------------- */

/* Runs exactly once per accepted start, never inside a public call. `err` is NULL on success and is
 * valid until the op is freed. CANCELED, TIMEDOUT and other codes mean that everything was undone;
 * UNDO means that something could not be and is quarantined (see the detail of `err`). */
typedef void (*uvm_done_fn)(uvm_op *op, const uvm_error *err, void *arg);

/* Asks the operation to stop as soon as nothing would be lost. Idempotent; a no-op once resolved. */
void uvm_op_cancel(uvm_op *op);
uvm_op *uvm_op_ref(uvm_op *op);
uvm_op *uvm_op_unref(uvm_op *op); /* never cancels; accepts NULL, returns NULL */
const char *uvm_op_name(const uvm_op *op);

/* A scope carries cancellation and a deadline to everything under it. `parent` NULL: the engine's
 * root. `deadline_ms` counts from now; 0: only the parent's. Fails with NOMEM. */
int uvm_scope_new(uvm_engine *engine, uvm_scope *parent, uint64_t deadline_ms,
                  uvm_scope **ret_scope);
void uvm_scope_cancel(uvm_scope *scope);
uvm_scope *uvm_scope_ref(uvm_scope *scope);
uvm_scope *uvm_scope_unref(uvm_scope *scope); /* never cancels; accepts NULL, returns NULL */

#ifdef __cplusplus
}
#endif
