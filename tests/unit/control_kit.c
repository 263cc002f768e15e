/* SPDX-License-Identifier: MIT
 * control_kit.c — see control_kit.h. The clients live in this process: their sockets are read without
 * waiting, and the loop turns in between.
 */
#include "tests/unit/control_kit.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* ---- the VM ------------------------------------------------------------------------------- */

static void on_start(struct uvm__hcs_system *s, struct uvm__hvsock *hvsock, void *arg) {
    struct control_kit *k = arg;
    k->guest = guest_new(k->loop.engine, s, hvsock, &k->script, &k->seen);
}

static void on_stop(struct uvm__hcs_system *s, void *arg) {
    struct control_kit *k = arg;
    (void)s;
    guest_stop(k->guest);
    k->guest = NULL;
}

static void on_disk_removed(struct uvm__hcs_system *s, unsigned controller, uint64_t lun,
                            void *arg) {
    struct control_kit *k = arg;
    (void)s;
    guest_disk_removed(k->guest, controller, lun);
}

static void on_booted(uvm_op *op, const uvm_error *err, void *arg) {
    struct control_kit *k = arg;
    (void)op;
    k->booted = true;
    k->boot_code = err == NULL ? UVM_OK : (int)uvm_error_code(err);
}

void control_kit_boot(struct control_kit *k) {
    assert_int_equal(uvm_vm_boot(k->vm, NULL, on_booted, k, NULL), 0);
}

void control_kit_open(struct control_kit *k, bool boot) {
    struct guest_script script = k->script;
    *k = (struct control_kit){.script = script};
    loop_open(&k->loop);
    const struct uvm__sim_params sim = {.act_ms = 1,
                                        .answer_ms = 1,
                                        .on_start = on_start,
                                        .on_stop = on_stop,
                                        .on_disk_removed = on_disk_removed,
                                        .arg = k};
    assert_int_equal(uvm__sim_host_new(k->loop.engine, &sim, &k->host), 0);
    k->service = uvm__sim_service(k->host);
    struct uvm_vm_params p = UVM_VM_PARAMS_INIT;
    p.name = "demo";
    p.kernel = "/boot/vmlinux";
    p.initrd = "/boot/initrd.img";
    assert_int_equal(uvm_vm_new(k->loop.engine, k->service, &p, &k->vm, NULL), 0);
    (void)snprintf(k->folder, sizeof k->folder, "/tmp/uvm_controlXXXXXX");
    assert_non_null(mkdtemp(k->folder));
    struct uvm_control_params cp = UVM_CONTROL_PARAMS_INIT;
    cp.folder = k->folder;
    cp.owner_pid = (uint32_t)getpid();
    assert_int_equal(uvm_control_listen(k->vm, &cp, &k->control, NULL), 0);
    if (boot) {
        control_kit_boot(k);
        loop_until(&k->loop, &k->booted);
        assert_int_equal(k->boot_code, UVM_OK);
    }
    k->fds = loop_fds();
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

void control_kit_close_vm(struct control_kit *k) {
    uvm_vm_close(k->vm, on_closed, &k->closed);
    k->vm = NULL;
}

/* What is remembered of ends; nothing else may be in the folder. */
static void forget_ends(struct control_kit *k) {
    int state;
    struct uvm__fail f = {0};
    assert_int_equal(uvm__folder_open(k->folder, false, &state, &f), 0);
    int rc = uvm__folder_sweep(k->loop.engine, state, UVM_CONTROL_ENDED, &f);
    assert_true(rc == 0 || rc == -UVM_E_NOTFOUND);
    close(state);
}

void control_kit_close(struct control_kit *k) {
    if (k->vm != NULL) {
        control_kit_close_vm(k);
    }
    loop_until(&k->loop, &k->closed);
    bool closed = false;
    uvm_service_close(k->service, on_closed, &closed);
    loop_until(&k->loop, &closed);
    assert_int_equal(k->seen.processes, 0);
    assert_int_equal(k->seen.streams, 0);
    assert_int_equal(k->seen.mounts, 0);
    assert_int_equal(k->seen.yanked, 0);
    uvm_harness_census_free(k->fds);
    forget_ends(k);
    assert_int_equal(rmdir(k->folder), 0); /* nothing is in it any more */
    loop_close(&k->loop);
}

static void on_time(uv_timer_t *timer) {
    *(bool *)timer->data = true;
}

void control_kit_run(struct control_kit *k, unsigned ms) {
    bool over = false;
    uv_timer_t timer;
    uv_timer_init(&k->loop.loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_time, ms, 0);
    while (!over) {
        uv_run(&k->loop.loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&k->loop.loop, UV_RUN_NOWAIT);
}

void control_kit_clients(struct control_kit *k, uint32_t count) {
    for (unsigned i = 0; uvm_control_clients(k->control) != count; i++) {
        if (i == 4000) {
            fail_msg("%u clients, not %u", uvm_control_clients(k->control), count);
        }
        control_kit_run(k, 5);
    }
}

void control_kit_disks(struct control_kit *k, uint32_t count) {
    for (unsigned i = 0; uvm__sim_ledger(k->host).disks != count; i++) {
        if (i == 1000) {
            fail_msg("%u disks, not %u", uvm__sim_ledger(k->host).disks, count);
        }
        control_kit_run(k, 2);
    }
}

void control_kit_expect_quiet(struct control_kit *k) {
    control_kit_clients(k, 0);
    for (unsigned i = 0;
         k->seen.processes != 0 || uvm_harness_census_compare(k->fds, 0, 0, NULL) != 0; i++) {
        if (i == 1000) {
            assert_int_equal(k->seen.processes, 0);
            loop_expect_fds(k->fds);
        }
        control_kit_run(k, 5);
    }
}

/* ---- clients ------------------------------------------------------------------------------ */

void client_open(struct client *c, struct control_kit *k) {
    int state, folder;
    struct uvm__fail f = {0};
    *c = (struct client){.k = k, .fd = -1};
    c->buf = calloc(1, CLIENT_BYTES + 1);
    c->line = calloc(1, CLIENT_BYTES + 1);
    assert_true(c->buf != NULL && c->line != NULL);
    assert_int_equal(uvm__folder_open(k->folder, false, &state, &f), 0);
    assert_int_equal(uvm__folder_enter(state, "demo", &folder, &f), 0);
    assert_int_equal(uvm__local_connect(folder, UVM_CONTROL_SOCKET, &c->fd, &f), 0);
    close(folder);
    close(state);
}

void client_hello(struct client *c, struct control_kit *k) {
    client_open(c, k);
    client_send(c, HELLO, strlen(HELLO), NULL, 0);
    client_expect(c, "\"version\":1");
}

void client_close(struct client *c) {
    if (c->fd >= 0) {
        close(c->fd);
    }
    free(c->buf);
    free(c->line);
    *c = (struct client){.fd = -1};
}

void client_send(struct client *c, const void *data, size_t bytes, const int *fds, size_t count) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(64 * sizeof(int))];
    } control = {0};
    for (size_t at = 0; at < bytes;) {
        struct iovec iov = {(char *)(uintptr_t)data + at, bytes - at};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        if (count > 0) {
            msg.msg_control = &control;
            msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
            struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
            h->cmsg_level = SOL_SOCKET;
            h->cmsg_type = SCM_RIGHTS;
            h->cmsg_len = CMSG_LEN(count * sizeof(int));
            memcpy(CMSG_DATA(h), fds, count * sizeof(int));
        }
        ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            at += (size_t)n;
            count = 0;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return; /* the reading side will tell */
        } else {
            assert_int_equal(errno, EAGAIN);
            control_kit_run(c->k, 1);
        }
    }
}

void client_says(struct client *c, const char *text) {
    char line[4096];
    int n = snprintf(line, sizeof line, "%s\n", text);
    assert_true(n > 0 && (size_t)n < sizeof line);
    client_send(c, line, (size_t)n, NULL, 0);
}

/* False: the connection ended. */
static bool next_line(struct client *c) {
    for (unsigned idle = 0; idle < 4000;) {
        char *end = memchr(c->buf, '\n', c->len);
        if (end != NULL) {
            size_t n = (size_t)(end - c->buf);
            memcpy(c->line, c->buf, n);
            c->line[n] = 0;
            c->len -= n + 1;
            memmove(c->buf, end + 1, c->len);
            return true;
        }
        if (c->ended) {
            assert_int_equal(c->len, 0); /* no half line */
            return false;
        }
        ssize_t n = recv(c->fd, c->buf + c->len, CLIENT_BYTES - c->len, MSG_DONTWAIT);
        if (n > 0) {
            c->len += (size_t)n;
        } else if (n == 0 || errno == ECONNRESET) {
            c->ended = true;
        } else {
            assert_int_equal(errno, EAGAIN);
            control_kit_run(c->k, 2);
            idle++;
        }
    }
    fail_msg("no line, no end");
    return false;
}

const char *client_line(struct client *c) {
    if (!next_line(c)) {
        fail_msg("the connection ended after: %s", c->line);
    }
    return c->line;
}

const char *client_expect(struct client *c, const char *text) {
    while (next_line(c)) {
        if (strstr(c->line, text) != NULL) {
            return c->line;
        }
    }
    fail_msg("the connection ended without \"%s\"; last: %s", text, c->line);
    return NULL;
}

void client_expect_end(struct client *c) {
    if (next_line(c)) {
        fail_msg("instead of the end: %s", c->line);
    }
}
