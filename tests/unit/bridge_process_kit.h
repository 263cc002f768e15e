/* SPDX-License-Identifier: MIT
 * bridge_process_kit.h — a scripted guest that runs one process, and what that process's events told.
 */
#pragma once
#include "bridge/process.h"
#include "bridge_peer.h"
#include "bridge_vectors.h"
#include <stdio.h>
#include <string.h>

#define PORT UVM__PORT_STDIO_FIRST
#define GRANT_BODY                                                                                 \
    "{\"Result\":0,\"Version\":4,\"Capabilities\":{\"RuntimeOsType\":\"Linux\","                   \
    "\"GuestDefinedCapabilities\":{\"UvmExtensions\":{\"ProcessControl\":1}}}}"
#define KILL_BODY                                                                                  \
    "{\"ContainerId\":\"" Z "\"," A ",\"ProcessId\":112,\"Options\":{\"UvmGroup\":true}}\n"
#define WAIT_BODY "{\"ContainerId\":\"" Z "\"," A ",\"ProcessId\":112,\"TimeoutInMs\":4294967295}\n"

struct fixture {
    struct peer peer;
    struct uvm__bridge *bridge;
    uvm_op *op;
    unsigned done;
    enum uvm_error_code code;
    char message[512];
    struct uvm__process *process;
    bool take;                                   /* in on_done */
    struct uvm__stream *streams[UVM__STDIO_MAX]; /* the guest's ends */
    /* events */
    char output[2][1 << 16];
    size_t output_bytes[2], output_room; /* how much on_output takes in all */
    unsigned writable, ends[UVM__STDIO_MAX], exits;
    enum uvm_error_code end_code[UVM__STDIO_MAX], exit_code;
    struct uvm__process_exit exit;
    int close_in; /* 1: on_output, 2: on_stream_end, 3: on_exit, 4: on_writable */
};
static struct fixture f;

static inline void close_process(void) {
    uvm__process_close(f.process);
    f.process = NULL;
}

static inline size_t on_output(struct uvm__process *p, enum uvm__stdio which, const void *data,
                               size_t bytes, void *arg) {
    (void)p;
    assert_ptr_equal(arg, &f);
    unsigned i = which == UVM__STDOUT ? 0 : 1;
    size_t n = bytes < f.output_room ? bytes : f.output_room;
    memcpy(f.output[i] + f.output_bytes[i], data, n);
    f.output_bytes[i] += n;
    f.output_room -= n;
    if (f.close_in == 1) {
        close_process();
    }
    return n;
}

static inline void on_writable(struct uvm__process *p, void *arg) {
    (void)p;
    (void)arg;
    f.writable++;
    if (f.close_in == 4) {
        close_process();
    }
}

static inline void on_stream_end(struct uvm__process *p, enum uvm__stdio which,
                                 const uvm_error *err, void *arg) {
    (void)p;
    (void)arg;
    assert_int_equal(f.exits, 0);
    f.ends[which]++;
    f.end_code[which] = err == NULL ? UVM_OK : uvm_error_code(err);
    if (f.close_in == 2) {
        close_process();
    }
}

static inline void on_exit_told(struct uvm__process *p, const struct uvm__process_exit *exit,
                                const uvm_error *err, void *arg) {
    (void)p;
    (void)arg;
    assert_int_equal(exit == NULL, err != NULL);
    f.exits++;
    f.exit_code = err == NULL ? UVM_OK : uvm_error_code(err);
    if (exit != NULL) {
        f.exit = *exit;
    }
    if (f.close_in == 3) {
        close_process();
    }
}

static inline void on_done(uvm_op *op, const uvm_error *err, void *arg) {
    (void)arg;
    f.done++;
    f.code = err == NULL ? UVM_OK : uvm_error_code(err);
    (void)snprintf(f.message, sizeof f.message, "%s", err == NULL ? "" : uvm_error_message(err));
    if (f.take && err == NULL) {
        f.process = uvm__process_exec_result(op);
        assert_non_null(f.process);
        assert_null(uvm__process_exec_result(op));
    }
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

static inline void open_bridge(size_t window, const char *grant) {
    memset(&f, 0, sizeof f);
    f.take = true;
    f.output_room = sizeof f.output[0];
    peer_open(&f.peer, window);
    struct uvm__bridge_params params = {
        .name = "vm1", .hvsock = f.peer.host, .take_stream = f.peer.ours};
    assert_int_equal(uvm__bridge_open(f.peer.engine, &params, &f.bridge), 0);
    assert_int_equal(uvm__bridge_negotiate(f.bridge, NULL, NULL, NULL, NULL), 0);
    receive(0x10100b01, 0);
    answer(0x20100b01, 0, grant);
}

static inline void hang_up_streams(void) {
    for (int i = 0; i < UVM__STDIO_MAX; i++) {
        if (f.streams[i] != NULL) {
            uvm__stream_close(f.streams[i]);
            f.streams[i] = NULL;
        }
    }
}

static inline void close_bridge(void) {
    f.op = uvm_op_unref(f.op);
    if (f.process != NULL) {
        close_process();
    }
    hang_up_streams();
    uvm__bridge_close(f.bridge);
    peer_close(&f.peer);
}

static inline struct uvm__process_params params_of(bool in, bool out, bool err) {
    static const char *const args[] = {"sh", "-c", "true", NULL};
    struct uvm__process_params p = {
        .args = args,
        .events = {on_exit_told, on_output, on_writable, on_stream_end},
        .arg = &f,
    };
    bool wanted[] = {in, out, err};
    for (int i = 0; i < UVM__STDIO_MAX; i++) {
        p.stdio[i] = wanted[i] ? UVM__STDIO_CALLBACK : UVM__STDIO_NONE;
        p.fd[i] = -1;
    }
    return p;
}

/* Starts it; its request has arrived as id 1. */
static inline void start(bool in, bool out, bool err) {
    struct uvm__process_params p = params_of(in, out, err);
    assert_int_equal(uvm__process_exec(f.bridge, &p, NULL, on_done, NULL, &f.op), 0);
    receive(0x10100501, 1);
    assert_int_equal(f.done, 0);
}

/* The guest connects a stream; ports count up from the first. */
static inline struct uvm__stream *dial(uint32_t port) {
    uvm_op *op;
    assert_int_equal(uvm__hvsock_connect(f.peer.guest, port, NULL, NULL, NULL, &op), 0);
    peer_run(&f.peer);
    struct uvm__stream *s = uvm__hvsock_connect_result(op);
    uvm_op_unref(op);
    return s;
}

static inline void dial_all(bool in, bool out, bool err) {
    bool wanted[] = {in, out, err};
    uint32_t port = PORT;
    for (int i = 0; i < UVM__STDIO_MAX; i++) {
        if (wanted[i]) {
            f.streams[i] = dial(port++);
            assert_non_null(f.streams[i]);
        }
    }
}

/* A process with these streams that runs as 112; its wait has id 2. */
static inline void run(bool in, bool out, bool err) {
    start(in, out, err);
    dial_all(in, out, err);
    answer(0x20100501, 1, "{\"Result\":0,\"ProcessId\":112}");
    receive(0x10100601, 2);
    assert_string_equal(f.peer.body, WAIT_BODY);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.code, UVM_OK);
    assert_int_equal(uvm__process_pid(f.process), 112);
    f.op = uvm_op_unref(f.op);
}

static inline void guest_writes(enum uvm__stdio which, const char *text) {
    assert_int_equal(uvm__stream_write(f.streams[which], text, strlen(text)), strlen(text));
    peer_run(&f.peer);
}

static inline size_t quarantined(void) {
    return uvm__scope_quarantined(uvm__engine_root(f.peer.engine)->undo_root);
}
