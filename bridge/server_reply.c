/* SPDX-License-Identifier: MIT
 * server_reply.c — the guest's end of the bridge: answers.
 *
 * An answer is kept as a value and becomes text only when its turn to leave has come, because its shape
 * depends on the connection it leaves on. It is forgotten when the stream has taken its last byte; if the
 * connection ends before that it leaves again, whole, on the next one, after that one's negotiation.
 * Answering cannot fail: strings that cannot be copied, and frames that cannot be written for lack of
 * memory, turn into a short error which the reserved part of `out` always has room for.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "bridge/server_int.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define OUT_RESERVED 1024u
#define OUT_KEPT 8192u
#define SHORT_ACTIVITY 64u /* fits OUT_RESERVED with every character escaped */

/* ---- the way out -------------------------------------------------------------------------- */

int uvm__server_out_init(struct uvm__server *s) {
    uvm__buf_init(&s->out, s->engine, UVM__FRAME_BYTES_MAX);
    return uvm__buf_reserve(&s->out, OUT_RESERVED);
}

/* Gives a large block back if a small one can be had for it. */
static void trim(struct uvm__server *s) {
    uvm__buf_reset(&s->out);
    s->out_at = 0;
    if (s->out.cap > OUT_KEPT) {
        struct uvm__buf small;
        uvm__buf_init(&small, s->engine, UVM__FRAME_BYTES_MAX);
        if (uvm__buf_reserve(&small, OUT_RESERVED) == 0) {
            uvm__buf_deinit(&s->out);
            s->out = small;
        }
    }
}

void uvm__server_out_reset(struct uvm__server *s) {
    s->leaving = NULL;
    s->leaving_notice = false;
    trim(s);
}

static int write_answer(struct uvm__server *s, const struct uvm__server_request *r) {
    const char *activity = r->body.base.activity_id;
    if (r->kind == UVM__ANSWER_ERROR) {
        return uvm__msg_error_write(&s->out, activity, &r->error, s->control, UVM__FRAME_BYTES_MAX);
    }
    return uvm__msg_response_write(&s->out, r->msg, activity, &r->answer, s->control,
                                   UVM__FRAME_BYTES_MAX);
}

static void write_short_error(struct uvm__server *s, const struct uvm__server_request *r,
                              int32_t result, const char *message) {
    const char *activity = r->body.base.activity_id;
    struct uvm__msg_error err = {.result = result, .message = message};
    uvm__buf_reset(&s->out);
    int rc = uvm__frame_begin(&s->out);
    if (rc == 0) {
        rc = uvm__msg_error_write(&s->out, strlen(activity) <= SHORT_ACTIVITY ? activity : NULL,
                                  &err, 0, UVM__FRAME_BYTES_MAX);
    }
    UVM_ASSERT_CMP(rc, ==, 0);
}

static void encode(struct uvm__server *s, const struct uvm__server_request *r) {
    int rc = uvm__frame_begin(&s->out);
    UVM_ASSERT_CMP(rc, ==, 0);
    rc = write_answer(s, r);
    if (rc == -UVM_E_LIMIT) {
        write_short_error(s, r, UVM__HR_FAIL, "the answer does not fit a frame");
    } else if (rc < 0) {
        write_short_error(s, r, UVM__HR_OUT_OF_MEMORY, "no memory for the answer");
    }
    rc = uvm__frame_end(&s->out, uvm__message_response_word(r->word), r->id, UVM__FRAME_BYTES_MAX);
    UVM_ASSERT_CMP(rc, ==, 0);
}

/* An answer to an older connection's request waits until this one has been negotiated. */
static struct uvm__server_request *next_reply(struct uvm__server *s) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &s->replies) {
        struct uvm__server_request *r = UVM__CONTAINER_OF(it, struct uvm__server_request, link);
        if (r->connection == s->connection || s->version != 0 || !s->params.v4) {
            return r;
        }
    }
    return NULL;
}

/* Puts the next frame into `out`; false: nothing waits. */
static bool load(struct uvm__server *s) {
    UVM_ASSERT(s->out.len == 0 && s->leaving == NULL && !s->leaving_notice);
    if (!uvm__list_empty(&s->notices)) {
        struct uvm__server_notice *n =
            UVM__CONTAINER_OF(s->notices.next, struct uvm__server_notice, link);
        if (uvm__buf_append(&s->out, n->frame, n->frame_bytes) == 0) {
            s->leaving_notice = true;
            return true;
        }
        /* Answers need no memory and go on meanwhile. */
        if (!uvm__server_lacks_memory(s)) {
            return false;
        }
    }
    struct uvm__server_request *r = next_reply(s);
    if (r == NULL) {
        return false;
    }
    encode(s, r);
    s->leaving = r;
    return true;
}

static void left(struct uvm__server *s) {
    struct uvm__server_request *r = s->leaving;
    s->leaving = NULL;
    if (s->leaving_notice) {
        struct uvm__server_notice *n =
            UVM__CONTAINER_OF(s->notices.next, struct uvm__server_notice, link);
        uvm__list_remove(&n->link);
        uvm__free(s->engine, n);
    }
    s->leaving_notice = false;
    if (r != NULL) {
        if (r->msg == UVM__MSG_NEGOTIATE_PROTOCOL && r->kind == UVM__ANSWER_SUCCESS) {
            s->negotiated = true;
        }
        s->replies_count--;
        uvm__server_request_free(r);
    }
    trim(s);
}

bool uvm__server_pump(struct uvm__server *s) {
    while (s->stream != NULL && (s->out.len > 0 || load(s))) {
        ssize_t n = uvm__stream_write(s->stream, s->out.data + s->out_at, s->out.len - s->out_at);
        if (n == -UVM_E_AGAIN) {
            return true;
        }
        if (n == -UVM_E_NOMEM) {
            return uvm__server_lacks_memory(s);
        }
        if (n < 0) {
            uvm__server_lost(s, uvm__error(s->engine, UVM_E_CLOSED, 0,
                                           "bridge: the host takes no more answers"));
            return false;
        }
        s->memory_since_ms = 0;
        s->out_at += (size_t)n;
        if (s->out_at == s->out.len) {
            left(s);
        }
    }
    return s->stream != NULL;
}

/* ---- answers ------------------------------------------------------------------------------ */

static void finish(struct uvm__server_request *r, bool first) {
    struct uvm__server *s = r->server;
    UVM_ASSERT(r->kind != UVM__ANSWER_NONE);
    uvm__list_remove(&r->link);
    UVM_ASSERT(s->in_work_count > 0);
    s->in_work_count--;
    if (s->closed) {
        uvm__server_request_free(r);
        return;
    }
    if (first) {
        uvm__list_prepend(&s->replies, &r->link);
    } else {
        uvm__list_append(&s->replies, &r->link);
    }
    s->replies_count++;
    if (s->stream != NULL) {
        uvm__ready_push(s->engine, &s->ready);
    }
}

static void succeed(struct uvm__server_request *r) {
    UVM_ASSERT(r->kind == UVM__ANSWER_NONE);
    r->kind = UVM__ANSWER_SUCCESS;
    finish(r, false);
}

static void fail(struct uvm__server_request *r, int32_t result, const char *static_message) {
    UVM_ASSERT(r->kind == UVM__ANSWER_NONE);
    r->kind = UVM__ANSWER_ERROR;
    r->error = (struct uvm__msg_error){.result = result, .message = static_message};
    finish(r, false);
}

static void fail_no_memory(struct uvm__server_request *r) {
    fail(r, UVM__HR_OUT_OF_MEMORY, "no memory for the answer");
}

void uvm__server_reply_negotiated(struct uvm__server_request *take_r,
                                  const struct uvm__msg_capabilities *caps) {
    take_r->kind = UVM__ANSWER_SUCCESS;
    take_r->answer.capabilities = *caps;
    finish(take_r, true); /* answers of older connections follow it */
}

void uvm__server_reply(struct uvm__server_request *take_r) {
    succeed(take_r);
}

void uvm__server_reply_pid(struct uvm__server_request *take_r, uint32_t pid) {
    UVM_ASSERT(take_r->msg == UVM__MSG_EXECUTE_PROCESS);
    take_r->answer.pid = pid;
    succeed(take_r);
}

void uvm__server_reply_exit(struct uvm__server_request *take_r, const struct uvm__msg_exit *exit) {
    UVM_ASSERT(take_r->msg == UVM__MSG_WAIT_FOR_PROCESS);
    take_r->answer.exit = *exit;
    succeed(take_r);
}

/* Success with one string. */
static void succeed_with(struct uvm__server_request *r, const char *text, const char **ret_text) {
    r->owned = uvm__strdup(r->server->engine, text);
    if (r->owned == NULL) {
        fail_no_memory(r);
        return;
    }
    *ret_text = r->owned;
    succeed(r);
}

void uvm__server_reply_properties(struct uvm__server_request *take_r, const char *json) {
    UVM_ASSERT(take_r->msg == UVM__MSG_GET_PROPERTIES);
    succeed_with(take_r, json, &take_r->answer.properties);
}

void uvm__server_reply_stacks(struct uvm__server_request *take_r, const char *text) {
    UVM_ASSERT(take_r->msg == UVM__MSG_DUMP_STACKS);
    succeed_with(take_r, text, &take_r->answer.stacks);
}

/* Copies `text` to *at and moves *at; NULL stays NULL. */
static const char *put(char **at, const char *text) {
    if (text == NULL) {
        return NULL;
    }
    size_t bytes = strlen(text) + 1;
    char *copy = *at;
    memcpy(copy, text, bytes);
    *at += bytes;
    return copy;
}

static size_t room_for(const char *text) {
    return text == NULL ? 0 : strlen(text) + 1;
}

void uvm__server_reply_error(struct uvm__server_request *take_r, const struct uvm__msg_error *err) {
    struct uvm__server_request *r = take_r;
    UVM_ASSERT(r->kind == UVM__ANSWER_NONE && err->result != 0);
    size_t bytes = room_for(err->message) + room_for(err->stack) + room_for(err->file) +
                   room_for(err->function) + 1;
    char *at = uvm__alloc(r->server->engine, bytes);
    if (at == NULL) {
        fail_no_memory(r);
        return;
    }
    r->owned = at;
    r->error = *err;
    r->error.message = put(&at, err->message);
    r->error.stack = put(&at, err->stack);
    r->error.file = put(&at, err->file);
    r->error.function = put(&at, err->function);
    r->kind = UVM__ANSWER_ERROR;
    finish(r, false);
}

void uvm__server_reply_hresult(struct uvm__server_request *take_r, int32_t result) {
    char text[UVM__HR_TEXT_BYTES];
    uvm__hresult_text(result, text);
    struct uvm__msg_error err = {.result = result, .message = text};
    uvm__server_reply_error(take_r, &err);
}

void uvm__server_reply_bad_json(struct uvm__server_request *take_r, const char *words) {
    static const char before[] = "failed to unmarshal JSON in message \"";
    static const char after[] = "\": HRESULT 0xc037010d: ";
    struct uvm__server_request *r = take_r;
    size_t bytes = sizeof before + r->text_bytes + sizeof after + strlen(words);
    char *text = uvm__alloc(r->server->engine, bytes);
    if (text == NULL) {
        fail_no_memory(r);
        return;
    }
    char *at = text;
    memcpy(at, before, sizeof before - 1);
    at += sizeof before - 1;
    for (size_t i = 0; i < r->text_bytes; i++) {
        *at++ = r->text[i] == 0 ? (char)0xff : (char)r->text[i]; /* a NUL would end the text */
    }
    (void)snprintf(at, bytes - (size_t)(at - text), "%s%s", after, words);
    r->owned = text;
    fail(r, UVM__HR_INVALID_JSON, text);
}

void uvm__server_reply_unsupported(struct uvm__server_request *take_r) {
    char name[64];
    char text[160];
    uvm__message_word_text(take_r->word, name, sizeof name);
    (void)snprintf(text, sizeof text,
                   "HRESULT 0x80004001: bridge: function not supported, header type: %s", name);
    struct uvm__msg_error err = {
        .result = UVM__HR_NOT_SUPPORTED,
        .message = text,
        .stack = "UnknownMessage", /* the key must be there, as in the reference's answer */
        .file = "bridge.go",
        .function = "UnknownMessage",
        .line = 35,
    };
    uvm__server_reply_error(take_r, &err);
}

/* ---- notifications ------------------------------------------------------------------------ */

int uvm__server_notify_exit(struct uvm__server *s, const char *container_id,
                            const char *activity_id, const char *type) {
    UVM_ASSERT(!s->closed);
    struct uvm__msg_notification m = {{container_id, activity_id}, type};
    struct uvm__buf b;
    uvm__buf_init(&b, s->engine, UVM__FRAME_BYTES_MAX);
    struct uvm__server_notice *n = NULL;
    int rc = uvm__frame_begin(&b);
    if (rc == 0) {
        rc = uvm__msg_notification_write(&b, &m);
    }
    if (rc == 0) {
        rc = uvm__frame_end(&b, UVM__NOTIFICATION_WORD, 0, UVM__FRAME_BYTES_MAX);
    }
    if (rc == 0) {
        n = uvm__alloc(s->engine, sizeof *n + b.len);
        rc = n == NULL ? -UVM_E_NOMEM : 0;
    }
    if (rc == 0) {
        n->frame_bytes = b.len;
        memcpy(n->frame, b.data, b.len);
        uvm__list_init(&n->link);
        uvm__list_append(&s->notices, &n->link);
        if (s->stream != NULL) {
            uvm__ready_push(s->engine, &s->ready);
        }
    }
    uvm__buf_deinit(&b);
    return rc;
}
