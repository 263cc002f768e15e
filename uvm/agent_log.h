/* SPDX-License-Identifier: MIT
 * agent_log.h — the agent's log: drained always, JSON lines into the engine's log, the tail kept.
 *
 * A host that does not read this stream stalls the agent, one that closes it may kill it
 * (docs/PROTOCOL-bridge.md, Transport): so it is read from the first byte to the end of the VM, whatever it
 * says. A line that is not JSON (a crash's dump) is logged as it is; a line longer than UVM__LOG_LINE_BYTES
 * is cut there. Text of a guest is data: control characters are not passed on.
 */
#pragma once
#include "async/buf.h"
#include "hvsock/hvsock.h"

#define UVM__LOG_LINE_BYTES 4096u

struct uvm__agent_log {
    uvm_engine *engine;
    const char *vm;             /* name */
    struct uvm__stream *stream; /* NULL: not connected */
    struct uvm__buf line;
    bool cut; /* the rest of this line is dropped */
    struct uvm__tail tail;
    uint64_t lines, bytes;
    void (*sink)(const void *data, size_t bytes, void *arg); /* sees each byte; NULL: nobody does */
    void *sink_arg;
};

int uvm__agent_log_init(struct uvm__agent_log *l, uvm_engine *e, const char *vm);
void uvm__agent_log_deinit(struct uvm__agent_log *l);
/* There is no stream yet, or it has ended. */
void uvm__agent_log_connect(struct uvm__agent_log *l, struct uvm__stream *take_stream);
/* Reads what is there, then ends the stream. Idempotent; the tail stays. */
void uvm__agent_log_hang_up(struct uvm__agent_log *l);
/* One line without its end, as it came; public to its test. */
void uvm__agent_log_line(struct uvm__agent_log *l, const char *line, size_t bytes);
