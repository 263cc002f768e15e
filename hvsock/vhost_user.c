/* SPDX-License-Identifier: MIT
 * vhost_user.c — the messages of a vhost-user connection, received, checked, carried out, answered.
 *
 * Framing: the header is read by itself, exactly its 12 bytes, since descriptors come with a message's first
 * byte and reading on would mix up two messages'. One table says for each request how many payload bytes and
 * descriptors it brings and who handles it; whatever a handler does not keep is closed after it.
 * The front end stands still while it waits for an answer, so each is sent at once, and a request that is not
 * known is answered with a refusal when it asks for an answer.
 * A handler's negative return ends the connection; a positive one is a refusal that the connection survives.
 */
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "hvsock/vhost_user_int.h"
#include <string.h>

#define FLAGS_VERSION 1u
#define FLAGS_REPLY 4u
#define FLAGS_NEED_REPLY 8u
#define TURN_MESSAGES 64u

/* Protocol feature bits. */
#define P_REPLY_ACK (1ull << 3)
#define P_CONFIG (1ull << 9)
#define P_CONFIGURE_MEM_SLOTS (1ull << 15)

#define FEATURES                                                                                   \
    (UVM__VHOST_F_INDIRECT | UVM__VHOST_F_EVENT_IDX | UVM__VHOST_F_PROTOCOL_FEATURES |             \
     UVM__VHOST_F_VERSION_1)
#define PROTOCOL_FEATURES (P_REPLY_ACK | P_CONFIG | P_CONFIGURE_MEM_SLOTS)

#define REGION_BYTES 32u
#define TABLE_REGIONS_MAX 8u
#define CONFIG_HEAD_BYTES 12u
#define CONFIG_BYTES_MAX 256u

enum { ANSWERED = 1, REFUSED = 2 }; /* what handlers return beside 0 and errors */

struct message {
    uint32_t request, flags, bytes;
    const uint8_t *payload;
    int *fds; /* a handler that keeps one leaves -1 */
    size_t fds_count;
};

struct request {
    const char *name; /* NULL: not known */
    int (*handle)(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f);
    uint16_t bytes_min, bytes_max;
};

static uint32_t get32(const struct message *m, size_t at) {
    uint32_t v;
    UVM_ASSERT(at + sizeof v <= m->bytes);
    memcpy(&v, m->payload + at, sizeof v);
    return v;
}

static uint64_t get64(const struct message *m, size_t at) {
    uint64_t v;
    UVM_ASSERT(at + sizeof v <= m->bytes);
    memcpy(&v, m->payload + at, sizeof v);
    return v;
}

/* ---- answers ------------------------------------------------------------------------------ */

static int reply(struct uvm__vhost_user *u, const struct message *m, const void *payload,
                 uint32_t bytes, struct uvm__fail *f) {
    uint8_t raw[CONFIG_HEAD_BYTES + CONFIG_HEAD_BYTES + CONFIG_BYTES_MAX];
    uint32_t header[3] = {m->request, FLAGS_VERSION | FLAGS_REPLY, bytes};
    UVM_ASSERT(sizeof header + bytes <= sizeof raw);
    memcpy(raw, header, sizeof header);
    if (bytes > 0) {
        memcpy(raw + sizeof header, payload, bytes);
    }
    int rc = uvm__sock_send(u->sock, raw, sizeof header + bytes, NULL, 0);
    if (rc < 0 && rc != -UVM_E_CLOSED) { /* its end will be read */
        return uvm__fail(f, (enum uvm_error_code)(-rc), 0, "answering request %u", m->request);
    }
    return ANSWERED;
}

static int reply64(struct uvm__vhost_user *u, const struct message *m, uint64_t value,
                   struct uvm__fail *f) {
    return reply(u, m, &value, sizeof value, f);
}

/* ---- features and configuration ----------------------------------------------------------- */

static int get_features(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    return reply64(u, m, FEATURES, f);
}

static int set_features(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    uint64_t features = get64(m, 0);
    if ((features & ~FEATURES) != 0) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "features %#llx were not offered",
                         (unsigned long long)(features & ~FEATURES));
    }
    u->features = features;
    return 0;
}

static int get_protocol_features(struct uvm__vhost_user *u, const struct message *m,
                                 struct uvm__fail *f) {
    return reply64(u, m, PROTOCOL_FEATURES, f);
}

static int set_protocol_features(struct uvm__vhost_user *u, const struct message *m,
                                 struct uvm__fail *f) {
    uint64_t features = get64(m, 0);
    if ((features & ~PROTOCOL_FEATURES) != 0) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "protocol features %#llx were not offered",
                         (unsigned long long)(features & ~PROTOCOL_FEATURES));
    }
    u->protocol_features = features;
    return 0;
}

static int get_queue_num(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    return reply64(u, m, UVM__VHOST_RINGS, f);
}

static int set_owner(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    (void)u;
    (void)m;
    (void)f;
    return 0;
}

static int get_config(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    uint32_t offset = get32(m, 0);
    uint32_t bytes = get32(m, 4);
    if (bytes == 0 || bytes > UVM__VHOST_CONFIG_BYTES || offset > UVM__VHOST_CONFIG_BYTES - bytes ||
        m->bytes != CONFIG_HEAD_BYTES + bytes) {
        return reply(u, m, NULL, 0, f); /* an empty answer is the protocol's refusal */
    }
    uint8_t answer[CONFIG_HEAD_BYTES + UVM__VHOST_CONFIG_BYTES];
    memcpy(answer, m->payload, CONFIG_HEAD_BYTES);
    memcpy(answer + CONFIG_HEAD_BYTES, u->params.config + offset, bytes);
    int rc = reply(u, m, answer, CONFIG_HEAD_BYTES + bytes, f);
    if (rc == ANSWERED) {
        u->params.configured(u->params.arg);
    }
    return rc;
}

/* ---- memory ------------------------------------------------------------------------------- */

static struct uvm__guest_region_desc get_region(const struct message *m, size_t at) {
    return (struct uvm__guest_region_desc){.gpa = get64(m, at),
                                           .bytes = get64(m, at + 8),
                                           .user = get64(m, at + 16),
                                           .offset = get64(m, at + 24)};
}

/* Builds the new table beside the old one, which serves until all of the new is there. */
static int set_mem_table(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    uint32_t count = get32(m, 0);
    if (count > TABLE_REGIONS_MAX || m->bytes != 8 + count * REGION_BYTES ||
        count != m->fds_count) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0,
                         "a memory table of %u regions with %u bytes and %zu descriptors", count,
                         m->bytes, m->fds_count);
    }
    struct uvm__guest_mem next;
    uvm__guest_mem_init(&next, u->engine, u->params.memory_bytes_max);
    for (uint32_t i = 0; i < count; i++) {
        struct uvm__guest_region_desc d = get_region(m, 8 + i * REGION_BYTES);
        int rc = uvm__guest_mem_add(&next, &d, m->fds[i], f);
        if (rc < 0) {
            uvm__guest_mem_deinit(&next);
            return rc;
        }
    }
    struct uvm__guest_mem old = u->mem;
    u->mem = next;
    uvm__vhost_rings_move(u);
    uvm__guest_mem_deinit(&old);
    return 0;
}

static int get_max_mem_slots(struct uvm__vhost_user *u, const struct message *m,
                             struct uvm__fail *f) {
    return reply64(u, m, UVM__GUEST_REGIONS_MAX, f);
}

static int add_mem_reg(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    struct uvm__guest_region_desc d = get_region(m, 8);
    if (m->fds_count != 1) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "a memory region with %zu descriptors",
                         m->fds_count);
    }
    const struct uvm__guest_region *known = uvm__guest_mem_find(&u->mem, &d);
    if (known != NULL) { /* sent again, perhaps with another file */
        uvm__guest_mem_remove(&u->mem, known);
    }
    int rc = uvm__guest_mem_add(&u->mem, &d, m->fds[0], f);
    if (known != NULL) {
        uvm__vhost_rings_move(u);
    }
    return rc;
}

static int rem_mem_reg(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    struct uvm__guest_region_desc d = get_region(m, 8);
    const struct uvm__guest_region *known = uvm__guest_mem_find(&u->mem, &d);
    if (known == NULL) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "removal of an unknown memory region at %#llx",
                         (unsigned long long)d.gpa);
    }
    uvm__vhost_rings_leave(u, known);
    uvm__guest_mem_remove(&u->mem, known);
    return 0;
}

/* ---- rings -------------------------------------------------------------------------------- */

static int check_ring(uint64_t ring, struct uvm__fail *f) {
    return ring < UVM__VHOST_RINGS ? 0
                                   : uvm__fail(f, UVM_E_PROTOCOL, 0, "ring %llu: there are %u",
                                               (unsigned long long)ring, UVM__VHOST_RINGS);
}

/* A message of {ring, number}; `while_started` says whether a started ring may get it. */
static int get_state(struct uvm__vhost_user *u, const struct message *m, bool while_started,
                     struct uvm__fail *f) {
    uint32_t ring = get32(m, 0);
    int rc = check_ring(ring, f);
    if (rc == 0 && !while_started && u->rings[ring].started) {
        rc = uvm__fail(f, UVM_E_PROTOCOL, 0, "ring %u: changed while it runs", ring);
    }
    return rc;
}

static int set_vring_num(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    uint32_t num = m->bytes == 8 ? get32(m, 4) : 0;
    int rc = get_state(u, m, false, f);
    if (rc == 0 && (num == 0 || num > UVM__VQ_SIZE_MAX || (num & (num - 1)) != 0)) {
        rc = uvm__fail(f, UVM_E_PROTOCOL, 0, "ring %u: impossible size %u", get32(m, 0), num);
    }
    if (rc == 0) {
        u->rings[get32(m, 0)].size = (uint16_t)num;
    }
    return rc;
}

static int set_vring_base(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    int rc = get_state(u, m, false, f);
    if (rc == 0 && get32(m, 4) > UINT16_MAX) {
        rc = uvm__fail(f, UVM_E_PROTOCOL, 0, "ring %u: impossible base %u", get32(m, 0),
                       get32(m, 4));
    }
    if (rc == 0) {
        u->rings[get32(m, 0)].base = (uint16_t)get32(m, 4);
    }
    return rc;
}

static int set_vring_addr(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    int rc = get_state(u, m, false, f);
    if (rc == 0) {
        struct uvm__vhost_ring *r = &u->rings[get32(m, 0)];
        r->place = (struct uvm__vhost_place){
            .desc = get64(m, 8), .used = get64(m, 16), .avail = get64(m, 24)};
        r->placed = true;
    }
    return rc;
}

static int get_vring_base(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    int rc = get_state(u, m, true, f);
    if (rc < 0) {
        return rc;
    }
    uint32_t ring = get32(m, 0);
    uvm__vhost_ring_stop(u, ring);
    uint32_t state[2] = {ring, u->rings[ring].base};
    return reply(u, m, state, sizeof state, f);
}

static int set_vring_enable(struct uvm__vhost_user *u, const struct message *m,
                            struct uvm__fail *f) {
    int rc = get_state(u, m, true, f);
    if (rc == 0) {
        uvm__vhost_ring_enable(u, get32(m, 0), get32(m, 4) != 0);
    }
    return rc;
}

/* The ring of a message with a descriptor, which goes to *ret_fd; -1: it brings none. */
static int get_ring_fd(const struct message *m, uint32_t *ret_ring, int *ret_fd,
                       struct uvm__fail *f) {
    uint64_t value = get64(m, 0);
    bool none = (value & 0x100) != 0;
    int rc = check_ring(value & 0xff, f);
    if (rc == 0 && m->fds_count != (none ? 0 : 1)) {
        rc = uvm__fail(f, UVM_E_PROTOCOL, 0, "ring %u: %zu descriptors", (unsigned)(value & 0xff),
                       m->fds_count);
    }
    if (rc == 0) {
        *ret_ring = (uint32_t)(value & 0xff);
        *ret_fd = none ? -1 : UVM_TAKE_FD(m->fds[0]);
    }
    return rc;
}

static int set_vring_kick(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    uint32_t ring = 0;
    int fd = -1;
    int rc = get_ring_fd(m, &ring, &fd, f);
    if (rc == 0 && fd < 0) {
        rc = uvm__fail(f, UVM_E_UNSUPPORTED, 0, "ring %u: without a kick descriptor", ring);
    }
    return rc < 0 ? rc : uvm__vhost_ring_start(u, ring, fd, f);
}

static int set_vring_call(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    uint32_t ring = 0;
    int fd = -1;
    int rc = get_ring_fd(m, &ring, &fd, f);
    if (rc == 0) {
        uvm__vhost_ring_set_call(u, ring, fd);
    }
    return rc;
}

static int set_vring_err(struct uvm__vhost_user *u, const struct message *m, struct uvm__fail *f) {
    uint32_t ring = 0;
    int fd = -1;
    int rc = get_ring_fd(m, &ring, &fd, f);
    if (rc == 0) {
        uvm__vhost_ring_set_err(u, ring, fd);
    }
    return rc;
}

/* ---- dispatch ----------------------------------------------------------------------------- */

static const struct request requests[] = {
    [1] = {"GET_FEATURES", get_features, 0, 0},
    [2] = {"SET_FEATURES", set_features, 8, 8},
    [3] = {"SET_OWNER", set_owner, 0, 0},
    [5] = {"SET_MEM_TABLE", set_mem_table, 8, 8 + TABLE_REGIONS_MAX *REGION_BYTES},
    [8] = {"SET_VRING_NUM", set_vring_num, 8, 8},
    [9] = {"SET_VRING_ADDR", set_vring_addr, 40, 40},
    [10] = {"SET_VRING_BASE", set_vring_base, 8, 8},
    [11] = {"GET_VRING_BASE", get_vring_base, 8, 8},
    [12] = {"SET_VRING_KICK", set_vring_kick, 8, 8},
    [13] = {"SET_VRING_CALL", set_vring_call, 8, 8},
    [14] = {"SET_VRING_ERR", set_vring_err, 8, 8},
    [15] = {"GET_PROTOCOL_FEATURES", get_protocol_features, 0, 0},
    [16] = {"SET_PROTOCOL_FEATURES", set_protocol_features, 8, 8},
    [17] = {"GET_QUEUE_NUM", get_queue_num, 0, 0},
    [18] = {"SET_VRING_ENABLE", set_vring_enable, 8, 8},
    [24] = {"GET_CONFIG", get_config, CONFIG_HEAD_BYTES, CONFIG_HEAD_BYTES + CONFIG_BYTES_MAX},
    [36] = {"GET_MAX_MEM_SLOTS", get_max_mem_slots, 0, 0},
    [37] = {"ADD_MEM_REG", add_mem_reg, 8 + REGION_BYTES, 8 + REGION_BYTES},
    [38] = {"REM_MEM_REG", rem_mem_reg, 8 + REGION_BYTES, 8 + REGION_BYTES},
};

static const struct request *request_of(uint32_t number) {
    static const struct request unknown = {NULL, NULL, 0, UVM__VHOST_PAYLOAD_MAX};
    bool known = number < sizeof requests / sizeof requests[0] && requests[number].name != NULL;
    return known ? &requests[number] : &unknown;
}

static struct message message_of(struct uvm__vhost_user *u) {
    uint32_t words[3];
    memcpy(words, u->header, sizeof words);
    return (struct message){.request = words[0],
                            .flags = words[1],
                            .bytes = words[2],
                            .payload = u->payload,
                            .fds = u->fds,
                            .fds_count = u->fds_count};
}

/* Looks at the header alone. */
static int check_header(struct uvm__vhost_user *u, struct uvm__fail *f) {
    struct message m = message_of(u);
    const struct request *r = request_of(m.request);
    if ((m.flags & 3u) != FLAGS_VERSION || (m.flags & FLAGS_REPLY) != 0) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "request %u: flags %#x", m.request, m.flags);
    }
    if (m.bytes < r->bytes_min || m.bytes > r->bytes_max) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "request %u: %u payload bytes", m.request, m.bytes);
    }
    return 0;
}

static void drop_fds(struct uvm__vhost_user *u) {
    for (size_t i = 0; i < u->fds_count; i++) {
        uvm__close_fd(&u->fds[i]);
    }
    u->fds_count = 0;
}

static int dispatch(struct uvm__vhost_user *u, struct uvm__fail *f) {
    struct message m = message_of(u);
    const struct request *r = request_of(m.request);
    int rc = r->handle == NULL ? REFUSED : r->handle(u, &m, f);
    drop_fds(u);
    u->header_got = u->payload_got = 0;
    bool wants = (m.flags & FLAGS_NEED_REPLY) != 0 && (u->protocol_features & P_REPLY_ACK) != 0;
    if (rc >= 0 && rc != ANSWERED && wants) {
        rc = reply64(u, &m, rc == REFUSED, f);
    }
    return rc < 0 ? rc : 0;
}

/* ---- receiving ---------------------------------------------------------------------------- */

/* > 0: progress; 0: end of file; < 0: nothing more now (AGAIN), or an error in f. */
static ssize_t receive_some(struct uvm__vhost_user *u, struct uvm__fail *f) {
    bool in_header = u->header_got < sizeof u->header;
    struct message m = message_of(u);
    uint8_t *to = in_header ? u->header + u->header_got : u->payload + u->payload_got;
    size_t want = in_header ? sizeof u->header - u->header_got : m.bytes - u->payload_got;
    int fds[UVM__VHOST_FDS_MAX];
    size_t fds_count = UVM__VHOST_FDS_MAX;
    ssize_t n = uvm__sock_recv(u->sock, to, want, fds, &fds_count);
    if (n <= 0) {
        if (n < 0 && n != -UVM_E_AGAIN) {
            (void)uvm__fail(f, (enum uvm_error_code)(-n), 0, "receiving from the front end");
        }
        return n;
    }
    bool misplaced = fds_count > 0 && (!in_header || u->header_got > 0);
    if (misplaced || fds_count > UVM__VHOST_FDS_MAX - u->fds_count) {
        for (size_t i = 0; i < fds_count; i++) {
            uvm__close_fd(&fds[i]);
        }
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "descriptors in the middle of a message");
    }
    memcpy(u->fds + u->fds_count, fds, fds_count * sizeof fds[0]);
    u->fds_count += fds_count;
    if (in_header) {
        u->header_got += (uint32_t)n;
    } else {
        u->payload_got += (uint32_t)n;
    }
    return n;
}

/* Receives and carries out one message. > 0: done; 0: end of file; < 0 as above. */
static ssize_t step(struct uvm__vhost_user *u, struct uvm__fail *f) {
    while (u->header_got < sizeof u->header) {
        ssize_t n = receive_some(u, f);
        if (n <= 0) {
            return n;
        }
    }
    int rc = check_header(u, f);
    if (rc < 0) {
        return rc;
    }
    while (u->payload_got < message_of(u).bytes) {
        ssize_t n = receive_some(u, f);
        if (n <= 0) {
            return n;
        }
    }
    rc = dispatch(u, f);
    return rc < 0 ? rc : 1;
}

static void on_sock_closed(void *arg) {
    uvm__vhost_user_handle_closed(arg);
}

/* Everything that belongs to the connection goes; what is left is memory, until the handles are closed. */
static void tear_down(struct uvm__vhost_user *u) {
    if (u->ended) {
        return;
    }
    u->ended = true;
    for (unsigned i = 0; i < UVM__VHOST_RINGS; i++) {
        uvm__vhost_ring_deinit(u, i);
    }
    drop_fds(u);
    uvm__guest_mem_deinit(&u->mem);
    uvm__sock_close(u->sock, on_sock_closed, u);
}

void uvm__vhost_user_end(struct uvm__vhost_user *u, uvm_error *take_err) {
    UVM_ASSERT(!u->ended);
    tear_down(u);
    u->params.end(take_err, u->params.arg);
}

static void on_readable(struct uvm__sock *s, void *arg) {
    struct uvm__vhost_user *u = arg;
    (void)s;
    struct uvm__fail f = {0};
    ssize_t n = 1;
    for (unsigned i = 0; i < TURN_MESSAGES && n > 0 && !u->ended; i++) {
        n = step(u, &f);
    }
    if (u->ended || n > 0 || n == -UVM_E_AGAIN) {
        return;
    }
    uvm__vhost_user_end(u, n == 0 ? NULL : uvm__fail_error(u->engine, (int)n, &f));
}

/* ---- life --------------------------------------------------------------------------------- */

static void finish(struct uvm__ready *r) {
    struct uvm__vhost_user *u = UVM__CONTAINER_OF(r, struct uvm__vhost_user, finish);
    void (*on_closed)(void *) = u->on_closed;
    void *arg = u->closed_arg;
    uvm__free(u->engine, u);
    if (on_closed != NULL) {
        on_closed(arg);
    }
}

static void maybe_finish(struct uvm__vhost_user *u) {
    if (u->closing && u->handles == 0) {
        uvm__ready_push(u->engine, &u->finish);
    }
}

void uvm__vhost_user_handle_closed(struct uvm__vhost_user *u) {
    UVM_ASSERT(u->handles > 0);
    u->handles--;
    maybe_finish(u);
}

int uvm__vhost_user_open(uvm_engine *e, const struct uvm__vhost_user_params *params,
                         struct uvm__vhost_user **ret) {
    static const struct uvm__sock_events events = {.on_readable = on_readable};
    UVM_CLEANUP_FD int fd = params->take_fd;
    struct uvm__vhost_user *u = uvm__zalloc(e, sizeof *u);
    if (u == NULL) {
        return -UVM_E_NOMEM;
    }
    u->engine = e;
    u->params = *params;
    uvm__ready_init(&u->finish, finish);
    uvm__guest_mem_init(&u->mem, e, params->memory_bytes_max);
    for (unsigned i = 0; i < UVM__VHOST_RINGS; i++) {
        uvm__vhost_ring_init(&u->rings[i]);
    }
    int rc = uvm__sock_open(e, UVM_TAKE_FD(fd), &events, u, &u->sock);
    if (rc < 0) {
        uvm__free(e, u);
        return rc;
    }
    u->handles = 1;
    uvm__sock_reading(u->sock, true);
    *ret = u;
    return 0;
}

void uvm__vhost_user_close(struct uvm__vhost_user *u, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(!u->closing);
    u->closing = true;
    u->on_closed = on_closed;
    u->closed_arg = arg;
    tear_down(u);
    maybe_finish(u); /* an end long ago may have closed all handles */
}
