/* SPDX-License-Identifier: MIT
 * vhost_front.c — messages, descriptors and waiting of the front end for tests.
 *
 * Our end of the socket does not block: an answer is waited for by running the loop, some turns at most.
 */
#include "tests/unit/vhost_front.h"
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_configured(struct uvm__vsock_device *d, void *arg) {
    struct front *f = arg;
    (void)d;
    assert_false(f->configured);
    f->configured = true;
}

static void on_started(struct uvm__vsock_device *d, void *arg) {
    (void)d;
    ((struct front *)arg)->starts++;
}

static void on_end(struct uvm__vsock_device *d, const uvm_error *err, void *arg) {
    struct front *f = arg;
    assert_ptr_equal(d, f->device);
    f->ended = true;
    f->ends++;
    f->end_code = err == NULL ? 0 : (int)uvm_error_code(err);
    assert_true(err == NULL || uvm_error_message(err)[0] != 0);
}

static void on_accept(struct uvm__listener *l, struct uvm__stream *s, void *arg) {
    struct front *f = arg;
    (void)l;
    if (f->accepted != NULL) {
        uvm__stream_reset(f->accepted);
    }
    f->accepted = s;
    f->accepted_any = true;
}

void front_open(struct front *f, struct loop_kit *kit) {
    int fds[2];
    memset(f, 0, sizeof *f);
    f->kit = kit;
    guest_open(&f->g);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    f->fd = fds[1];
    for (unsigned i = 0; i < 2; i++) {
        f->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        f->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        f->err[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    struct uvm__vsock_params p = {.take_fd = fds[0],
                                  .guest_cid = GUEST_CID,
                                  .on_configured = on_configured,
                                  .on_started = on_started,
                                  .on_end = on_end,
                                  .arg = f};
    assert_int_equal(uvm__vsock_device_open(kit->engine, &p, &f->device), 0);
    struct uvm__listen_params lp = {.port = 109, .on_accept = on_accept, .arg = f};
    assert_int_equal(uvm__hvsock_listen(uvm__vsock_device_hvsock(f->device), &lp, &f->listener), 0);
}

static void on_closed(void *arg) {
    struct front *f = arg;
    assert_false(f->closed);
    f->closed = true;
}

void front_close(struct front *f) {
    uvm__listener_close(f->listener);
    uvm__vsock_device_close(f->device, on_closed, f);
    assert_false(f->closed);
    loop_until(f->kit, &f->closed);
    if (f->accepted != NULL) {
        uvm__stream_close(f->accepted);
    }
    for (unsigned i = 0; i < 2; i++) {
        close(f->kick[i]);
        close(f->call[i]);
        close(f->err[i]);
    }
    if (f->fd >= 0) {
        close(f->fd);
    }
    guest_close(&f->g);
}

void front_turns(struct front *f) {
    loop_turns(f->kit);
    loop_turns(f->kit);
}

void front_taken(struct front *f, uint16_t count) {
    for (unsigned i = 0; i < 1000 && guest_used_idx(&f->g, &f->g.tx) != count; i++) {
        uv_run(&f->kit->loop, UV_RUN_ONCE);
    }
    assert_int_equal(guest_used_idx(&f->g, &f->g.tx), count);
}

/* ---- messages ----------------------------------------------------------------------------- */

void front_send(struct front *f, uint32_t request, uint32_t flags, const void *payload,
                uint32_t bytes, const int *fds, unsigned fds_count) {
    uint8_t raw[12 + 600];
    uint32_t header[3] = {request, flags, bytes};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(32 * sizeof(int))];
    } control = {0};
    memcpy(raw, header, sizeof header);
    assert_true(bytes <= 600);
    if (bytes > 0) {
        memcpy(raw + 12, payload, bytes);
    }
    struct iovec iov = {raw, 12 + bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fds_count > 0) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fds_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fds_count * sizeof(int));
    }
    (void)sendmsg(f->fd, &msg, MSG_NOSIGNAL); /* a device that has hung up is seen otherwise */
}

void front_send64(struct front *f, uint32_t request, uint64_t value) {
    front_send(f, request, 1, &value, sizeof value, NULL, 0);
}

void front_send_state(struct front *f, uint32_t request, uint32_t ring, uint32_t number) {
    uint32_t state[2] = {ring, number};
    front_send(f, request, 1, state, sizeof state, NULL, 0);
}

void front_answer(struct front *f, uint32_t request, void *ret, uint32_t bytes) {
    uint8_t raw[12 + 300];
    size_t got = 0;
    for (unsigned i = 0; i < 1000 && got < 12 + bytes; i++) {
        ssize_t n = read(f->fd, raw + got, 12 + bytes - got);
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        got += n > 0 ? (size_t)n : 0;
        uv_run(&f->kit->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(got, 12 + bytes);
    uint32_t header[3];
    memcpy(header, raw, sizeof header);
    assert_int_equal(header[0], request);
    assert_int_equal(header[1], 5);
    assert_int_equal(header[2], bytes);
    memcpy(ret, raw + 12, bytes);
}

void front_no_answer(struct front *f) {
    uint8_t byte;
    front_turns(f);
    assert_int_equal(read(f->fd, &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
}

uint64_t front_acked(struct front *f, uint32_t request, const void *payload, uint32_t bytes,
                     const int *fds, unsigned fds_count) {
    uint64_t ack;
    front_send(f, request, 9, payload, bytes, fds, fds_count);
    front_answer(f, request, &ack, sizeof ack);
    return ack;
}

/* ---- the life of a device ----------------------------------------------------------------- */

static void send_fd(struct front *f, uint32_t request, uint64_t ring, int fd) {
    front_send(f, request, 1, &ring, sizeof ring, &fd, 1);
}

void front_realize(struct front *f) {
    uint64_t value;
    uint8_t config[20] = {0};
    uint32_t head[3] = {0, 8, 0};
    front_send(f, GET_FEATURES, 1, NULL, 0, NULL, 0);
    front_answer(f, GET_FEATURES, &value, sizeof value);
    assert_int_equal(value, 0x170000000);
    front_send(f, GET_PROTOCOL_FEATURES, 1, NULL, 0, NULL, 0);
    front_answer(f, GET_PROTOCOL_FEATURES, &value, sizeof value);
    assert_int_equal(value, 1 << 3 | 1 << 9 | 1 << 15);
    front_send64(f, SET_PROTOCOL_FEATURES, f->slots ? value : value & ~(1ull << 15));
    if (f->slots) {
        front_send(f, GET_MAX_MEM_SLOTS, 1, NULL, 0, NULL, 0);
        front_answer(f, GET_MAX_MEM_SLOTS, &value, sizeof value);
        assert_true(value >= 256);
    }
    front_send(f, SET_OWNER, 1, NULL, 0, NULL, 0);
    front_send(f, GET_FEATURES, 1, NULL, 0, NULL, 0);
    front_answer(f, GET_FEATURES, &value, sizeof value);
    for (unsigned i = 0; i < 2; i++) {
        send_fd(f, SET_VRING_CALL, i, f->call[i]);
        send_fd(f, SET_VRING_ERR, i, f->err[i]);
    }
    memcpy(config, head, sizeof head);
    assert_false(f->configured);
    front_send(f, GET_CONFIG, 1, config, sizeof config, NULL, 0);
    front_answer(f, GET_CONFIG, config, sizeof config);
    assert_memory_equal(config, head, sizeof head);
    memcpy(&value, config + 12, sizeof value);
    assert_int_equal(value, GUEST_CID);
    assert_true(f->configured);
}

void front_memory(struct front *f) {
    uint64_t region[4] = {0, f->g.ram_bytes, FRONT_USER, 0};
    uint8_t raw[40];
    uint32_t count[2] = {1, 0};
    if (f->slots) {
        memset(raw, 0, 8);
        memcpy(raw + 8, region, 32);
        assert_int_equal(front_acked(f, ADD_MEM_REG, raw, 40, &f->g.memfd, 1), 0);
    } else {
        memcpy(raw, count, 8);
        memcpy(raw + 8, region, 32);
        assert_int_equal(front_acked(f, SET_MEM_TABLE, raw, 40, &f->g.memfd, 1), 0);
    }
}

void front_ring(struct front *f, unsigned ring, uint32_t base) {
    struct guest_ring *r = ring == 0 ? &f->g.rx : &f->g.tx;
    uint32_t head[2] = {ring, 0};
    uint64_t places[4] = {FRONT_USER + r->desc, FRONT_USER + r->used, FRONT_USER + r->avail, 0};
    uint8_t addr[40];
    front_send_state(f, SET_VRING_NUM, ring, r->size);
    front_send_state(f, SET_VRING_BASE, ring, base);
    memcpy(addr, head, 8);
    memcpy(addr + 8, places, 32);
    front_send(f, SET_VRING_ADDR, 1, addr, sizeof addr, NULL, 0);
    send_fd(f, SET_VRING_KICK, ring, f->kick[ring]);
}

void front_driver_ok(struct front *f, uint32_t base_rx, uint32_t base_tx) {
    for (unsigned i = 2; i-- > 0;) {
        send_fd(f, SET_VRING_CALL, i, f->call[i]);
    }
    front_send64(f, SET_FEATURES, 0x150000000 | (f->g.event_idx ? 1ull << 29 : 0));
    front_memory(f);
    front_ring(f, 0, base_rx);
    front_ring(f, 1, base_tx);
    front_send_state(f, SET_VRING_ENABLE, 0, 1);
    front_send_state(f, SET_VRING_ENABLE, 1, 1);
    for (unsigned i = 0; i < 2; i++) {
        send_fd(f, SET_VRING_CALL, i, f->call[i]);
    }
    front_turns(f);
}

void front_stop(struct front *f, uint32_t *ret_rx, uint32_t *ret_tx) {
    uint32_t state[2];
    front_send_state(f, SET_VRING_ENABLE, 0, 0);
    front_send_state(f, SET_VRING_ENABLE, 1, 0);
    front_send_state(f, GET_VRING_BASE, 0, 0);
    front_answer(f, GET_VRING_BASE, state, sizeof state);
    assert_int_equal(state[0], 0);
    *ret_rx = state[1];
    front_send_state(f, GET_VRING_BASE, 1, 0);
    front_answer(f, GET_VRING_BASE, state, sizeof state);
    assert_int_equal(state[0], 1);
    *ret_tx = state[1];
    for (unsigned i = 2; i-- > 0;) {
        send_fd(f, SET_VRING_CALL, i, f->call[i]);
    }
    front_turns(f);
}

bool front_signalled(int fd) {
    uint64_t count;
    return read(fd, &count, sizeof count) == sizeof count;
}

void front_kick(struct front *f) {
    uint64_t one = 1;
    for (unsigned i = 0; i < 2; i++) {
        struct guest_ring *r = i == 0 ? &f->g.rx : &f->g.tx;
        if (guest_wants_kick(&f->g, r)) {
            assert_int_equal(write(f->kick[i], &one, sizeof one), sizeof one);
        }
    }
    front_turns(f);
}

struct guest_conn front_conn(struct front *f, uint32_t guest_port) {
    return (struct guest_conn){
        .g = &f->g, .guest_port = guest_port, .host_port = 109, .buf_alloc = 262144};
}

static struct guest_header expect(struct front *f, struct guest_conn *c, uint16_t op, void *to) {
    struct guest_header h;
    assert_true(guest_take(&f->g, &h, to));
    assert_int_equal(h.op, op);
    guest_book(c, &h);
    guest_post(&f->g, GUEST_QUEUE);
    return h;
}

void front_accept(struct front *f, struct guest_conn *c) {
    f->accepted_any = false;
    assert_true(guest_say(c, 1, 0));
    front_kick(f);
    assert_true(f->accepted_any);
    expect(f, c, 2, NULL);
}

void front_still_works(struct front *f, struct guest_conn *c, struct uvm__stream *s) {
    static uint8_t to[65536];
    char byte = 0;
    assert_int_equal(guest_write(c, "!", 1), 1);
    front_kick(f);
    assert_int_equal(uvm__stream_read(s, &byte, 1), 1);
    assert_int_equal(byte, '!');
    assert_int_equal(uvm__stream_write(s, "?", 1), 1);
    (void)front_signalled(f->call[0]);
    (void)guest_sleep(&f->g, &f->g.rx);
    front_turns(f);
    assert_true(front_signalled(f->call[0]));
    assert_int_equal(expect(f, c, 5, to).len, 1);
    assert_int_equal(to[0], '?');
    c->fwd_cnt = c->rx_cnt;
}
