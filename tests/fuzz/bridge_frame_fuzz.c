/* SPDX-License-Identifier: MIT
 * bridge_frame_fuzz.c — any bytes on a bridge: to the frame reader, to a host with calls in flight, and to
 * a guest's server.
 *
 * What must hold: the frames do not depend on how the bytes were cut; a host that met nonsense has lost the
 * bridge with words, and every call has ended once; a server has answered each frame that it took, within
 * a frame's size, or has ended the connection.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/engine.h"
#include "bridge/client.h"
#include "bridge/server.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void run(uvm_engine *e) {
    while (uvm__engine_turn(e)) {
    }
}

/* ---- the reader --------------------------------------------------------------------------- */

/* Folds every frame into one number; ends at the first bad one. */
static uint64_t digest(uvm_engine *e, const uint8_t *data, size_t bytes, size_t piece) {
    struct uvm__frame_reader r;
    struct uvm__frame frame;
    struct uvm__fail f;
    uint64_t sum = 0;
    int rc = 0;
    uvm__frame_reader_init(&r, e, UVM__FRAME_BYTES_MAX);
    for (size_t at = 0; at < bytes && rc >= 0;) {
        ssize_t n = uvm__frame_reader_feed(&r, data + at, piece < bytes - at ? piece : bytes - at);
        UVM_ASSERT(n > 0);
        at += (size_t)n;
        while ((rc = uvm__frame_reader_next(&r, &frame, &f)) == 1) {
            sum = sum * 31 + frame.header.type + frame.header.id;
            for (size_t i = 0; i < frame.body_bytes; i++) {
                sum = sum * 31 + frame.body[i];
            }
            UVM_ASSERT(frame.body_bytes + UVM__FRAME_HEADER_BYTES == frame.header.size);
            uvm__frame_reader_drop(&r);
        }
    }
    uvm__frame_reader_deinit(&r);
    return sum * 2 + (rc < 0);
}

/* ---- a pair of streams -------------------------------------------------------------------- */

struct pair {
    struct uvm__hvsock *host, *guest;
    struct uvm__stream *ours, *theirs;
};

static void on_accept(struct uvm__listener *l, struct uvm__stream *take_stream, void *arg) {
    ((struct pair *)arg)->ours = take_stream;
    uvm__listener_close(l);
}

static void pair_open(struct pair *p, uvm_engine *e) {
    struct uvm__listener *l;
    struct uvm__listen_params params = {.port = 1, .once = true, .on_accept = on_accept, .arg = p};
    uvm_op *op = NULL;
    int rc = uvm__loopback_new(e, 0, &p->host, &p->guest);
    UVM_ASSERT(rc == 0);
    rc = uvm__hvsock_listen(p->host, &params, &l);
    UVM_ASSERT(rc == 0);
    rc = uvm__hvsock_connect(p->guest, 1, NULL, NULL, NULL, &op);
    UVM_ASSERT(rc == 0);
    run(e);
    p->theirs = uvm__hvsock_connect_result(op);
    UVM_ASSERT(p->theirs != NULL && p->ours != NULL);
    uvm_op_unref(op);
}

static void pair_close(struct pair *p) {
    uvm__stream_close(p->theirs);
    uvm__loopback_free(p->host, p->guest);
}

/* Sends until the other end takes no more. */
static void pair_send(struct pair *p, uvm_engine *e, const uint8_t *data, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        ssize_t n = uvm__stream_write(p->theirs, data + at, bytes - at);
        run(e);
        if (n == -UVM_E_AGAIN) {
            n = uvm__stream_write(p->theirs, data + at, bytes - at);
        }
        if (n <= 0) {
            return;
        }
        at += (size_t)n;
    }
    run(e);
}

static void send_text(struct pair *p, uvm_engine *e, uint32_t type, uint64_t id, const char *body) {
    uint8_t header[UVM__FRAME_HEADER_BYTES];
    size_t n = strlen(body);
    struct uvm__frame_header h = {type, (uint32_t)(UVM__FRAME_HEADER_BYTES + n), id};
    uvm__frame_header_write(&h, header);
    pair_send(p, e, header, sizeof header);
    pair_send(p, e, (const uint8_t *)body, n);
}

/* ---- the host ----------------------------------------------------------------------------- */

struct host {
    unsigned done, lost;
};

static void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    (void)op;
    (void)err;
    ((struct host *)arg)->done++;
}

static void on_lost(struct uvm__bridge *b, const uvm_error *err, void *arg) {
    UVM_ASSERT(uvm__bridge_lost(b) && uvm_error_message(err)[0] != 0);
    ((struct host *)arg)->lost++;
}

static void try_host(uvm_engine *e, const uint8_t *data, size_t bytes) {
    static const char grant[] = "{\"Version\":4,\"Capabilities\":{\"RuntimeOsType\":\"Linux\","
                                "\"GuestDefinedCapabilities\":{}}}";
    struct pair p = {0};
    struct host h = {0};
    struct uvm__bridge *b = NULL;
    pair_open(&p, e);
    struct uvm__bridge_params params = {.take_stream = p.ours, .on_lost = on_lost, .arg = &h};
    int rc = uvm__bridge_open(e, &params, &b);
    UVM_ASSERT(rc == 0);
    (void)uvm__bridge_negotiate(b, NULL, on_done, &h, NULL);
    run(e);
    send_text(&p, e, 0x20100b01, 0, grant);
    UVM_ASSERT(uvm__bridge_negotiated(b) && h.done == 1);
    (void)uvm__bridge_wait(b, NULL, 1, 0, NULL, on_done, &h, NULL);         /* id 1 */
    (void)uvm__bridge_get_properties(b, NULL, "", NULL, on_done, &h, NULL); /* id 2 */
    (void)uvm__bridge_modify(b, NULL, "{}", NULL, on_done, &h, NULL);       /* id 3 */
    (void)uvm__bridge_dump_stacks(b, NULL, on_done, &h, NULL);              /* id 4 */
    run(e);
    pair_send(&p, e, data, bytes);
    UVM_ASSERT(h.done + uvm__bridge_pending(b) == 5);
    UVM_ASSERT(h.lost == (uvm__bridge_lost(b) ? 1u : 0u));
    uvm__bridge_close(b);
    run(e);
    UVM_ASSERT(h.done == 5);
    pair_close(&p);
    run(e);
}

/* ---- the server --------------------------------------------------------------------------- */

struct guest {
    unsigned handled, detached;
};

static void handle(struct uvm__server *s, struct uvm__server_request *r, void *arg) {
    (void)s;
    ((struct guest *)arg)->handled++;
    if (uvm__server_request_message(r) == UVM__MSG_GET_PROPERTIES) {
        uvm__server_reply_properties(r, uvm__server_request_body(r)->properties.query);
    } else if (uvm__server_request_message(r) == UVM__MSG_DUMP_STACKS) {
        uvm__server_reply_stacks(r, "a\nb\n");
    } else {
        uvm__server_reply(r);
    }
}

static void on_detached(struct uvm__server *s, const uvm_error *err, void *arg) {
    (void)s;
    UVM_ASSERT(uvm_error_message(err)[0] != 0);
    ((struct guest *)arg)->detached++;
}

/* Reads all answers, each of which must be one that a host accepts. */
static void read_answers(struct pair *p, uvm_engine *e) {
    struct uvm__frame_reader r;
    struct uvm__frame frame;
    struct uvm__fail f;
    uvm__frame_reader_init(&r, e, UVM__FRAME_BYTES_MAX);
    for (;;) {
        int rc = uvm__frame_reader_next(&r, &frame, &f);
        UVM_ASSERT(rc >= 0);
        if (rc == 1) {
            struct uvm__msg_result result;
            union uvm__msg_answer answer;
            cJSON *tree = NULL;
            rc = uvm__msg_response_read(UVM__MSG_START, frame.body, frame.body_bytes, &result,
                                        &answer, &tree, &f);
            /* An activity that is no GUID is the host's own doing. */
            UVM_ASSERT(rc == 0 || strstr(f.msg, "ActivityId") != NULL);
            cJSON_Delete(tree);
            uvm__frame_reader_drop(&r);
            continue;
        }
        ssize_t n = uvm__frame_reader_fill(&r, p->theirs);
        if (n == -UVM_E_AGAIN) {
            run(e);
            n = uvm__frame_reader_fill(&r, p->theirs);
        }
        if (n <= 0) {
            break;
        }
    }
    uvm__frame_reader_deinit(&r);
}

static void try_server(uvm_engine *e, const uint8_t *data, size_t bytes) {
    struct pair p = {0};
    struct guest g = {0};
    struct uvm__server *s = NULL;
    struct uvm__server_params params = {
        .v4 = true, .process_control = 1, .on_detached = on_detached, .arg = &g};
    for (unsigned m = 0; m < UVM__MSG_MAX; m++) {
        params.handlers[m] = handle;
    }
    params.handlers[UVM__MSG_EXECUTE_PROCESS] = NULL;
    pair_open(&p, e);
    int rc = uvm__server_new(e, &params, &s);
    UVM_ASSERT(rc == 0);
    uvm__server_attach(s, p.ours);
    send_text(&p, e, 0x10100b01, 0, "{\"MinimumVersion\":4,\"MaximumVersion\":4}");
    pair_send(&p, e, data, bytes);
    read_answers(&p, e);
    UVM_ASSERT(uvm__server_attached(s) == (g.detached == 0));
    UVM_ASSERT(uvm__server_in_work(s) == 0);
    uvm__server_close(s);
    pair_close(&p);
    run(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct uvm_engine_params params = UVM_ENGINE_PARAMS_INIT;
    uvm_engine *e = NULL;
    int rc = uvm__engine_new_virtual(&params, 1, &e);
    UVM_ASSERT(rc == 0);
    uint64_t whole = digest(e, data, bytes, bytes);
    UVM_ASSERT(digest(e, data, bytes, 1) == whole);
    UVM_ASSERT(digest(e, data, bytes, 17) == whole);
    try_host(e, data, bytes);
    try_server(e, data, bytes);
    uvm__engine_free_virtual(e);
    return 0;
}
