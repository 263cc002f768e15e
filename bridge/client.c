/* SPDX-License-Identifier: MIT
 * client.c — the host's end of the bridge: the connection.
 *
 * Everything happens from the ready queue, in turn(): first what waits to leave, then what has arrived, a
 * bounded number of frames. Nothing here calls the users' code: replies end steps of ops, which report by
 * the ready queue again; on_lost and exit watches have nodes of their own.
 * A request gets its id when its first byte leaves, and enters the table when its last one has: a peer
 * that answers earlier answers an unknown id. A frame that did not leave as a whole is dropped with the
 * connection, never continued on another.
 * A frame that cannot be decoded for lack of memory stays in the reader and is tried again, so a reply is
 * not lost; the same deadline serves a stream that lacks memory for our bytes.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/log.h"
#include "async/mark.h"
#include "bridge/client_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FRAMES_PER_TURN 64u
#define MEMORY_RETRY_MS 100u
#define DETAIL_BYTES_MAX 8192u

struct uvm__bridge *uvm__bridge_ref(struct uvm__bridge *b) {
    UVM_ASSERT(b->refs > 0);
    b->refs++;
    return b;
}

void uvm__bridge_unref(struct uvm__bridge *b) {
    UVM_ASSERT(b->refs > 0);
    if (--b->refs == 0) {
        UVM_ASSERT(b->closed && b->stream == NULL);
        UVM_ASSERT(b->calls.count == 0 && b->queue_count == 0 && uvm__list_empty(&b->watches));
        uvm_error_unref(b->lost_err);
        uvm__free(b->engine, b);
    }
}

/* ---- one request -------------------------------------------------------------------------- */

static void on_rpc_deadline(struct uvm__deadline *d) {
    struct uvm__rpc *rpc = UVM__CONTAINER_OF(d, struct uvm__rpc, deadline);
    struct uvm__bridge *b = rpc->bridge;
    uvm__bridge_kill(b, uvm__error(b->engine, UVM_E_TIMEDOUT, 0,
                                   "%s: no answer to %s (id %" PRIu64 ") within %u ms", b->name,
                                   uvm__messages[rpc->msg].name, rpc->call.id, UVM__RPC_MS));
}

void uvm__rpc_init(struct uvm__rpc *rpc, struct uvm__bridge *b, enum uvm__message msg) {
    *rpc = (struct uvm__rpc){.bridge = b, .msg = msg};
    uvm__list_init(&rpc->link);
    uvm__list_init(&rpc->call.link);
    uvm__deadline_init(&rpc->deadline, on_rpc_deadline);
    uvm__buf_init(&rpc->frame, b->engine, UVM__REQUEST_BYTES_MAX);
}

void uvm__rpc_deinit(struct uvm__rpc *rpc) {
    if (rpc->bridge != NULL) {
        UVM_ASSERT(rpc->state == UVM__RPC_IDLE);
        uvm__buf_deinit(&rpc->frame);
    }
}

int uvm__rpc_encode(struct uvm__rpc *rpc, const union uvm__msg_request *req) {
    UVM_ASSERT(rpc->state == UVM__RPC_IDLE);
    uvm__buf_reset(&rpc->frame);
    int rc = uvm__frame_begin(&rpc->frame);
    if (rc == 0) {
        rc = uvm__msg_request_write(&rpc->frame, rpc->msg, req);
    }
    if (rc == 0) {
        rc = uvm__frame_end(&rpc->frame, uvm__messages[rpc->msg].word, 0, UVM__REQUEST_BYTES_MAX);
    }
    return rc;
}

uvm_error *uvm__rpc_send(struct uvm__rpc *rpc, uvm_op *op) {
    struct uvm__bridge *b = rpc->bridge;
    UVM_ASSERT(rpc->state == UVM__RPC_IDLE && rpc->frame.len > 0);
    if (b->stream == NULL) {
        return uvm__bridge_lost_error(b);
    }
    if (!rpc->exempt && b->queue_count + b->calls.count >= UVM__RPC_PENDING_MAX) {
        return uvm__error(b->engine, UVM_E_LIMIT, 0, "%s: %u calls wait for the guest (%u allowed)",
                          b->name, b->queue_count + b->calls.count, UVM__RPC_PENDING_MAX);
    }
    if (!rpc->exempt && b->queue_bytes + rpc->frame.len > UVM__BRIDGE_OUT_BYTES_MAX) {
        return uvm__error(b->engine, UVM_E_LIMIT, 0,
                          "%s: the guest does not read: %zu bytes of requests wait (%u allowed)",
                          b->name, b->queue_bytes, UVM__BRIDGE_OUT_BYTES_MAX);
    }
    rpc->state = UVM__RPC_QUEUED;
    rpc->written = 0;
    rpc->op = uvm_op_ref(op);
    uvm__list_append(&b->queue, &rpc->link);
    b->queue_count++;
    b->queue_bytes += rpc->frame.len;
    uvm__ready_push(b->engine, &b->ready);
    return NULL;
}

/* Takes it out of the queue; the caller drops the op reference, with which the rpc may go. */
static uvm_op *dequeue(struct uvm__rpc *rpc) {
    struct uvm__bridge *b = rpc->bridge;
    UVM_ASSERT(b->queue_count > 0 && b->queue_bytes >= rpc->frame.len);
    uvm__list_remove(&rpc->link);
    b->queue_count--;
    b->queue_bytes -= rpc->frame.len;
    return UVM_TAKE_PTR(rpc->op);
}

bool uvm__rpc_withdraw(struct uvm__rpc *rpc) {
    if (rpc->state != UVM__RPC_QUEUED) {
        return false;
    }
    UVM__MARK(bridge_withdrawn);
    rpc->state = UVM__RPC_IDLE;
    uvm_op_unref(dequeue(rpc));
    return true;
}

void uvm__rpc_abandon(struct uvm__rpc *rpc) {
    uvm__deadline_clear(rpc->bridge->engine, &rpc->deadline);
}

/* The guest's words on one line, without what a terminal would obey. */
static void one_line(char *ret, size_t bytes, const char *text) {
    size_t n = strnlen(text, bytes - 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        ret[i] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    while (n > 0 && ((unsigned char)ret[n - 1] & 0xc0) == 0x80 && text[n] != 0) {
        n--; /* not within a character */
    }
    ret[n] = 0;
}

uvm_error *uvm__rpc_refused(struct uvm__rpc *rpc, const struct uvm__rpc_reply *reply) {
    const struct uvm__msg_result *r = &reply->result;
    struct uvm__bridge *b = rpc->bridge;
    char code[UVM__HR_TEXT_BYTES];
    char words[200];
    UVM_ASSERT(r->result != 0);
    uvm__hresult_text(r->result, code);
    one_line(words, sizeof words, r->message[0] == 0 ? code : r->message);
    uvm_error *err = uvm__error(b->engine, UVM_E_PEER, r->result, "%s: the guest refused %s: %s",
                                b->name, uvm__messages[rpc->msg].name, words);
    return uvm__error_detail(err, r->message, strnlen(r->message, DETAIL_BYTES_MAX));
}

/* ---- the connection's end ----------------------------------------------------------------- */

uvm_error *uvm__bridge_lost_error(struct uvm__bridge *b) {
    UVM_ASSERT(b->stream == NULL && b->lost_err != NULL);
    return uvm_error_ref(b->lost_err);
}

static void finish_watch(struct uvm__exit_watch *w, const char *type) {
    uvm__list_remove(&w->link);
    (void)snprintf(w->type, sizeof w->type, "%s", type);
    uvm__ready_push(w->bridge->engine, &w->ready);
}

static void end(struct uvm__bridge *b, uvm_error *take_cause) {
    struct uvm__stream *stream = UVM_TAKE_PTR(b->stream);
    uvm_error *err = uvm__error(b->engine, UVM_E_CLOSED, 0, "%s: bridge to the guest %s", b->name,
                                b->closed ? "closed" : "lost");
    b->lost_err = take_cause == NULL ? err : uvm__error_cause(err, take_cause);
    uvm__stream_reset(stream);
    uvm__ready_cancel(b->engine, &b->ready);
    uvm__deadline_clear(b->engine, &b->memory);
    uvm__frame_reader_deinit(&b->reader);
    while (!uvm__list_empty(&b->queue)) {
        struct uvm__rpc *rpc = UVM__CONTAINER_OF(b->queue.next, struct uvm__rpc, link);
        uvm_op *op = dequeue(rpc);
        rpc->state = UVM__RPC_IDLE;
        rpc->on_reply(rpc, NULL, b->lost_err);
        uvm_op_unref(op);
    }
    uvm__calls_fail(&b->calls, b->lost_err);
    while (!uvm__list_empty(&b->watches)) {
        finish_watch(UVM__CONTAINER_OF(b->watches.next, struct uvm__exit_watch, link), "");
    }
}

void uvm__bridge_kill(struct uvm__bridge *b, uvm_error *take_cause) {
    if (b->stream == NULL) {
        uvm_error_unref(take_cause);
        return;
    }
    uvm__log(b->engine, UVM_LOG_INFO, b->name, "bridge lost: %s", uvm_error_message(take_cause));
    uvm__bridge_ref(b);
    end(b, take_cause);
    uvm__ready_push(b->engine, &b->lost_ready);
    uvm__bridge_unref(b);
}

static void on_lost_ready(struct uvm__ready *r) {
    struct uvm__bridge *b = UVM__CONTAINER_OF(r, struct uvm__bridge, lost_ready);
    UVM_ASSERT(!b->closed && b->lost_err != NULL);
    if (b->on_lost != NULL) {
        b->on_lost(b, b->lost_err, b->arg);
    }
}

__attribute__((format(printf, 2, 3))) static void broken(struct uvm__bridge *b, const char *fmt,
                                                         ...) {
    va_list ap;
    va_start(ap, fmt);
    uvm__bridge_kill(b, uvm__error_v(b->engine, UVM_E_PROTOCOL, 0, fmt, ap));
    va_end(ap);
}

static void lacks_memory(struct uvm__bridge *b) {
    UVM__MARK(bridge_memory);
    uint64_t now = uvm__now_ms(b->engine);
    if (b->memory_since_ms == 0) {
        b->memory_since_ms = now + 1; /* 0 says that it does not lack */
    }
    if (now + 1 - b->memory_since_ms >= UVM__BRIDGE_MEMORY_MS) {
        uvm__bridge_kill(b, uvm__error_nomem());
        return;
    }
    uvm__deadline_set(b->engine, &b->memory, now + MEMORY_RETRY_MS);
}

/* ---- out ---------------------------------------------------------------------------------- */

static void on_call(struct uvm__call *call, const void *reply, const uvm_error *err) {
    struct uvm__rpc *rpc = UVM__CONTAINER_OF(call, struct uvm__rpc, call);
    struct uvm__rpc_reply *r = (struct uvm__rpc_reply *)reply;
    UVM_ASSERT(rpc->state == UVM__RPC_SENT);
    rpc->state = UVM__RPC_IDLE;
    uvm__deadline_clear(rpc->bridge->engine, &rpc->deadline);
    rpc->on_reply(rpc, r, err);
}

static void sent(struct uvm__bridge *b, struct uvm__rpc *rpc, uint64_t id) {
    uvm_op *op = dequeue(rpc);
    rpc->state = UVM__RPC_SENT;
    uvm__buf_deinit(&rpc->frame);
    uvm__call_add(&b->calls, &rpc->call, id, op, on_call);
    if (rpc->msg != UVM__MSG_WAIT_FOR_PROCESS && !rpc->patient) {
        uvm__deadline_set(b->engine, &rpc->deadline, uvm__now_ms(b->engine) + UVM__RPC_MS);
    }
    if (rpc->on_sent != NULL) {
        rpc->on_sent(rpc);
    }
    uvm_op_unref(op);
}

static void pump(struct uvm__bridge *b) {
    while (b->stream != NULL && !uvm__list_empty(&b->queue)) {
        struct uvm__rpc *rpc = UVM__CONTAINER_OF(b->queue.next, struct uvm__rpc, link);
        if (rpc->state == UVM__RPC_QUEUED) {
            rpc->state = UVM__RPC_LEAVING;
            uvm__frame_set_id(&rpc->frame, b->next_id++);
        }
        ssize_t n = uvm__stream_write(b->stream, rpc->frame.data + rpc->written,
                                      rpc->frame.len - rpc->written);
        if (n == -UVM_E_AGAIN) {
            return;
        }
        if (n == -UVM_E_NOMEM) {
            lacks_memory(b);
            return;
        }
        if (n < 0) {
            uvm__bridge_kill(b, uvm__error(b->engine, UVM_E_CLOSED, 0,
                                           "%s: the guest takes no more requests", b->name));
            return;
        }
        rpc->written += (size_t)n;
        if (rpc->written == rpc->frame.len) {
            sent(b, rpc, b->next_id - 1);
        }
    }
}

/* ---- in ----------------------------------------------------------------------------------- */

static int take_response(struct uvm__bridge *b, const struct uvm__frame *frame) {
    struct uvm__call *call = uvm__call_find(&b->calls, frame->header.id);
    if (call == NULL) {
        UVM__MARK_IF(bridge_twice, frame->header.id < b->next_id);
        UVM__MARK_IF(bridge_unknown, frame->header.id >= b->next_id);
        broken(b, "%s: the guest answered id %" PRIu64 ", which is not in flight", b->name,
               frame->header.id);
        return 0;
    }
    struct uvm__rpc *rpc = UVM__CONTAINER_OF(call, struct uvm__rpc, call);
    struct uvm__rpc_reply reply = {0};
    struct uvm__fail f = {0};
    int rc = uvm__msg_response_read(rpc->msg, frame->body, frame->body_bytes, &reply.result,
                                    &reply.answer, &reply.tree, &f);
    if (rc == -UVM_E_NOMEM) {
        return rc;
    }
    if (rc < 0) {
        broken(b, "%s: the answer to %s (id %" PRIu64 ") does not decode: %s", b->name,
               uvm__messages[rpc->msg].name, frame->header.id, f.msg);
        return 0;
    }
    uvm__frame_reader_drop(&b->reader);
    uvm__call_finish(&b->calls, call, &reply, NULL);
    cJSON_Delete(reply.tree);
    return 0;
}

static int take_notification(struct uvm__bridge *b, const struct uvm__frame *frame) {
    if (frame->header.type != UVM__NOTIFICATION_WORD) {
        broken(b, "%s: the guest sent an unknown notification 0x%08" PRIx32, b->name,
               frame->header.type);
        return 0;
    }
    struct uvm__msg_notification n;
    struct uvm__fail f = {0};
    cJSON *tree = NULL;
    int rc = uvm__msg_notification_read(frame->body, frame->body_bytes, &n, &tree, &f);
    if (rc == -UVM_E_NOMEM) {
        return rc;
    }
    if (rc < 0) {
        broken(b, "%s: a notification does not decode: %s", b->name, f.msg);
        return 0;
    }
    struct uvm__exit_watch *found = NULL;
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &b->watches) {
        struct uvm__exit_watch *w = UVM__CONTAINER_OF(it, struct uvm__exit_watch, link);
        if (strcmp(w->container_id, n.base.container_id) == 0) {
            found = w;
            break;
        }
    }
    if (found == NULL) {
        broken(b, "%s: the guest notified of container '%.64s', which is not known or has ended",
               b->name, n.base.container_id);
    } else {
        finish_watch(found, n.type);
        uvm__frame_reader_drop(&b->reader);
    }
    cJSON_Delete(tree);
    return 0;
}

/* 0: taken, or the bridge is lost; -UVM_E_NOMEM: the frame is still there. */
static int take_frame(struct uvm__bridge *b, const struct uvm__frame *frame) {
    uint32_t kind = frame->header.type >> 28;
    if (kind == 2) {
        return take_response(b, frame);
    }
    if (kind == 3) {
        return take_notification(b, frame);
    }
    broken(b, "%s: the guest sent a frame of type 0x%08" PRIx32 " (no response, no notification)",
           b->name, frame->header.type);
    return 0;
}

/* False when nothing more can be read now. */
static bool read_one(struct uvm__bridge *b) {
    struct uvm__frame frame;
    struct uvm__fail f;
    int rc = uvm__frame_reader_next(&b->reader, &frame, &f);
    if (rc == 1) {
        if (take_frame(b, &frame) < 0) {
            lacks_memory(b);
            return false;
        }
        b->memory_since_ms = 0;
        return b->stream != NULL;
    }
    if (rc < 0) {
        broken(b, "%s: %s", b->name, f.msg);
        return false;
    }
    ssize_t n = uvm__frame_reader_fill(&b->reader, b->stream);
    if (n == -UVM_E_NOMEM) {
        lacks_memory(b);
    } else if (n == 0) {
        uvm__bridge_kill(
            b, uvm__error(b->engine, UVM_E_EOF, 0, "%s: the guest closed the bridge%s", b->name,
                          uvm__frame_reader_partial(&b->reader) ? " inside a frame" : ""));
    } else if (n < 0 && n != -UVM_E_AGAIN) {
        uvm__bridge_kill(
            b, uvm__error(b->engine, UVM_E_CLOSED, 0, "%s: the bridge was reset", b->name));
    }
    return n > 0;
}

static void turn(struct uvm__bridge *b) {
    uvm__bridge_ref(b);
    pump(b);
    unsigned frames = 0;
    while (b->stream != NULL && read_one(b)) {
        if (frames++ == FRAMES_PER_TURN) {
            uvm__ready_push(b->engine, &b->ready);
            break;
        }
    }
    uvm__bridge_unref(b);
}

static void on_ready(struct uvm__ready *r) {
    turn(UVM__CONTAINER_OF(r, struct uvm__bridge, ready));
}

static void on_memory(struct uvm__deadline *d) {
    struct uvm__bridge *b = UVM__CONTAINER_OF(d, struct uvm__bridge, memory);
    uvm__ready_push(b->engine, &b->ready);
}

static void on_stream(struct uvm__stream *stream, unsigned events, void *arg) {
    struct uvm__bridge *b = arg;
    (void)events;
    UVM_ASSERT(b->stream == stream);
    turn(b);
}

/* ---- life --------------------------------------------------------------------------------- */

int uvm__bridge_open(uvm_engine *e, const struct uvm__bridge_params *params,
                     struct uvm__bridge **ret) {
    const char *name = params->name == NULL ? "vm" : params->name;
    size_t name_bytes = strlen(name) + 1;
    struct uvm__bridge *b = uvm__zalloc(e, sizeof *b + name_bytes);
    if (b == NULL) {
        return -UVM_E_NOMEM;
    }
    memcpy(b->name, name, name_bytes);
    b->refs = 1;
    b->engine = e;
    b->hvsock = params->hvsock;
    b->stream = params->take_stream;
    b->on_lost = params->on_lost;
    b->arg = params->arg;
    b->next_port = UVM__PORT_STDIO_FIRST;
    uvm__frame_reader_init(&b->reader, e, UVM__FRAME_BYTES_MAX);
    uvm__ready_init(&b->ready, on_ready);
    uvm__ready_init(&b->lost_ready, on_lost_ready);
    uvm__deadline_init(&b->memory, on_memory);
    uvm__list_init(&b->queue);
    uvm__list_init(&b->watches);
    uvm__calls_init(&b->calls);
    uvm__stream_set_handler(b->stream, on_stream, b);
    uvm__ready_push(e, &b->ready);
    *ret = b;
    return 0;
}

void uvm__bridge_close(struct uvm__bridge *b) {
    if (b == NULL) {
        return;
    }
    UVM_ASSERT(!b->closed);
    b->closed = true;
    uvm__ready_cancel(b->engine, &b->lost_ready);
    if (b->stream != NULL) {
        end(b, NULL);
    }
    uvm__bridge_unref(b);
}

bool uvm__bridge_lost(const struct uvm__bridge *b) {
    return b->stream == NULL;
}

bool uvm__bridge_negotiated(const struct uvm__bridge *b) {
    return b->negotiated;
}

uint32_t uvm__bridge_process_control(const struct uvm__bridge *b) {
    return b->capabilities.process_control;
}

const struct uvm__msg_capabilities *uvm__bridge_capabilities(const struct uvm__bridge *b) {
    return &b->capabilities;
}

uint32_t uvm__bridge_pending(const struct uvm__bridge *b) {
    return b->queue_count + b->calls.count;
}

int uvm__bridge_take_port(struct uvm__bridge *b, uint32_t *ret_port) {
    if (b->next_port == 0) { /* three thousand million streams */
        return -UVM_E_LIMIT;
    }
    *ret_port = b->next_port++;
    return 0;
}

/* ---- exit notifications ------------------------------------------------------------------- */

static void on_watch_ready(struct uvm__ready *r) {
    struct uvm__exit_watch *w = UVM__CONTAINER_OF(r, struct uvm__exit_watch, ready);
    struct uvm__bridge *b = UVM_TAKE_PTR(w->bridge);
    uvm_error *err = b->lost_err == NULL || w->type[0] != 0 ? NULL : uvm_error_ref(b->lost_err);
    uvm__bridge_unref(b);
    w->on_exit(w, w->type, err);
    uvm_error_unref(err);
}

int uvm__bridge_watch_exit(struct uvm__bridge *b, struct uvm__exit_watch *w) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &b->watches) {
        const struct uvm__exit_watch *other = UVM__CONTAINER_OF(it, struct uvm__exit_watch, link);
        if (strcmp(other->container_id, w->container_id) == 0) {
            return -UVM_E_EXISTS;
        }
    }
    if (b->stream == NULL) {
        return -UVM_E_CLOSED;
    }
    uvm__list_init(&w->link);
    uvm__ready_init(&w->ready, on_watch_ready);
    w->bridge = uvm__bridge_ref(b);
    uvm__list_append(&b->watches, &w->link);
    return 0;
}

void uvm__bridge_unwatch_exit(struct uvm__exit_watch *w) {
    if (w->bridge != NULL) {
        struct uvm__bridge *b = UVM_TAKE_PTR(w->bridge);
        uvm__list_remove(&w->link);
        uvm__ready_cancel(b->engine, &w->ready);
        uvm__bridge_unref(b);
    }
}
