/* SPDX-License-Identifier: MIT
 * control_exec.c — processes that a control client runs in the guest, on descriptors of its own.
 *
 * A process belongs to the connection that started it, under a number. wait gives its end and forgets it.
 * When the connection ends first, the process is killed with its group, under the VM's scope (the
 * connection's is cancelled by then), and let go when the guest has answered; one that was about to start
 * is undone by its exec. An agent that cannot signal leaves it running: then only its streams end.
 */
#include "async/cleanup.h"
#include "uvm/control_int.h"
#include <signal.h>
#include <string.h>

#define WORDS_MAX 4096u

static uvm_vm *vm_of(const struct control_call *call) {
    return call->conn->control->vm;
}

/* ---- processes ---------------------------------------------------------------------------- */

static void process_free(struct control_process *p) {
    struct control_conn *conn = p->conn;
    uvm_process_close(p->process);
    uvm__list_remove(&p->link);
    UVM_ASSERT(conn->processes_count > 0);
    conn->processes_count--;
    uvm__free(conn->engine, p);
    uvm__control_conn_check(conn);
}

static void on_killed(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    (void)err; /* whatever it says: there is nothing else that we could do */
    process_free(arg);
}

/* Kills it if it runs, then lets go. */
static void process_end(struct control_process *p) {
    struct uvm_process_exit exit;
    if (p->ending) {
        return;
    }
    p->ending = true;
    if (p->process == NULL || uvm_process_exit(p->process, &exit) == 0 ||
        uvm_process_signal(p->process, SIGKILL, true, NULL, on_killed, p, NULL) < 0) {
        process_free(p);
    }
}

void uvm__control_processes_end(struct control_conn *conn) {
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &conn->processes) {
        struct control_process *p = UVM__CONTAINER_OF(it, struct control_process, link);
        if (p->process != NULL) { /* else its exec is under way, and brings it here */
            process_end(p);
        }
    }
}

static int find(const struct control_call *call, const cJSON *params, struct control_process **ret,
                struct uvm__fail *f) {
    uint64_t number = 0;
    int rc = uvm__control_get_u64(params, "process", 1, UINT64_MAX, &number, f);
    if (rc < 0) {
        return rc;
    }
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &call->conn->processes) {
        struct control_process *p = UVM__CONTAINER_OF(it, struct control_process, link);
        if (p->number == number && p->process != NULL) {
            *ret = p;
            return 0;
        }
    }
    return uvm__fail(f, UVM_E_NOTFOUND, 0, "this connection runs no process %llu",
                     (unsigned long long)number);
}

/* ---- exec --------------------------------------------------------------------------------- */

/* "fd" or "none" for each stream; *ret_count: how many descriptors that takes. */
static int read_stdio(const cJSON *params, struct uvm_exec_params *x, size_t *ret_count,
                      struct uvm__fail *f) {
    const cJSON *list = params == NULL ? NULL : uvm__json_get(UVM__JSON_STRICT, params, "stdio");
    const cJSON *node;
    size_t n = 0;
    *ret_count = 0;
    if (list == NULL) {
        return 0;
    }
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != UVM_STDIO_MAX) {
        return uvm__fail(f, UVM_E_INVAL, 0, "params: \"stdio\" is no list of three");
    }
    cJSON_ArrayForEach(node, list) {
        const char *kind = uvm__json_string(node);
        bool fd = kind != NULL && strcmp(kind, "fd") == 0;
        if (!fd && (kind == NULL || strcmp(kind, "none") != 0)) {
            return uvm__fail(f, UVM_E_INVAL, 0, "params: \"stdio\": \"fd\" or \"none\"");
        }
        x->stdio[n++] = fd ? UVM_STDIO_FD : UVM_STDIO_NONE;
        *ret_count += fd;
    }
    return 0;
}

static int read_rest(const cJSON *params, struct uvm_exec_params *x, struct uvm__fail *f) {
    uint64_t rows = 0, cols = 0;
    int rc = uvm__control_get_text(params, "cwd", &x->cwd, f);
    rc = rc < 0 ? rc : uvm__control_get_text(params, "user", &x->user, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(params, "tty", &x->tty, f);
    rc = rc < 0 ? rc : uvm__control_get_u64(params, "rows", 0, UINT16_MAX, &rows, f);
    rc = rc < 0 ? rc : uvm__control_get_u64(params, "cols", 0, UINT16_MAX, &cols, f);
    x->rows = (uint16_t)rows;
    x->cols = (uint16_t)cols;
    return rc;
}

static void on_started(uvm_op *op, const uvm_error *err, void *arg) {
    struct control_call *call = arg;
    struct control_process *p = UVM_TAKE_PTR(call->process);
    if (err != NULL) {
        process_free(p);
        call->exec_status = uvm_error_code(err) == UVM_E_PEER ? uvm_exec_status(op) : 0;
        uvm__control_refuse(call, err);
        return;
    }
    p->process = uvm_exec_result(op);
    if (call->conn->torn) {
        process_end(p);
        uvm__control_reply(call, NULL);
        return;
    }
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && uvm__json_add_u64(o, "process", p->number) != NULL &&
              uvm__json_add_u64(o, "pid", uvm_process_pid(p->process)) != NULL;
    if (!ok) {
        cJSON_Delete(o);
        o = NULL; /* the connection ends, and the process with it */
    }
    uvm__control_reply(call, o);
}

static int start(struct control_call *call, struct uvm_exec_params *x, size_t fds_count,
                 struct uvm__fail *f) {
    struct control_conn *conn = call->conn;
    int fds[UVM_STDIO_MAX];
    size_t n = 0;
    int rc = uvm__control_take_fds(conn, fds, fds_count, f);
    if (rc < 0) {
        return rc;
    }
    for (int i = 0; i < UVM_STDIO_MAX; i++) {
        x->fd[i] = x->stdio[i] == UVM_STDIO_FD ? fds[n++] : -1;
    }
    struct control_process *p = uvm__zalloc(conn->engine, sizeof *p);
    if (p == NULL) {
        rc = -UVM_E_NOMEM;
    } else {
        rc = uvm_exec_start(vm_of(call), x, conn->scope, on_started, call, &call->op);
    }
    for (size_t i = 0; i < fds_count; i++) {
        uvm__close_fd(&fds[i]);
    }
    if (rc < 0) {
        uvm__free(conn->engine, p);
        return rc == -UVM_E_INVAL
                   ? uvm__fail(f, UVM_E_INVAL, 0, "params: \"argv\" names no program")
               : rc == -UVM_E_LIMIT
                   ? uvm__fail(f, UVM_E_LIMIT, 0,
                               "%s: the words are too many, or its owner may open no more files "
                               "(ulimit -n)",
                               vm_of(call)->options.name)
                   : uvm__control_refused(vm_of(call), rc, f);
    }
    p->conn = conn;
    p->number = ++conn->next_process;
    uvm__list_init(&p->link);
    uvm__list_append(&conn->processes, &p->link);
    conn->processes_count++;
    call->process = p;
    return 0;
}

int uvm__control_exec(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    struct control_conn *conn = call->conn;
    struct uvm_exec_params x = UVM_EXEC_PARAMS_INIT;
    const char **argv = NULL, **env = NULL;
    size_t fds_count = 0;
    if (conn->processes_count >= UVM__CONTROL_PROCESSES_MAX) {
        return uvm__fail(f, UVM_E_LIMIT, 0, "this connection runs %u processes",
                         conn->processes_count);
    }
    int rc = uvm__control_get_list(conn->engine, params, "argv", WORDS_MAX, &argv, f);
    rc = rc < 0 ? rc : uvm__control_get_list(conn->engine, params, "env", WORDS_MAX, &env, f);
    rc = rc < 0 ? rc : read_stdio(params, &x, &fds_count, f);
    rc = rc < 0 ? rc : read_rest(params, &x, f);
    if (rc == 0) {
        x.argv = argv;
        x.env = env;
        rc = start(call, &x, fds_count, f);
    }
    uvm__free(conn->engine, (void *)argv);
    uvm__free(conn->engine, (void *)env);
    return rc;
}

/* ---- signal, resize, wait ----------------------------------------------------------------- */

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    if (err != NULL) {
        uvm__control_refuse(arg, err);
    } else {
        uvm__control_reply(arg, cJSON_CreateObject());
    }
}

int uvm__control_signal(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    struct control_process *p = NULL;
    uint64_t signo = 0;
    bool group = false;
    int rc = find(call, params, &p, f);
    rc = rc < 0 ? rc : uvm__control_get_u64(params, "signal", 1, 64, &signo, f);
    rc = rc < 0 ? rc : uvm__control_get_bool(params, "group", &group, f);
    if (rc < 0) {
        return rc;
    }
    rc = uvm_process_signal(p->process, (int)signo, group, call->conn->scope, on_done, call,
                            &call->op);
    return rc == -UVM_E_INVAL ? uvm__fail(f, UVM_E_INVAL, 0, "params: which \"signal\"?")
           : rc < 0           ? uvm__control_refused(vm_of(call), rc, f)
                              : 0;
}

int uvm__control_resize(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    struct control_process *p = NULL;
    uint64_t rows = 0, cols = 0;
    int rc = find(call, params, &p, f);
    rc = rc < 0 ? rc : uvm__control_get_u64(params, "rows", 0, UINT16_MAX, &rows, f);
    rc = rc < 0 ? rc : uvm__control_get_u64(params, "cols", 0, UINT16_MAX, &cols, f);
    if (rc < 0) {
        return rc;
    }
    rc = uvm_process_resize(p->process, (uint16_t)rows, (uint16_t)cols, call->conn->scope, on_done,
                            call, &call->op);
    return rc < 0 ? uvm__control_refused(vm_of(call), rc, f) : 0;
}

static void on_exit(uvm_op *op, const uvm_error *err, void *arg) {
    struct control_call *call = arg;
    struct uvm_process_exit exit = {0};
    struct uvm__list *it, *tmp;
    (void)op;
    if (err != NULL) {
        uvm__control_refuse(call, err);
        return;
    }
    struct control_process *found = NULL;
    UVM__LIST_FOREACH_SAFE(it, tmp, &call->conn->processes) {
        struct control_process *p = UVM__CONTAINER_OF(it, struct control_process, link);
        found = p->number == call->number ? p : found;
    }
    if (found == NULL || uvm_process_exit(found->process, &exit) < 0) {
        struct uvm__fail f;
        int rc = uvm__fail(&f, UVM_E_NOTFOUND, 0, "another wait took process %llu",
                           (unsigned long long)call->number);
        uvm__control_refuse_code(call, rc, &f);
        return;
    }
    const char *lost = uvm_process_lost(found->process);
    cJSON *o = cJSON_CreateObject();
    bool ok = o != NULL && uvm__json_add_u64(o, "code", exit.code) != NULL &&
              uvm__json_add_i64(o, "signal", exit.signal) != NULL &&
              cJSON_AddBoolToObject(o, "core", exit.core) != NULL &&
              (lost[0] == 0 || uvm__control_add_text(o, "lost", lost) != NULL);
    if (!found->ending) {
        process_free(found);
    }
    if (!ok) {
        cJSON_Delete(o);
        o = NULL;
    }
    uvm__control_reply(call, o);
}

int uvm__control_wait(struct control_call *call, const cJSON *params, struct uvm__fail *f) {
    struct control_process *p = NULL;
    int rc = find(call, params, &p, f);
    if (rc < 0) {
        return rc;
    }
    UVM_ASSERT(p != NULL);
    call->number = p->number;
    rc = uvm_process_wait(p->process, call->conn->scope, on_exit, call, &call->op);
    return rc < 0 ? uvm__control_refused(vm_of(call), rc, f) : 0;
}
