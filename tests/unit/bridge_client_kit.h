/* SPDX-License-Identifier: MIT
 * bridge_client_kit.h — the host's end of the bridge against a scripted guest, and how its calls ended.
 */
#pragma once
#include "bridge/client.h"
#include "bridge_peer.h"
#include "bridge_vectors.h"
#include <stdio.h>
#include <string.h>

#define OK_BODY "{\"Result\":0}"
#define GRANT_BODY                                                                                 \
    "{\"Result\":0,\"Version\":4,\"Capabilities\":{\"RuntimeOsType\":\"linux\","                   \
    "\"GuestDefinedCapabilities\":{\"UvmExtensions\":{\"ProcessControl\":7}}}}"

/* What one op told. */
struct outcome {
    uvm_op *op;
    unsigned done;
    enum uvm_error_code code;
    int64_t sys;
    char message[256], detail[256];
};

struct fixture {
    struct peer peer;
    struct uvm__bridge *bridge;
    unsigned lost;
    enum uvm_error_code lost_code, lost_cause;
    char lost_words[256];
};
static struct fixture f;

static inline void on_lost(struct uvm__bridge *b, const uvm_error *err, void *arg) {
    (void)arg;
    assert_ptr_equal(b, f.bridge);
    assert_true(uvm__bridge_lost(b));
    f.lost++;
    f.lost_code = uvm_error_code(err);
    const uvm_error *cause = uvm_error_cause(err);
    if (cause == NULL) {
        return; /* no memory for words */
    }
    f.lost_cause = uvm_error_code(cause);
    (void)snprintf(f.lost_words, sizeof f.lost_words, "%s", uvm_error_message(cause));
}

static inline void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    struct outcome *o = arg;
    (void)op;
    o->done++;
    o->code = err == NULL ? UVM_OK : uvm_error_code(err);
    o->sys = err == NULL ? 0 : uvm_error_sys(err);
    (void)snprintf(o->message, sizeof o->message, "%s", err == NULL ? "" : uvm_error_message(err));
    (void)snprintf(o->detail, sizeof o->detail, "%s", err == NULL ? "" : uvm_error_detail(err));
}

static inline void forget(struct outcome *o) {
    o->op = uvm_op_unref(o->op);
}

static inline void open_bridge(size_t window) {
    memset(&f, 0, sizeof f);
    peer_open(&f.peer, window);
    struct uvm__bridge_params params = {
        .name = "vm1", .hvsock = f.peer.host, .take_stream = f.peer.ours, .on_lost = on_lost};
    assert_int_equal(uvm__bridge_open(f.peer.engine, &params, &f.bridge), 0);
}

static inline void close_bridge(void) {
    uvm__bridge_close(f.bridge);
    peer_close(&f.peer);
}

static inline void receive(uint32_t type, uint64_t id) {
    struct uvm__frame_header h;
    assert_true(peer_receive(&f.peer, &h));
    assert_int_equal(h.type, type);
    assert_int_equal(h.id, id);
}

static inline void receive_nothing(void) {
    struct uvm__frame_header h;
    assert_false(peer_receive(&f.peer, &h));
}

static inline void answer(uint32_t type, uint64_t id, const char *body) {
    peer_send(&f.peer, type, id, body);
    peer_run(&f.peer);
}

/* Opens and negotiates; id 0 is used. */
static inline void open_negotiated(size_t window, const char *body) {
    struct outcome o = {0};
    open_bridge(window);
    assert_int_equal(uvm__bridge_negotiate(f.bridge, NULL, on_done, &o, NULL), 0);
    receive(0x10100b01, 0);
    answer(0x20100b01, 0, body);
    assert_int_equal(o.done, 1);
    assert_int_equal(o.code, UVM_OK);
}

static inline void assert_lost(enum uvm_error_code cause) {
    peer_run(&f.peer);
    assert_int_equal(f.lost, 1);
    assert_int_equal(f.lost_code, UVM_E_CLOSED);
    assert_int_equal(f.lost_cause, cause);
    assert_true(f.lost_words[0] != 0);
    assert_true(peer_at_end(&f.peer));
}
