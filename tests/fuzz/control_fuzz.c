/* SPDX-License-Identifier: MIT
 * control_fuzz.c — any bytes from a control client: he is answered, refused or cut off; the VM goes on, or
 * ends because he asked for it; and when he is gone nothing of him is left.
 *
 * One simulated VM serves many inputs; a new one is made when an input has ended it. The first byte says in
 * which pieces the rest arrives, and how many descriptors come with each piece.
 */
#include "async/check.h"
#include "async/engine.h"
#include "async/folder.h"
#include "async/local.h"
#include "hcs/sim/sim.h"
#include "tests/sim/guest.h"
#include "uvm/control.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct world {
    bool open;
    uv_loop_t loop;
    uvm_engine *engine;
    struct uvm__sim_host *host;
    uvm_service *service;
    struct guest *guest;
    struct guest_script script;
    struct guest_seen seen;
    uvm_vm *vm;
    uvm_control *control;
    char folder[64];
    bool booted, closed;
} w;

static void on_start(struct uvm__hcs_system *s, struct uvm__hvsock *hvsock, void *arg) {
    (void)arg;
    w.guest = guest_new(w.engine, s, hvsock, &w.script, &w.seen);
}

static void on_stop(struct uvm__hcs_system *s, void *arg) {
    (void)s;
    (void)arg;
    guest_stop(w.guest);
}

static void on_disk_removed(struct uvm__hcs_system *s, unsigned controller, uint64_t lun,
                            void *arg) {
    (void)s;
    (void)arg;
    guest_disk_removed(w.guest, controller, lun);
}

static void on_booted(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    (void)arg;
    UVM_ASSERT(err == NULL);
    w.booted = true;
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

static void until(const bool *done) {
    while (!*done) {
        uv_run(&w.loop, UV_RUN_ONCE);
    }
}

/* How the VM ended is remembered; where the socket was nothing else is left. */
static void forget_end(void) {
    struct uvm__fail f;
    int state = -1;
    UVM_ASSERT(uvm__folder_open(w.folder, false, &state, &f) == 0);
    int rc = uvm__folder_sweep(w.engine, state, UVM_CONTROL_ENDED, &f);
    UVM_ASSERT(rc == 0 || rc == -UVM_E_NOTFOUND);
    close(state);
}

static void world_close(void) {
    bool closed = false;
    if (!w.open) {
        return;
    }
    w.closed = false;
    uvm_vm_close(w.vm, on_closed, &w.closed);
    until(&w.closed);
    uvm_service_close(w.service, on_closed, &closed);
    until(&closed);
    UVM_ASSERT_CMP(w.seen.processes, ==, 0);
    UVM_ASSERT_CMP(w.seen.mounts, ==, 0);
    UVM_ASSERT_CMP(w.seen.yanked, ==, 0);
    forget_end();
    UVM_ASSERT(rmdir(w.folder) == 0);
    uvm_engine_close(w.engine, NULL, NULL);
    UVM_ASSERT(uv_run(&w.loop, UV_RUN_DEFAULT) == 0);
    UVM_ASSERT(uv_loop_close(&w.loop) == 0);
    w.open = false;
}

static void world_open(void) {
    static bool once;
    struct uvm_engine_params ep = UVM_ENGINE_PARAMS_INIT;
    struct uvm_vm_params vp = UVM_VM_PARAMS_INIT;
    struct uvm_control_params cp = UVM_CONTROL_PARAMS_INIT;
    const struct uvm__sim_params sim = {
        .on_start = on_start, .on_stop = on_stop, .on_disk_removed = on_disk_removed};

    if (!once) {
        once = true;
        UVM_ASSERT(atexit(world_close) == 0);
    }
    memset(&w, 0, sizeof w);
    w.open = true;
    UVM_ASSERT(uv_loop_init(&w.loop) == 0);
    UVM_ASSERT(uvm_engine_new(&w.loop, &ep, &w.engine) == 0);
    UVM_ASSERT(uvm__sim_host_new(w.engine, &sim, &w.host) == 0);
    w.service = uvm__sim_service(w.host);
    vp.name = "demo";
    vp.kernel = vp.initrd = "/boot/file";
    UVM_ASSERT(uvm_vm_new(w.engine, w.service, &vp, &w.vm, NULL) == 0);
    (void)snprintf(w.folder, sizeof w.folder, "/tmp/control_fuzzXXXXXX");
    UVM_ASSERT(mkdtemp(w.folder) != NULL);
    cp.folder = w.folder;
    UVM_ASSERT(uvm_control_listen(w.vm, &cp, &w.control, NULL) == 0);
    UVM_ASSERT(uvm_vm_boot(w.vm, NULL, on_booted, NULL, NULL) == 0);
    until(&w.booted);
}

static int dial(void) {
    struct uvm__fail f;
    int state, folder, fd;
    UVM_ASSERT(uvm__folder_open(w.folder, false, &state, &f) == 0);
    UVM_ASSERT(uvm__folder_enter(state, "demo", &folder, &f) == 0);
    UVM_ASSERT(uvm__local_connect(folder, UVM_CONTROL_SOCKET, &fd, &f) == 0);
    close(folder);
    close(state);
    return fd;
}

/* False: the other side is gone, or full. */
static bool send_piece(int fd, const uint8_t *data, size_t bytes, size_t count) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(3 * sizeof(int))];
    } control = {0};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int fds[] = {null, null, null};
    struct iovec iov = {(void *)(uintptr_t)data, bytes};
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
    ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(null);
    return n == (ssize_t)bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char hello[] =
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"hello\",\"params\":{\"version\":1}}\n";
    size_t piece = bytes == 0 || data[0] / 4 == 0 ? bytes + 1 : (size_t)data[0];
    size_t fds = bytes == 0 ? 0 : data[0] % 4;

    if (bytes > 65536) {
        return 0;
    }
    if (!w.open) {
        world_open();
    }
    int fd = dial();
    /* Most inputs are about what comes behind the door. */
    bool ok = bytes > 1 && data[1] == '!'
                  ? true
                  : send_piece(fd, (const uint8_t *)hello, sizeof hello - 1, 0);
    for (size_t at = 1; ok && at < bytes; at += piece) {
        size_t n = bytes - at < piece ? bytes - at : piece;
        ok = send_piece(fd, data + at, n, fds);
        uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    for (int i = 0; i < 4; i++) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    close(fd);
    uv_run(&w.loop, UV_RUN_NOWAIT);
    while (uvm_control_clients(w.control) > 0) {
        uv_run(&w.loop, UV_RUN_ONCE);
    }
    if (uvm_vm_state(w.vm) != UVM_VM_RUNNING) {
        world_close();
    }
    return 0;
}
