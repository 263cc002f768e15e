/* SPDX-License-Identifier: MIT
 * agent_host.h — a host for tests of the real agent: starts the binary with its bridge on pipes or on unix
 * sockets, speaks frames to it, and listens where its processes dial.
 *
 * Everything here blocks, within AGENT_MS; what takes longer, or is not as expected, fails the test. An
 * agent is always started with -use-inouterr or -dial unix:, never without: it must not dial this
 * machine's own host.
 */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AGENT_MS 20000
#define AGENT_STDIO 0x40000001u /* the first port that a host hands out */
#define AGENT_BRIDGE 0x40000000u
#define NULL_ID "00000000-0000-0000-0000-000000000000"

#define REQ_CREATE 0x10100101u
#define REQ_START 0x10100201u
#define REQ_SHUTDOWN 0x10100301u
#define REQ_EXECUTE 0x10100501u
#define REQ_WAIT 0x10100601u
#define REQ_SIGNAL 0x10100701u
#define REQ_RESIZE 0x10100801u
#define REQ_PROPERTIES 0x10100901u
#define REQ_MODIFY 0x10100a01u
#define REQ_NEGOTIATE 0x10100b01u
#define REQ_STACKS 0x10100c01u

struct agent {
    pid_t pid;
    int pidfd;
    int to, from;  /* the bridge; equal on a socket; -1: none */
    int log;       /* its stderr: a memory file, or the reading end of a pipe */
    char dir[64];  /* of its sockets */
    bool log_pipe; /* set before the start: stderr is a pipe that the test reads, or does not */
    const char *environment; /* set before the start: one more variable; NULL: none */
    uint64_t next_id;
};

struct answer {
    uint32_t type;
    uint64_t id;
    char *body; /* terminated; freed by answer_free() */
    size_t bytes;
    cJSON *tree; /* numbers as literals (async/json.h) */
};

/* The binary under test, from the command line; the first thing that main() calls. "sanitized" says that its
 * size means nothing. */
void agent_program(int argc, char **argv);

/* `*a` is zero but for what is set before the start. Further flags, NULL-terminated. `inouterr`: bridge on pipes; else on the socket of AGENT_BRIDGE. */
void agent_start(struct agent *a, bool inouterr, const char *const *flags);
#define AGENT_FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})
/* The agent dials: waits for it. */
void agent_accept_bridge(struct agent *a);
void agent_drop_bridge(struct agent *a);
/* Closes the bridge and waits for the end; returns the status as of waitpid. */
int agent_end(struct agent *a);
/* The same without closing anything first. */
int agent_wait_end(struct agent *a);
/* Ends it by a shutdown of the UVM: answered with success, then status 0. */
void agent_shutdown(struct agent *a);
/* Removes what agent_start() made, killing the agent if a failed test left it. */
void agent_clean(struct agent *a);

void agent_send_bytes(struct agent *a, const void *data, size_t bytes);
void agent_send(struct agent *a, uint32_t type, uint64_t id, const char *body, size_t bytes);
/* The next frame; fails the test when there is none in time. */
void agent_receive(struct agent *a, struct answer *ret);
/* True when the agent ended the bridge and nothing more was there. */
bool agent_bridge_ended(struct agent *a);
void answer_free(struct answer *r);

/* Sends a printf body under the next id, and receives its answer, whatever comes first being a failure. */
__attribute__((format(printf, 4, 5))) void agent_call(struct agent *a, struct answer *ret,
                                                      uint32_t type, const char *fmt, ...);
/* Only sends; returns the id. */
__attribute__((format(printf, 3, 4))) uint64_t agent_ask(struct agent *a, uint32_t type,
                                                         const char *fmt, ...);
/* Negotiates; with process control if asked, which must then be granted. */
void agent_negotiate(struct agent *a, bool control);

int64_t answer_number(const struct answer *r, const char *key); /* fails when absent */
const char *answer_string(const struct answer *r, const char *key);
#define answer_result(r) answer_number(r, "Result")

/* Executes `parameters` (inner JSON, unescaped) with these ports (0: none); returns the pid. */
uint32_t agent_execute(struct agent *a, const char *parameters, uint32_t in, uint32_t out,
                       uint32_t err);
/* The same, whatever the answer is. */
void agent_try_execute(struct agent *a, struct answer *ret, const char *parameters, uint32_t in,
                       uint32_t out, uint32_t err);
uint64_t agent_ask_wait(struct agent *a, uint32_t pid, uint32_t timeout_ms);
/* Waits for the process's end; its exit code, and the signal if the answer has one. */
int64_t agent_wait(struct agent *a, uint32_t pid, int64_t *ret_signal);

/* A listening socket for a port, and the one connection that comes. */
int agent_listen(const struct agent *a, uint32_t port);
int agent_accept(int take_listener);
/* Reads to the end of file, at most `bytes` - 1; terminated. Closes. */
size_t read_all(int take_fd, char *buf, size_t bytes);
void write_all(int fd, const void *data, size_t bytes);
/* Waits for the descriptor; fails the test when nothing comes. */
void wait_readable(int fd);
