/* SPDX-License-Identifier: MIT
 * server_int.h — the server and its requests, shared by reading (server.c) and answering
 * (server_reply.c).
 */
#pragma once
#include "async/engine.h"
#include "async/limits.h"
#include "async/list.h"
#include "bridge/server.h"

#define UVM__SERVER_RETRY_MS 100u /* between two looks whether memory is there again */

enum uvm__server_answer {
    UVM__ANSWER_NONE, /* in work */
    UVM__ANSWER_SUCCESS,
    UVM__ANSWER_ERROR,
};

struct uvm__server_request {
    struct uvm__list link; /* of the server's in_work, then of its replies */
    struct uvm__server *server;
    enum uvm__message msg; /* UVM__MSG_MAX: a word that nobody knows */
    uint32_t word;
    uint64_t id;
    uint64_t connection; /* number of the one it came on */
    uint32_t control;
    uint64_t read_ms;
    union uvm__msg_request body;
    cJSON *tree;
    void *data;
    /* the answer */
    enum uvm__server_answer kind;
    union uvm__msg_answer answer;
    struct uvm__msg_error error;
    char *owned; /* the block that the answer's strings are in */
    /* the request */
    size_t text_bytes;
    uint8_t text[];
};

struct uvm__server_notice {
    struct uvm__list link;
    size_t frame_bytes;
    uint8_t frame[];
};

struct uvm__server {
    uint32_t refs; /* owner, requests, the function at work */
    uvm_engine *engine;
    struct uvm__server_params params;
    bool closed;
    struct uvm__stream *stream; /* NULL: no connection */
    uint64_t connection;
    uint32_t version, control; /* of this connection */
    struct uvm__frame_reader reader;
    struct uvm__deadline memory; /* tries again to read a frame that memory lacked for */
    uint64_t memory_since_ms;    /* 0: it does not lack */
    struct uvm__ready ready;
    struct uvm__list in_work;
    uint32_t in_work_count;
    struct uvm__list replies; /* in the order in which they leave */
    uint32_t replies_count;
    struct uvm__list notices;
    /* The frame that is leaving: of the first notice or of `leaving`. At least SMALL bytes are always
     * reserved, so that some answer can be written. */
    struct uvm__buf out;
    size_t out_at;
    struct uvm__server_request *leaving; /* still linked in replies */
    bool leaving_notice;
    bool negotiated; /* on_negotiated is due */
};

/* Writes what can be written; false when the connection was lost on it. */
bool uvm__server_pump(struct uvm__server *s);
/* What needs memory is tried again soon; false: for too long already, the connection was given up. */
bool uvm__server_lacks_memory(struct uvm__server *s);
void uvm__server_lost(struct uvm__server *s, uvm_error *take_err);
void uvm__server_unref(struct uvm__server *s);
void uvm__server_request_free(struct uvm__server_request *r);
/* What the connection's end means for what was leaving. */
void uvm__server_out_reset(struct uvm__server *s);
int uvm__server_out_init(struct uvm__server *s);
void uvm__server_reply_negotiated(struct uvm__server_request *take_r,
                                  const struct uvm__msg_capabilities *caps);
