/* SPDX-License-Identifier: MIT
 * exec.c — start a process in a running guest.
 *
 * One step over the bridge's exec, which is itself a saga with undo and the same commit point. Params are
 * copied into the operation (descriptors duplicated), since the step runs after the call returned. A lost
 * connection is not the news: the step waits for the VM's end to be decided and reports that.
 */
#include "async/cleanup.h"
#include "async/params.h"
#include "uvm/process_int.h"
#include <errno.h>
#include <string.h>

#define STRINGS_MAX 4096u                    /* arguments and environment together */
#define STRING_BYTES_MAX ((size_t)60 * 1024) /* a request has 64 KiB */

struct exec {
    struct uvm__vm_op base;
    uvm_process *process; /* ours until taken */
    uvm_op *child;
    struct uvm__vm_failing failing;
    struct uvm__process_params params;
    struct uvm__msg_start how; /* it did not start */
    int status;
    _Alignas(void *) char memory[]; /* the vectors, then the strings */
};

struct init_params {
    const struct uvm_exec_params *user;
    uvm_process *process;
};

/* ---- copying params ----------------------------------------------------------------------- */

static size_t count(const char *const *list) {
    size_t n = 0;
    while (list != NULL && list[n] != NULL && n <= STRINGS_MAX) {
        n++;
    }
    return n;
}

static size_t bytes_of(const char *text) {
    return text == NULL ? 0 : strnlen(text, STRING_BYTES_MAX + 1) + 1;
}

static size_t list_bytes(const char *const *list) {
    size_t n = count(list), total = 0;
    for (size_t i = 0; i < n && total <= STRING_BYTES_MAX; i++) {
        total += bytes_of(list[i]);
    }
    return total;
}

static size_t extra_bytes(const void *params) {
    const struct uvm_exec_params *u = ((const struct init_params *)params)->user;
    return (count(u->argv) + count(u->env) + 2) * sizeof(char *) + list_bytes(u->argv) +
           list_bytes(u->env) + bytes_of(u->cwd) + bytes_of(u->user);
}

static const char *pack(char **at, const char *text) {
    if (text == NULL) {
        return NULL;
    }
    size_t bytes = strlen(text) + 1;
    char *copy = memcpy(*at, text, bytes);
    *at += bytes;
    return copy;
}

static const char *const *pack_list(const char ***vector, char **at, const char *const *list) {
    if (list == NULL) {
        return NULL;
    }
    const char **begin = *vector;
    for (; *list != NULL; list++) {
        *(*vector)++ = pack(at, *list);
    }
    *(*vector)++ = NULL;
    return begin;
}

static void copy_params(struct exec *x, const struct uvm_exec_params *u) {
    const char **vector = (const char **)(void *)x->memory;
    char *at = (char *)(vector + count(u->argv) + count(u->env) + 2);
    struct uvm__process_params *p = &x->params;
    p->args = pack_list(&vector, &at, u->argv);
    p->env = pack_list(&vector, &at, u->env);
    p->cwd = pack(&at, u->cwd);
    p->user = pack(&at, u->user);
    p->terminal = u->tty;
    p->height = u->rows;
    p->width = u->cols;
    p->events = uvm__vm_process_guest_events;
}

static void close_fds(struct exec *x) {
    for (int i = 0; i < UVM__STDIO_MAX; i++) {
        uvm__close_fd(&x->params.fd[i]);
    }
}

static int copy_stdio(struct exec *x, const struct uvm_exec_params *u) {
    static const enum uvm__stdio_kind kinds[] = {[UVM_STDIO_NONE] = UVM__STDIO_NONE,
                                                 [UVM_STDIO_FD] = UVM__STDIO_FD,
                                                 [UVM_STDIO_CALLBACK] = UVM__STDIO_CALLBACK};
    for (int i = 0; i < UVM__STDIO_MAX; i++) {
        x->params.fd[i] = -1;
    }
    for (int i = 0; i < UVM__STDIO_MAX; i++) {
        x->params.stdio[i] = kinds[u->stdio[i]];
        if (u->stdio[i] == UVM_STDIO_FD) {
            x->params.fd[i] = uvm__dup_fd(u->fd[i]);
            if (x->params.fd[i] < 0) {
                int err = errno;
                close_fds(x);
                return err == EMFILE || err == ENFILE ? -UVM_E_LIMIT : -UVM_E_INVAL;
            }
        }
    }
    return 0;
}

/* ---- the step ----------------------------------------------------------------------------- */

static void on_done(uvm_op *child, const uvm_error *err, void *arg) {
    struct exec *x = arg;
    if (err == NULL) {
        uvm__vm_process_started(x->process, uvm__process_exec_result(child));
        uvm__step_done(x->base.op, NULL);
        return;
    }
    x->how = uvm__process_exec_failure(child);
    x->status = uvm__msg_start_status(&x->how);
    uvm__vm_fail_step(&x->failing, uvm_error_ref(err));
}

static void exec_run(uvm_op *op, void *state) {
    struct exec *x = state;
    uvm_vm *vm = x->base.vm;
    if (vm->state != UVM_VM_RUNNING) {
        uvm__step_done(op, uvm__error(vm->engine, UVM_E_STATE, 0, "%s is %s", vm->options.name,
                                      uvm_vm_state_text(vm->state)));
        return;
    }
    x->params.arg = x->process;
    int rc = uvm__process_exec(vm->bridge, &x->params, uvm__op_scope(op), on_done, x, &x->child);
    close_fds(x);
    if (rc < 0) {
        struct uvm__fail f = {0};
        if (rc == -UVM_E_LIMIT) {
            (void)uvm__fail(&f, UVM_E_LIMIT, 0,
                            "%s: its streams want files, and this process may open no more files "
                            "(ulimit -n), or they want ports, and none is free",
                            vm->options.name);
        }
        uvm__vm_fail_step(&x->failing, uvm__fail_error(vm->engine, rc, f.msg[0] == 0 ? NULL : &f));
    }
}

static void exec_cancel(uvm_op *op, void *state) {
    struct exec *x = state;
    (void)op;
    uvm__vm_failing_cancel(&x->failing);
}

/* ---- words -------------------------------------------------------------------------------- */

/* errno of a Linux guest, on a host that is one as well. */
static const char *errno_text(int32_t error) {
    const char *text = strerrordesc_np(error);
    return text == NULL ? "unknown error" : text;
}

/* What could not be done, in words that name it; NULL: the guest did not say. */
static uvm_error *outcome(struct uvm__vm_op *o, const uvm_error *err) {
    struct exec *x = UVM__CONTAINER_OF(o, struct exec, base);
    if (err == NULL || uvm_error_code(err) != UVM_E_PEER || x->how.step == UVM__START_NONE) {
        return NULL;
    }
    const char *what[UVM__START_MAX] = {[UVM__START_STDIO] = "its streams",
                                        [UVM__START_USER] = x->params.user,
                                        [UVM__START_CHDIR] = x->params.cwd,
                                        [UVM__START_EXEC] = x->params.args[0]};
    static const char *const failed[UVM__START_MAX] = {
        [UVM__START_STDIO] = "could not be connected",
        [UVM__START_USER] = "is no user there",
        [UVM__START_CHDIR] = "could not become its folder",
        [UVM__START_EXEC] = "could not be run"};
    bool absent = x->how.step == UVM__START_EXEC && x->how.error == ENOENT;
    const char *name = what[x->how.step] == NULL ? "" : what[x->how.step];
    uvm_error *said = uvm__error(o->vm->engine, UVM_E_PEER, uvm_error_sys(err),
                                 "%s: in the guest \"%.200s\" %s: %s", o->vm->options.name, name,
                                 absent ? "was not found" : failed[x->how.step],
                                 absent ? "no such program in PATH" : errno_text(x->how.error));
    said = uvm__error_step(said, uvm_error_step(err));
    return uvm__error_cause(said, uvm_error_ref(err));
}

/* ---- start -------------------------------------------------------------------------------- */

static int init(uvm_op *op, void *state, const void *params) {
    const struct init_params *p = params;
    struct exec *x = state;
    (void)op;
    uvm__vm_failing_init(&x->failing, &x->base);
    x->status = 125;
    copy_params(x, p->user);
    int rc = copy_stdio(x, p->user);
    if (rc == 0) {
        x->process = p->process;
    }
    return rc;
}

static void deinit(void *state) {
    struct exec *x = state;
    close_fds(x);
    uvm__vm_failing_deinit(&x->failing);
    uvm_op_unref(x->child);
    uvm_process_close(x->process);
    uvm__vm_op_deinit(&x->base);
}

static const struct uvm__step steps[] = {{"guest", exec_run, exec_cancel, NULL, true}};
static const struct uvm__saga saga = {.name = "vm exec",
                                      .steps = steps,
                                      .steps_count = 1,
                                      .state_bytes = sizeof(struct exec),
                                      .extra_bytes = extra_bytes,
                                      .init = init,
                                      .deinit = deinit};

static bool is_valid(const struct uvm_exec_params *p) {
    for (int i = 0; i < UVM_STDIO_MAX; i++) {
        if (p->stdio[i] > UVM_STDIO_CALLBACK) {
            return false;
        }
    }
    return p->argv != NULL && p->argv[0] != NULL && p->argv[0][0] != 0;
}

int uvm_exec_start(uvm_vm *vm, const struct uvm_exec_params *params, uvm_scope *scope,
                   uvm_done_fn done, void *arg, uvm_op **ret_op) {
    struct uvm_exec_params u = UVM_EXEC_PARAMS_INIT;
    if (uvm__params_read_logged(vm->engine, "uvm_exec_params", params, sizeof u, &u) < 0 ||
        !is_valid(&u)) {
        return -UVM_E_INVAL;
    }
    if (count(u.argv) + count(u.env) > STRINGS_MAX ||
        list_bytes(u.argv) + list_bytes(u.env) + bytes_of(u.cwd) + bytes_of(u.user) >
            STRING_BYTES_MAX) {
        return -UVM_E_LIMIT;
    }
    enum uvm_vm_state ignored;
    if (uvm__state_next(vm->state, UVM__EV_EXEC, &ignored) < 0) {
        return -UVM_E_STATE;
    }
    const struct init_params p = {&u, uvm__vm_process_new(vm, &u)};
    if (p.process == NULL) {
        return -UVM_E_NOMEM;
    }
    const struct uvm__vm_op_params op = {&saga, outcome, true, done, arg};
    int rc = uvm__vm_op_start(vm, scope, &op, &p, ret_op);
    if (rc < 0) {
        uvm__vm_process_unref(p.process);
    }
    return rc;
}

uvm_process *uvm_exec_result(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &saga);
    struct exec *x = uvm__op_state(op);
    return uvm__op_succeeded(op) ? UVM_TAKE_PTR(x->process) : NULL;
}

int uvm_exec_status(uvm_op *op) {
    UVM_ASSERT(uvm__op_saga(op) == &saga);
    return ((struct exec *)uvm__op_state(op))->status;
}
