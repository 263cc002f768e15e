/* SPDX-License-Identifier: MIT
 * harness.h — a utility VM in a test, as if everything blocked: boot, run, read back, nothing left.
 *
 *     uvm_harness_new()  →  uvm_harness_boot()  →  exec, push, pull, …  →  uvm_harness_close()  →  free
 *
 * For tests of programs that embed the library, with any test framework or none: nothing here prints, exits or
 * asserts. Verbs return 0 or -UVM_E_…, and uvm_harness_message() has the words, with the guest's console where
 * it helps. Each call runs the harness's own loop, and ends within its deadline. A harness counts what the
 * process has when it is made, and closing it fails when anything more is there (harness_census.h).
 *
 * One VM at a time; a test of several makes several harnesses, and closes the last one first. A service is of
 * the test's choosing; for QEMU there is harness_qemu.h. The engine and the VM can be had for what this header
 * has no verb for.
 * Ownership: params are copied. Strings and results are the harness's, and valid until the same function is
 * called again or the harness is freed.
 * Threading: one thread, the one that made it. No call from a callback of its own loop.
 */
#pragma once
#include "tests/harness/harness_census.h"
#include "uvm/uvm.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UVM_HARNESS_CALL_MS 120000u           /* a call, unless another deadline is given */
#define UVM_HARNESS_UNDO_MS 60000u            /* for what a call that failed has to take back */
#define UVM_HARNESS_OUTPUT_BYTES (1u << 20)   /* kept of each stream, unless told otherwise */
#define UVM_HARNESS_CONSOLE_BYTES (16u << 10) /* kept of the guest's console: the last ones */

typedef struct uvm_harness uvm_harness;

/* Makes the compute service that VMs run on; `arg` is uvm_harness_params.service_arg. */
typedef int (*uvm_harness_service_fn)(uvm_engine *engine, void *arg, uvm_service **ret_service);

struct uvm_harness_params {
    size_t size;                    /* sizeof this struct */
    uvm_harness_service_fn service; /* needed */
    void *service_arg;              /* borrowed during uvm_harness_new() */
    uint32_t call_ms;               /* deadline of each call; 0: UVM_HARNESS_CALL_MS */
    uint32_t settle_ms;             /* at the end, for what is about to end by itself; 0: 1 s */
    const char *const *folders;     /* whose files are counted, as in harness_census.h */
    bool shared_folders;            /* likewise */
    uvm_log_fn log;                 /* of the engine; NULL: no log */
    void *log_arg;
    enum uvm_log_level log_level;
};
#define UVM_HARNESS_PARAMS_INIT                                                                    \
    { sizeof(struct uvm_harness_params), NULL, NULL, 0, 0, NULL, false, NULL, NULL, UVM_LOG_INFO }

/* Takes the census, then makes loop, engine and service. -UVM_E_INVAL, -UVM_E_NOMEM, -UVM_E_IO, what the
 * census says and what the service says. */
int uvm_harness_new(const struct uvm_harness_params *params, uvm_harness **ret_harness);

/* Makes a VM of `vm`, whose on_console goes on being called, and boots it. -UVM_E_STATE while there is one that
 * runs; one that has ended makes room. Else as uvm_vm_new() and uvm_vm_boot(). */
int uvm_harness_boot(uvm_harness *h, const struct uvm_vm_params *vm);

/* ---- commands --------------------------------------------------------------------------------- */

struct uvm_harness_exec_params {
    size_t size;             /* sizeof this struct */
    const char *const *argv; /* NULL-terminated; needed */
    const char *const *env;  /* as in uvm_exec_params, like the next two */
    const char *cwd;
    const char *user;
    const void *input; /* what its stdin says before it ends; NULL: /dev/null */
    size_t input_bytes;
    size_t output_bytes_max; /* kept of stdout, and of stderr; 0: UVM_HARNESS_OUTPUT_BYTES */
    uint32_t deadline_ms;    /* of starting and ending together; 0: the harness's */
};
#define UVM_HARNESS_EXEC_PARAMS_INIT                                                               \
    { sizeof(struct uvm_harness_exec_params), NULL, NULL, NULL, NULL, NULL, 0, 0, 0 }

struct uvm_harness_result {
    int status;           /* as a shell has it: the exit code, or 128 + the signal */
    const char *out;      /* stdout, never NULL; a zero byte follows the last one */
    size_t out_bytes;     /* that are kept */
    uint64_t out_dropped; /* that came after those: the command is not held up */
    const char *err;      /* likewise */
    size_t err_bytes;
    uint64_t err_dropped;
};

/* Runs a command to its end. Whatever its status, that is 0; an error means that there is no status:
 * -UVM_E_PEER (no such program, …; ret->status is then 125 to 127, and the rest is empty), -UVM_E_TIMEDOUT (it
 * has been killed; ret has what it wrote until then), -UVM_E_EXITED (the VM ended), -UVM_E_STATE. */
int uvm_harness_exec(uvm_harness *h, const struct uvm_harness_exec_params *params,
                     struct uvm_harness_result *ret);
/* The same, of a line for the guest's shell, without input. */
int uvm_harness_sh(uvm_harness *h, const char *line, struct uvm_harness_result *ret);

/* Writes a file in the guest, with this mode (0644), by its shell; for small ones: data passes through memory.
 * -UVM_E_PEER and what the guest said when it could not. */
int uvm_harness_push(uvm_harness *h, const char *path, const void *data, size_t bytes,
                     unsigned mode);
/* Reads one: ret->out and ret->out_bytes. -UVM_E_LIMIT when it is longer than `bytes_max`. */
int uvm_harness_pull(uvm_harness *h, const char *path, size_t bytes_max,
                     struct uvm_harness_result *ret);

/* ---- the end ---------------------------------------------------------------------------------- */

/* uvm_vm_stop(), uvm_vm_terminate() and uvm_vm_wait() to their ends; *ret_exit (may be NULL) says how the VM
 * ended. -UVM_E_STATE without a VM that was booted. */
int uvm_harness_stop(uvm_harness *h, uint32_t grace_ms, struct uvm_vm_exit *ret_exit);
int uvm_harness_terminate(uvm_harness *h, struct uvm_vm_exit *ret_exit);
int uvm_harness_wait(uvm_harness *h, struct uvm_vm_exit *ret_exit);

/* Ends whatever still runs, closes VM, service, engine and loop, and compares. 0: nothing is left.
 * -UVM_E_UNDO: uvm_harness_message() lists what is. -UVM_E_TIMEDOUT: something did not close; it stays. Once
 * only; afterwards the queries below, and free, are what is legal. */
int uvm_harness_close(uvm_harness *h);
void uvm_harness_free(uvm_harness *h); /* closes first where that was not done; accepts NULL. What
                                        * has handles on the loop then is not freed. */

/* ---- queries, and what there is no verb for --------------------------------------------------- */

/* Of the last call that failed: what, why, and what the guest said. Never NULL. */
const char *uvm_harness_message(const uvm_harness *h);
/* The last that the guest wrote on its console, up to UVM_HARNESS_CONSOLE_BYTES. Never NULL. */
const char *uvm_harness_console(const uvm_harness *h);

struct uv_loop_s *uvm_harness_loop(uvm_harness *h);
uvm_engine *uvm_harness_engine(uvm_harness *h);
uvm_vm *uvm_harness_vm(uvm_harness *h); /* NULL before the first boot */

/* Runs the loop until *done, which a callback sets; -UVM_E_TIMEDOUT when that took longer. What the test has on
 * the loop or the engine must be gone before uvm_harness_close(). */
int uvm_harness_until(uvm_harness *h, const bool *done, uint32_t ms);

#ifdef __cplusplus
}
#endif
