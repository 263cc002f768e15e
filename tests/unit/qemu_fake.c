/* SPDX-License-Identifier: MIT
 * qemu_fake.c — see qemu_fake.h.
 */
#include "tests/unit/qemu_fake.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "async/alloc.h"
#include "async/engine_int.h"
#include "async/json.h"
#include "async/op_int.h"
#include "async/sock.h"
#include "hcs/qemu/modify.h"

/* ---- ledger ------------------------------------------------------------------------------- */

static char *find_word(char *list, const char *word) {
    size_t n = strlen(word);
    for (char *at = list; *at != '\0'; at = strchr(at, ' ') + 1) {
        if (strncmp(at, word, n) == 0 && at[n] == ' ') {
            return at;
        }
    }
    return NULL;
}

static void put_word(char *list, size_t bytes, const char *word) {
    size_t len = strlen(list);
    assert_null(find_word(list, word)); /* names are never used twice at a time */
    assert_true(len + strlen(word) + 2 < bytes);
    (void)snprintf(list + len, bytes - len, "%s ", word);
}

static bool drop_word(char *list, const char *word) {
    char *at = find_word(list, word);
    if (at == NULL) {
        return false;
    }
    char *rest = at + strlen(word) + 1;
    memmove(at, rest, strlen(rest) + 1);
    return true;
}

void fake_expect_empty(const struct fake *f) {
    assert_string_equal(f->devices, "");
    assert_string_equal(f->nodes, "");
    assert_string_equal(f->fdsets, "");
}

/* ---- the model ---------------------------------------------------------------------------- */

static const char *text_of(const cJSON *args, const char *key, char buf[64]) {
    const cJSON *node = uvm__json_get(UVM__JSON_STRICT, args, key);
    const char *text = uvm__json_is_number(node) ? uvm__json_number(node) : uvm__json_string(node);
    assert_non_null(text);
    (void)snprintf(buf, 64, "%s", text);
    return buf;
}

/* A number behind the last '-' or '/'. */
static const char *number_in(const char *text) {
    const char *dash = strrchr(text, '-'), *slash = strrchr(text, '/');
    const char *at = dash > slash ? dash : slash;
    return at == NULL ? text : at + 1;
}

/* Does it; the class of the error, or NULL. */
static const char *act(struct fake *f, const char *name, const cJSON *args) {
    char text[64];
    if (strcmp(name, "add-fd") == 0) {
        put_word(f->fdsets, sizeof f->fdsets, text_of(args, "fdset-id", text));
        return NULL;
    }
    if (strcmp(name, "remove-fd") == 0) {
        assert_null(find_word(f->nodes, text_of(args, "fdset-id", text)));
        return drop_word(f->fdsets, text) ? NULL : "GenericError";
    }
    if (strcmp(name, "blockdev-add") == 0) {
        char file[64];
        const cJSON *child = uvm__json_get(UVM__JSON_STRICT, args, "file");
        (void)snprintf(file, sizeof file, "%s", number_in(text_of(child, "filename", text)));
        assert_non_null(find_word(f->fdsets, file));
        put_word(f->nodes, sizeof f->nodes, number_in(text_of(args, "node-name", text)));
        return NULL;
    }
    if (strcmp(name, "blockdev-del") == 0) {
        const char *number = number_in(text_of(args, "node-name", text));
        if (find_word(f->devices, number) != NULL) {
            return "GenericError"; /* in use */
        }
        return drop_word(f->nodes, number) ? NULL : "GenericError";
    }
    if (strcmp(name, "device_add") == 0) {
        if (uvm__json_get(UVM__JSON_STRICT, args, "drive") != NULL) {
            char node[64];
            (void)snprintf(node, sizeof node, "%s", number_in(text_of(args, "drive", text)));
            assert_non_null(find_word(f->nodes, node));
        }
        put_word(f->devices, sizeof f->devices, number_in(text_of(args, "id", text)));
        return NULL;
    }
    assert_string_equal(name, "device_del");
    return drop_word(f->devices, number_in(text_of(args, "id", text))) ? NULL : "DeviceNotFound";
}

static void say(struct fake *f, const char *text) {
    if (f->peer >= 0) {
        assert_int_equal(send(f->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    }
}

void fake_release(struct fake *f) {
    char text[sizeof f->held];
    memcpy(text, f->held, sizeof text);
    f->held[0] = '\0';
    say(f, text);
    fake_turns(f);
}

void fake_die(struct fake *f) {
    f->system->facts.exited = true;
    close(f->peer);
    f->peer = -1;
}

static void answer(struct fake *f, enum fake_fault fault, const char *name, const cJSON *args,
                   const char *id) {
    char reply[256], event[256] = "", text[64];
    bool effect = fault != FAKE_REFUSE && fault != FAKE_HOLD_REFUSE && fault != FAKE_DIE_BEFORE;
    const char *class = effect ? act(f, name, args) : "GenericError";

    class = fault == FAKE_NOT_FOUND ? "DeviceNotFound" : class;
    if (class == NULL) {
        (void)snprintf(reply, sizeof reply, "{\"return\":{},\"id\":%s}\n", id);
    } else {
        (void)snprintf(reply, sizeof reply,
                       "{\"error\":{\"class\":\"%s\",\"desc\":\"%s%s\"},\"id\":%s}\n", class,
                       f->desc == NULL ? "no " : f->desc, f->desc == NULL ? name : "", id);
    }
    if (class == NULL && strcmp(name, "device_del") == 0) {
        (void)snprintf(
            event, sizeof event,
            "{\"event\":\"DEVICE_DELETED\",\"data\":{\"path\":\"/x\"}}\n"
            "{\"event\":\"DEVICE_DELETED\",\"data\":{\"device\":\"%s\",\"path\":\"/x\"}}\n",
            text_of(args, "id", text));
    }
    switch (fault) {
    case FAKE_HOLD:
    case FAKE_HOLD_REFUSE:
        (void)snprintf(f->held, sizeof f->held, "%s%s", reply, event);
        break;
    case FAKE_NO_EVENT:
        say(f, reply);
        (void)snprintf(f->held, sizeof f->held, "%s", event);
        break;
    case FAKE_EVENT_FIRST:
        say(f, event);
        say(f, reply);
        break;
    case FAKE_DIE_BEFORE:
    case FAKE_DIE_AFTER:
        fake_die(f);
        break;
    default:
        say(f, reply);
        say(f, event);
    }
}

static void serve_line(struct fake *f, const char *line) {
    cJSON *m = NULL;
    struct uvm__fail fail;
    char name[64], id[64], *printed;
    assert_int_equal(uvm__json_read(UVM__JSON_STRICT, line, strlen(line), &m, &fail), 0);
    text_of(m, "execute", name);
    text_of(m, "id", id);
    const cJSON *args = uvm__json_get(UVM__JSON_STRICT, m, "arguments");
    size_t len = strlen(f->said);
    if (f->plugs < FAKE_PLUGS_MAX && strncmp(name, "device_", 7) == 0) {
        f->plug_ms[f->plugs++] = uvm__now_ms(f->kit.engine);
    }
    (void)snprintf(f->said + len, sizeof f->said - len, "%s ", name);
    printed = uvm__json_print(f->kit.engine, args, NULL);
    if (strcmp(name, "blockdev-add") == 0 && printed != NULL) {
        (void)snprintf(f->last_node, sizeof f->last_node, "%s", printed);
    } else if (strcmp(name, "device_add") == 0 && printed != NULL) {
        (void)snprintf(f->last_device, sizeof f->last_device, "%s", printed);
    }
    uvm__free(f->kit.engine, printed);
    enum fake_fault fault = FAKE_NONE;
    if (f->fault_command != NULL && f->fault_times > 0 && strcmp(name, f->fault_command) == 0) {
        fault = f->fault;
        f->fault_times--;
        f->faulted = true;
    }
    answer(f, fault, name, args, id);
    cJSON_Delete(m);
}

/* True when something came. */
static bool serve(struct fake *f) {
    char buf[16384], control[CMSG_SPACE(sizeof(int) * 4)];
    struct iovec iov = {buf, sizeof buf - 1};
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (f->peer < 0) {
        return false;
    }
    ssize_t n = recvmsg(f->peer, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0) {
        return false;
    }
    buf[n] = '\0';
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c != NULL; c = CMSG_NXTHDR(&h, c)) {
        int fd;
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
        close(fd);
        f->fds_came++;
    }
    for (char *line = buf, *end; *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        assert_non_null(end); /* commands come whole: one send each */
        *end = '\0';
        serve_line(f, line);
    }
    return true;
}

void fake_turns(struct fake *f) {
    do {
        loop_turns(&f->kit);
    } while (serve(f));
    loop_turns(&f->kit);
}

/* ---- the system --------------------------------------------------------------------------- */

static void on_event(struct uvm__hcs_system *s, const struct uvm__hcs_event *ev, void *arg) {
    struct fake *f = arg;
    assert_ptr_equal(s, &f->system->base);
    assert_false(f->exited);
    f->exited = ev->kind == UVM__HCS_EVENT_EXITED;
    if (ev->kind == UVM__HCS_EVENT_RELEASED) {
        f->released++;
        (void)snprintf(f->released_path, sizeof f->released_path, "%s", ev->resource);
    }
}

static void on_ready(struct uvm__qmp *q, void *arg) {
    (void)q;
    (void)arg;
}

static const struct uvm__hcs_ops ops = {.name = "fake",
                                        .modify = uvm__qemu_modify,
                                        .properties = uvm__qemu_properties,
                                        .close = uvm__qemu_close};

static void open_system(struct fake *f, bool paced) {
    static const char greeting[] =
        "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":1,\"minor\":2,\"major\":7}}}}\n"
        "{\"return\":{},\"id\":0}\n";
    int pair[2];
    char drain[256];
    memset(f, 0, sizeof *f);
    f->paced = paced;
    loop_open(&f->kit);
    f->service.base.ops = &ops;
    f->service.base.engine = f->kit.engine;
    f->service.users = 1;
    uvm__list_init(&f->service.systems);
    const struct uvm__hcs_create_params p = {.id = "01234567-89ab-cdef-0123-456789abcdef",
                                             .name = "test",
                                             .document = "",
                                             .on_event = on_event,
                                             .arg = f};
    assert_int_equal(uvm__qemu_system_new(&f->service, &p, &f->system), 0);
    struct uvm__qemu_system *s = f->system;
    for (unsigned i = 0; i < 2; i++) {
        f->controllers[i].guid = uvm__doc_scsi_controller_guids[i];
    }
    s->doc.vm.devices.scsi = f->controllers;
    s->doc.vm.devices.scsi_count = 2;
    assert_int_equal(uvm__sock_pair(pair), 0);
    f->peer = pair[1];
    const struct uvm__qmp_params qmp = {.take_fd = pair[0],
                                        .on_ready = on_ready,
                                        .on_event = uvm__qemu_on_qmp_event,
                                        .on_end = uvm__qemu_on_qmp_end,
                                        .arg = s};
    assert_int_equal(uvm__qmp_open(f->kit.engine, &qmp, &s->qmp), 0);
    say(f, greeting);
    loop_turns(&f->kit);
    assert_true(uvm__qmp_ready(s->qmp));
    assert_true(recv(f->peer, drain, sizeof drain, MSG_DONTWAIT) > 0);
    s->state = UVM__QEMU_RUNNING;
    for (unsigned i = 0; i < 2 && !f->paced; i++) {
        uvm__pace_open(&s->plugs[i]);
    }
    uvm__qemu_take(s);
}

void fake_open(struct fake *f) {
    open_system(f, false);
}

void fake_open_paced(struct fake *f) {
    open_system(f, true);
}

static void set_true(void *arg) {
    *(bool *)arg = true;
}

void fake_close(struct fake *f) {
    bool closed = false;
    uvm__qemu_close(&f->system->base, set_true, &closed);
    loop_until(&f->kit, &closed);
    if (f->peer >= 0) {
        close(f->peer);
    }
    assert_int_equal(f->service.users, 1);
    loop_close(&f->kit);
}

/* ---- changes ------------------------------------------------------------------------------ */

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct fake_change *c = arg;
    assert_ptr_equal(op, c->op);
    assert_false(c->done);
    c->done = true;
    c->code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
    (void)snprintf(c->message, sizeof c->message, "%s", err == NULL ? "" : uvm_error_message(err));
}

void fake_change(struct fake *f, struct fake_change *c, uvm_scope *scope, const char *path,
                 const char *verb, const char *settings) {
    char text[2048];
    int n =
        snprintf(text, sizeof text, "{\"ResourcePath\":\"%s\",\"RequestType\":\"%s\"%s%s}", path,
                 verb, settings == NULL ? "" : ",\"Settings\":", settings == NULL ? "" : settings);
    const struct uvm__hcs_modify_params p = {.request = text, .request_bytes = (size_t)n};
    memset(c, 0, sizeof *c);
    int rc = uvm__hcs_modify(&f->system->base, &p, scope, on_done, c, &c->op);
    if (rc < 0) {
        c->done = true;
        c->code = -rc;
    }
}

int fake_finish(struct fake *f, struct fake_change *c) {
    uv_timer_t timer;
    uv_timer_init(&f->kit.loop, &timer);
    timer.data = &f->kit;
    f->kit.late = false;
    uv_timer_start(&timer, loop_on_late, LOOP_LATE_MS, 0);
    fake_turns(f);
    while (!c->done && !f->kit.late) { /* something is tried again, by the clock */
        uv_run(&f->kit.loop, UV_RUN_ONCE);
        fake_turns(f);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    loop_turns(&f->kit);
    assert_true(c->done);
    c->op = uvm_op_unref(c->op);
    return c->code;
}

void fake_give_up(struct fake *f) {
    struct uvm__list *it, *tmp;
    UVM__LIST_FOREACH_SAFE(it, tmp, &f->kit.engine->ops) {
        uvm_op *op = UVM__CONTAINER_OF(it, uvm_op, link);
        bool waits = op->phase == UVM__OP_UNDO || uvm__scope_reason(&op->scope) != UVM__GO;
        if (waits && op->saga->steps[op->step].child == false) {
            uvm__scope_fail(&op->undo_scope, UVM__TIMED_OUT, NULL);
        }
    }
    fake_turns(f);
}
