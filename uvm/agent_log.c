/* SPDX-License-Identifier: MIT
 * agent_log.c — lines of the agent's log: cut from the stream, read, passed on to the engine's log.
 *
 * Every byte goes into the tail first, so that an error can show what the agent said even when nobody
 * listened. Levels follow docs/PROTOCOL-bridge.md, Transport (a missing one is info), but what is an error
 * to the agent is a warning here, and a warning is news: the engine reports its own failures itself. All
 * fields but time, level and msg follow the message as key=value.
 */
#include "uvm/agent_log.h"
#include "async/check.h"
#include "async/json.h"
#include "async/limits.h"
#include "async/log.h"
#include <string.h>

#define READ_BYTES 4096u
#define TURN_BYTES_MAX 65536u /* then others have their turn */

struct level {
    const char *name, *shown;
    enum uvm_log_level level;
};

static const struct level levels[] = {
    {"info", "", UVM_LOG_INFO},          {"debug", "", UVM_LOG_DEBUG},
    {"trace", "", UVM_LOG_TRACE},        {"warning", "warning: ", UVM_LOG_INFO},
    {"warn", "warning: ", UVM_LOG_INFO}, {"error", "error: ", UVM_LOG_WARN},
    {"fatal", "fatal: ", UVM_LOG_WARN},  {"panic", "panic: ", UVM_LOG_WARN},
};

static const struct level *level_of(const char *name) {
    for (size_t i = 0; name != NULL && i < sizeof levels / sizeof levels[0]; i++) {
        if (strcmp(levels[i].name, name) == 0) {
            return &levels[i];
        }
    }
    return &levels[0];
}

/* Appends text without control characters, as far as there is room. */
static void add_text(char *buf, size_t bytes, size_t *len, const char *text) {
    for (; *text != 0 && *len + 1 < bytes; text++) {
        unsigned char c = (unsigned char)*text;
        buf[(*len)++] = c < 0x20 || c == 0x7f ? ' ' : *text;
    }
    buf[*len] = 0;
}

static void add_field(char *buf, size_t bytes, size_t *len, const cJSON *node) {
    const char *text = uvm__json_string(node);
    if (text == NULL) {
        text = uvm__json_number(node);
    }
    bool flag;
    if (text == NULL && uvm__json_bool(node, &flag) == 0) {
        text = flag ? "true" : "false";
    }
    add_text(buf, bytes, len, " ");
    add_text(buf, bytes, len, node->string);
    add_text(buf, bytes, len, "=");
    add_text(buf, bytes, len, text == NULL ? "…" : text);
}

void uvm__agent_log_line(struct uvm__agent_log *l, const char *line, size_t bytes) {
    l->lines++;
    /* Nobody listens: nothing to read. An unread line counts as info. */
    if (bytes == 0 || !uvm__log_wanted(l->engine, UVM_LOG_ERROR)) {
        return;
    }
    char text[480];
    size_t len = 0;
    cJSON *tree = NULL;
    struct uvm__fail ignored;
    if (line[0] != '{' || uvm__json_read(UVM__JSON_GO, line, bytes, &tree, &ignored) < 0) {
        char raw[sizeof text];
        size_t n = bytes < sizeof raw - 1 ? bytes : sizeof raw - 1;
        memcpy(raw, line, n);
        raw[n] = 0;
        add_text(text, sizeof text, &len, raw);
        uvm__log(l->engine, UVM_LOG_WARN, l->vm, "agent: %s", text);
        return;
    }
    const struct level *level =
        level_of(uvm__json_string(uvm__json_get(UVM__JSON_GO, tree, "level")));
    const char *msg = uvm__json_string(uvm__json_get(UVM__JSON_GO, tree, "msg"));
    add_text(text, sizeof text, &len, msg == NULL ? "(no message)" : msg);
    const cJSON *node;
    cJSON_ArrayForEach(node, tree) {
        if (strcmp(node->string, "time") != 0 && strcmp(node->string, "level") != 0 &&
            strcmp(node->string, "msg") != 0) {
            add_field(text, sizeof text, &len, node);
        }
    }
    uvm__log(l->engine, level->level, l->vm, "agent: %s%s", level->shown, text);
    cJSON_Delete(tree);
}

static void end_line(struct uvm__agent_log *l) {
    if (!l->cut && l->line.len > 0) {
        uvm__agent_log_line(l, (const char *)l->line.data, l->line.len);
    }
    uvm__buf_reset(&l->line);
    l->cut = false;
}

/* A line that is too long, or has no memory, is logged as far as it came; its rest is in the tail only. */
static void add_part(struct uvm__agent_log *l, const char *data, size_t bytes) {
    if (l->cut) {
        return;
    }
    size_t room = UVM__LOG_LINE_BYTES - l->line.len;
    if (uvm__buf_append(&l->line, data, bytes < room ? bytes : room) < 0 || bytes > room) {
        end_line(l);
        l->cut = true;
    }
}

static void take(struct uvm__agent_log *l, const char *data, size_t bytes) {
    l->bytes += bytes;
    uvm__tail_write(&l->tail, data, bytes);
    if (l->sink != NULL) {
        l->sink(data, bytes, l->sink_arg);
    }
    while (bytes > 0) {
        const char *end = memchr(data, '\n', bytes);
        size_t n = end == NULL ? bytes : (size_t)(end - data);
        add_part(l, data, n);
        if (end != NULL) {
            end_line(l);
            n++;
        }
        data += n;
        bytes -= n;
    }
}

/* True: there may be more at once. */
static bool drain(struct uvm__agent_log *l) {
    char buf[READ_BYTES];
    for (size_t total = 0; total < TURN_BYTES_MAX;) {
        ssize_t n = uvm__stream_read(l->stream, buf, sizeof buf);
        if (n == -UVM_E_AGAIN) {
            return false;
        }
        if (n <= 0) { /* end of file and reset are both ordinary ends */
            end_line(l);
            uvm__stream_close(l->stream);
            l->stream = NULL;
            return false;
        }
        take(l, buf, (size_t)n);
        total += (size_t)n;
    }
    return true;
}

static void on_stream(struct uvm__stream *s, unsigned events, void *arg) {
    struct uvm__agent_log *l = arg;
    UVM_ASSERT(s == l->stream);
    if ((events & UVM__STREAM_READABLE) != 0 && drain(l)) {
        uvm__stream_set_handler(s, on_stream, l); /* the event comes again for what is left */
    }
}

int uvm__agent_log_init(struct uvm__agent_log *l, uvm_engine *e, const char *vm) {
    *l = (struct uvm__agent_log){.engine = e, .vm = vm};
    uvm__buf_init(&l->line, e, UVM__LOG_LINE_BYTES);
    return uvm__tail_init(&l->tail, e, UVM__GUEST_LOG_TAIL_BYTES);
}

void uvm__agent_log_deinit(struct uvm__agent_log *l) {
    UVM_ASSERT(l->stream == NULL);
    uvm__buf_deinit(&l->line);
    uvm__tail_deinit(&l->tail);
}

void uvm__agent_log_connect(struct uvm__agent_log *l, struct uvm__stream *take_stream) {
    UVM_ASSERT(l->stream == NULL);
    l->stream = take_stream;
    uvm__stream_set_handler(take_stream, on_stream, l);
}

void uvm__agent_log_hang_up(struct uvm__agent_log *l) {
    if (l->stream != NULL) {
        (void)drain(l);
    }
    if (l->stream != NULL) {
        end_line(l);
        uvm__stream_reset(l->stream);
        l->stream = NULL;
    }
}
