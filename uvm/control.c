/* SPDX-License-Identifier: MIT
 * control.c — a VM's control socket: its folder, who may come in, what the VM's life means for clients.
 *
 * The folder is claimed under the VM's name before anything else, so that the name is taken while it boots;
 * the socket follows in it. On the way out the order is the reverse, with one thing in between: everything
 * that clients asked for is answered while the VM closes, then the folder goes, and only then do the
 * connections end. So a client that waits for the end of its connection knows that the name is free again.
 *
 * The VM calls in at four places (state, devices, console, log) and at its close; a VM without a control socket
 * pays a test for NULL. Nothing of a client is done inside these calls but writing to sockets.
 */
#include "async/cleanup.h"
#include "async/folder.h"
#include "async/params.h"
#include "uvm/control_int.h"
#include <stdio.h>
#include <unistd.h>

/* ---- clients ------------------------------------------------------------------------------ */

static void on_client(struct uvm__local *l, int take_fd, const struct uvm__local_peer *peer,
                      void *arg) {
    uvm_control *c = arg;
    UVM_CLEANUP_FD int fd = take_fd;
    (void)l;
    if (peer->uid != geteuid() && peer->uid != 0) {
        uvm__log(c->engine, UVM_LOG_WARN, c->vm->options.name, "control: user %u was turned away",
                 (unsigned)peer->uid);
        return;
    }
    if (c->conns_count >= UVM__CONTROL_CLIENTS_MAX) {
        uvm__log(c->engine, UVM_LOG_WARN, c->vm->options.name,
                 "control: a client was turned away, %u are there", c->conns_count);
        return;
    }
    (void)uvm__control_conn_new(c, UVM_TAKE_FD(fd)); /* else it sees the end of its connection */
}

static struct control_conn *conn_of(struct uvm__list *link) {
    return UVM__CONTAINER_OF(link, struct control_conn, link);
}

uint32_t uvm_control_clients(const uvm_control *control) {
    return control->conns_count;
}

/* ---- the VM's life ------------------------------------------------------------------------ */

void uvm__control_on_state(uvm_control *c) {
    struct uvm__list *it, *tmp;
    if (c->vm->state == UVM_VM_RUNNING) {
        (void)uvm_vm_accel(c->vm); /* its service cannot be asked at the end, which tells it */
    }
    UVM__LIST_FOREACH_SAFE(it, tmp, &c->conns) {
        uvm__control_calls_on_state(conn_of(it));
    }
}

void uvm__control_on_device(uvm_control *c, enum uvm__device_news news,
                            const struct uvm__attach_result *about) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &c->conns) {
        uvm__control_calls_on_device(conn_of(it), news, about);
    }
}

static void feed(uvm_control *c, enum control_source source, const void *data, size_t bytes) {
    struct uvm__list *conn, *it, *tmp;
    UVM__LIST_FOREACH(conn, &c->conns) {
        UVM__LIST_FOREACH_SAFE(it, tmp, &conn_of(conn)->calls) {
            struct control_call *call = UVM__CONTAINER_OF(it, struct control_call, link);
            if (call->stream != NULL) {
                uvm__control_stream_feed(call->stream, source, data, bytes);
            }
        }
    }
}

void uvm__control_on_console(uvm_control *c, const void *data, size_t bytes) {
    feed(c, CONTROL_CONSOLE, data, bytes);
}

static void on_log(const void *data, size_t bytes, void *arg) {
    feed(arg, CONTROL_LOG, data, bytes);
}

/* ---- the end ------------------------------------------------------------------------------ */

static void on_free(struct uvm__ready *r) {
    uvm_control *c = UVM__CONTAINER_OF(r, uvm_control, free_ready);
    uvm_vm *vm = c->vm;
    uvm_engine *e = c->engine;
    void (*on_closed)(void *) = c->on_closed;
    void *arg = c->closed_arg;
    UVM_ASSERT(uvm__list_empty(&c->conns) && c->listener == NULL && c->folder_fd < 0);
    vm->control = NULL;
    uvm__free(e, c);
    if (on_closed != NULL) {
        on_closed(arg);
    }
    uvm__vm_close_turn(vm);
    uvm__vm_unref(vm);
}

static void check_gone(uvm_control *c) {
    if (c->ended && c->conns_count == 0) {
        uvm__ready_push(c->engine, &c->free_ready);
    }
}

void uvm__control_on_conn_gone(uvm_control *c, struct control_conn *conn) {
    (void)conn;
    UVM_ASSERT(c->conns_count > 0);
    c->conns_count--;
    check_gone(c);
}

void uvm__control_closing(uvm_control *c) {
    struct uvm__list *it;
    if (c->ending) {
        return;
    }
    c->ending = true;
    uvm__local_close(c->listener);
    c->listener = NULL;
    UVM__LIST_FOREACH(it, &c->conns) {
        struct control_conn *conn = conn_of(it);
        if (!conn->torn) {
            uvm__sock_reading(conn->sock, false);
            uvm__deadline_clear(conn->engine, &conn->timer);
        }
    }
}

void uvm__control_end(uvm_control *c) {
    struct uvm__list *it, *tmp;
    if (c->ended) {
        return;
    }
    uvm__control_closing(c);
    c->ended = true;
    c->vm->log.sink = NULL;
    uvm__control_remember(c);
    uvm__folder_release(c->engine, c->parent_fd, c->vm->options.name, UVM_TAKE_FD(c->folder_fd));
    uvm__close_fd(&c->parent_fd);
    UVM__LIST_FOREACH_SAFE(it, tmp, &c->conns) {
        struct control_conn *conn = conn_of(it);
        uvm__control_calls_end(conn);
        uvm__control_processes_end(conn);
        uvm__control_conn_leave(conn);
    }
    check_gone(c);
}

void uvm_control_close(uvm_control *control, void (*on_closed)(void *arg), void *arg) {
    struct uvm__list *it;
    UVM_ASSERT(!control->ending && !control->vm->closing);
    control->on_closed = on_closed;
    control->closed_arg = arg;
    UVM__LIST_FOREACH(it, &control->conns) {
        uvm__control_conn_doom(conn_of(it));
    }
    uvm__control_end(control);
}

/* ---- begin -------------------------------------------------------------------------------- */

static int write_about(uvm_control *c, struct uvm__fail *f) {
    cJSON *o = cJSON_CreateObject();
    size_t bytes = 0;
    bool ok = o != NULL && cJSON_AddStringToObject(o, "id", c->vm->options.id) != NULL &&
              cJSON_AddStringToObject(o, "name", c->vm->options.name) != NULL &&
              uvm__json_add_u64(o, "owner_pid", c->owner_pid) != NULL &&
              uvm__json_add_u64(o, "started_ms", c->started_ms) != NULL &&
              uvm__json_add_u64(o, "memory_mb", c->vm->options.memory_mb) != NULL &&
              uvm__json_add_u64(o, "ledger", uvm__vm_ledger(c->vm)) != NULL;
    char *text = ok ? uvm__json_print(c->engine, o, &bytes) : NULL;
    cJSON_Delete(o);
    int rc = text == NULL ? -UVM_E_NOMEM
                          : uvm__folder_write(c->folder_fd, UVM_CONTROL_ABOUT, text, bytes, f);
    uvm__free(c->engine, text);
    return rc;
}

/* What the folder says of a file or of itself, with the path that a person can look at. */
static int in_folder(int rc, const char *folder, struct uvm__fail *f) {
    char said[sizeof f->msg];
    (void)snprintf(said, sizeof said, "%s", f->msg);
    return uvm__fail(f, (enum uvm_error_code) - rc, f->sys, "the state folder %s: %s", folder,
                     said);
}

static int open_all(uvm_control *c, const char *folder, struct uvm__fail *f) {
    const char *name = c->vm->options.name;
    int rc = uvm__folder_open(folder, true, &c->parent_fd, f);
    if (rc < 0) {
        return rc;
    }
    rc = uvm__folder_claim(c->engine, c->parent_fd, name, &c->folder_fd, f);
    if (rc == -UVM_E_EXISTS) {
        return uvm__fail(f, UVM_E_EXISTS, 0, "%s: a UVM of this name is there already", name);
    }
    rc = rc < 0 ? rc : write_about(c, f);
    if (rc == 0) {
        uvm__control_forget(c);
        const struct uvm__local_params p = {.folder_fd = c->folder_fd,
                                            .name = UVM_CONTROL_SOCKET,
                                            .backlog = UVM__CONTROL_BACKLOG,
                                            .on_client = on_client,
                                            .arg = c};
        rc = uvm__local_listen(c->engine, &p, &c->listener, f);
    }
    return rc == 0 || rc == -UVM_E_NOMEM ? rc : in_folder(rc, folder, f);
}

static int listen_on(uvm_vm *vm, const struct uvm_control_params *p, uvm_control **ret,
                     struct uvm__fail *f) {
    if (p->folder == NULL || p->folder[0] != '/') {
        return uvm__fail(f, UVM_E_INVAL, 0, "the state folder is no absolute path");
    }
    if (vm->control != NULL || vm->closing) {
        return uvm__fail(f, UVM_E_STATE, 0, "%s: %s", vm->options.name,
                         vm->closing ? "is being closed" : "has a control socket");
    }
    uvm_control *c = uvm__zalloc(vm->engine, sizeof *c);
    if (c == NULL) {
        return -UVM_E_NOMEM;
    }
    c->vm = vm;
    c->engine = vm->engine;
    c->parent_fd = c->folder_fd = -1;
    c->owner_pid = p->owner_pid;
    c->started_ms = uvm__wall_ns(vm->engine) / 1000000u;
    uvm__list_init(&c->conns);
    uvm__ready_init(&c->free_ready, on_free);
    int rc = open_all(c, p->folder, f);
    if (rc < 0) {
        if (c->folder_fd >= 0) {
            uvm__folder_release(c->engine, c->parent_fd, vm->options.name,
                                UVM_TAKE_FD(c->folder_fd));
        }
        uvm__close_fd(&c->parent_fd);
        uvm__free(vm->engine, c);
        return rc;
    }
    uvm__vm_ref(vm);
    vm->control = c;
    vm->log.sink = on_log;
    vm->log.sink_arg = c;
    *ret = c;
    return 0;
}

int uvm_control_listen(uvm_vm *vm, const struct uvm_control_params *params, uvm_control **ret,
                       uvm_error **ret_err) {
    struct uvm_control_params p = UVM_CONTROL_PARAMS_INIT;
    struct uvm__fail f = {0};
    uvm_control *c = NULL;
    int rc = uvm__params_read("uvm_control_params", params, sizeof p, &p, &f);
    rc = rc < 0 ? rc : listen_on(vm, &p, &c, &f);
    if (rc < 0) {
        if (ret_err != NULL) {
            *ret_err = uvm__fail_error(vm->engine, rc, &f);
        }
        return rc;
    }
    if (ret != NULL) {
        *ret = c;
    }
    return 0;
}
