/* SPDX-License-Identifier: MIT
 * vhost_user_fuzz.c — any messages from a front end, with descriptors of any kind.
 *
 * Input: records of {request, flags, length, descriptors, payload}; the first byte of a record chooses among
 * the requests and, at its top, bytes as they are, so that lengths may lie. Descriptors are taken from a few:
 * eventfds, a sealed memory file, a plain file, a pipe. Payload bytes may name the places of a ring by their
 * first byte alone, so that real rings come about.
 * What must hold: the device ends with at most one on_end, and nothing stays open: descriptors are counted.
 */
#include "async/check.h"
#include "async/engine.h"
#include "hvsock/vsock_device.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

enum { RAM = 1 << 20, FDS = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct {
    bool ready;
    uv_loop_t loop;
    uvm_engine *engine;
    int fds[FDS];
    unsigned ends;
    bool closed;
    struct uvm__stream *accepted;
} bed;

static int count_fds(void) {
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    UVM_ASSERT(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static void prepare(void) {
    if (bed.ready) {
        return;
    }
    bed.ready = true;
    int rc = uv_loop_init(&bed.loop);
    UVM_ASSERT(rc == 0);
    rc = uvm_engine_new(&bed.loop, NULL, &bed.engine);
    UVM_ASSERT(rc == 0);
    for (unsigned i = 0; i < 3; i++) {
        bed.fds[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    bed.fds[3] = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    rc = ftruncate(bed.fds[3], RAM);
    UVM_ASSERT(rc == 0 && fcntl(bed.fds[3], F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    bed.fds[4] = memfd_create("short", MFD_CLOEXEC);
    bed.fds[5] = open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void on_configured(struct uvm__vsock_device *d, void *arg) {
    (void)d;
    (void)arg;
}

static void on_end(struct uvm__vsock_device *d, const uvm_error *err, void *arg) {
    (void)d;
    (void)arg;
    UVM_ASSERT(err == NULL || uvm_error_message(err)[0] != 0);
    bed.ends++;
}

static void on_closed(void *arg) {
    (void)arg;
    bed.closed = true;
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    (void)l;
    (void)arg;
    uvm__stream_close(s);
}

static void turns(void) {
    for (unsigned i = 0; i < 6; i++) {
        uv_run(&bed.loop, UV_RUN_NOWAIT);
    }
}

static void send_raw(int fd, const void *raw, size_t bytes, unsigned fds_count, unsigned first) {
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(20 * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)raw, bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fds_count > 0) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fds_count * sizeof(int));
        for (unsigned i = 0; i < fds_count; i++) {
            memcpy(CMSG_DATA(c) + i * sizeof(int), &bed.fds[(first + i) % FDS], sizeof(int));
        }
    }
    (void)sendmsg(fd, &msg, MSG_NOSIGNAL);
}

/* One message; returns the bytes of input it took. */
static size_t record(int fd, const uint8_t *data, size_t bytes) {
    static const uint8_t lengths[] = {0, 8, 8, 40, 40, 20, 12, 72};
    if (bytes < 3) {
        return bytes;
    }
    uint32_t header[3] = {data[0] & 0x3f, data[1] & 8 ? 9 : 1, 0};
    unsigned fds_count = data[2] & 3;
    unsigned first = (data[2] >> 2) & 7;
    size_t payload = lengths[data[2] >> 5];
    size_t have = bytes - 3 < payload ? bytes - 3 : payload;
    uint8_t raw[12 + 72] = {0};
    header[2] = (uint32_t)payload;
    if ((data[0] & 0x80) != 0) { /* lies about its length, or more */
        header[1] = data[1];
        header[2] ^= data[1];
        fds_count = data[1] & 15;
    }
    memcpy(raw, header, sizeof header);
    memcpy(raw + 12, data + 3, have);
    if ((data[1] & 0x10) != 0) { /* numbers of a size that fits: the table of a megabyte at 0 */
        static const uint64_t region[4] = {0, RAM, 0x7f0000000000, 0};
        memcpy(raw + 12 + 8, region, sizeof region);
    }
    if ((data[1] & 0x20) != 0) { /* a ring's places inside of it */
        uint64_t places[4] = {0x7f0000000000 + (data[0] & 0x40 ? 0x3000 : 0), 0, 0, 0};
        places[1] = places[0] + 0x1000;
        places[2] = places[0] + 0x2000;
        memcpy(raw + 12 + 8, places, sizeof places);
    }
    send_raw(fd, raw, 12 + payload, fds_count, first);
    return 3 + have;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    prepare();
    int before = count_fds();
    int fds[2];
    int rc = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds);
    UVM_ASSERT(rc == 0);
    bed.ends = 0;
    bed.closed = false;
    struct uvm__vsock_params p = {
        .take_fd = fds[0], .guest_cid = 3, .on_configured = on_configured, .on_end = on_end};
    struct uvm__vsock_device *d = NULL;
    rc = uvm__vsock_device_open(bed.engine, &p, &d);
    UVM_ASSERT(rc == 0);
    struct uvm__listen_params lp = {.port = 1, .on_accept = on_accept};
    struct uvm__listener *l = NULL;
    rc = uvm__hvsock_listen(uvm__vsock_device_hvsock(d), &lp, &l);
    UVM_ASSERT(rc == 0);
    for (unsigned i = 0; bytes > 0 && i < 64; i++) {
        size_t n = record(fds[1], data, bytes);
        data += n;
        bytes -= n;
        if (i % 4 == 3) {
            uint64_t one = 1;
            ssize_t written = write(bed.fds[i % 3], &one, sizeof one);
            (void)written;
            turns();
        }
    }
    turns();
    close(fds[1]);
    turns();
    UVM_ASSERT(bed.ends == 1);
    uvm__listener_close(l);
    uvm__vsock_device_close(d, on_closed, NULL);
    while (!bed.closed) {
        uv_run(&bed.loop, UV_RUN_ONCE);
    }
    UVM_ASSERT(bed.ends == 1);
    UVM_ASSERT(count_fds() == before);
    return 0;
}
