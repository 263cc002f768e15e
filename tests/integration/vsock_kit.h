/* SPDX-License-Identifier: MIT
 * vsock_kit.h — a real VMM with vsock_peer in the agent's place, and the device under test on this side.
 *
 * The loop is run until what a test waits for has come, so tests read like blocking code.
 */
#pragma once
#include "hvsock/vsock_device.h"
#include "tests/integration/vsock_peer.h"
#include "tests/unit/loop.h"

enum { WAIT_MS = 60000 };

struct vsock_vm {
    char dir[64];
    pid_t pid;
    struct uvm__vsock_device *device;
    struct uvm__sock *qmp;
    char qmp_text[8192];
    size_t qmp_bytes;
    unsigned qmp_answers;
    unsigned starts;
    bool configured, ended, closed, qmp_said, hello;
    struct uvm__listener *commands_port;
    struct uvm__stream *commands;
};

extern char **args; /* of the test: "", KERNEL, INITRD, PEER.IMG */
extern struct loop_kit kit;
extern struct vsock_vm vm;

int vm_start(void **state);
int vm_stop(void **state);
void monitor(const char *command); /* one of QMP, and its answer */
void wait_hello(void);             /* the peer in the guest has begun: it dials first */

/* One line of answer to a command of the guest's program. */
void command(const char *line, char *ret_answer, size_t bytes);
void command_begin(const char *line); /* one whose answer is "done" */
void command_end(void);

/* A stream's handler, and what waits for it. */
struct waiter {
    bool event;
};
void on_event(struct uvm__stream *s, unsigned events, void *arg);
void wait_event(struct uvm__stream *s, struct waiter *w);

ssize_t read_some(struct uvm__stream *s, void *to, size_t bytes);
void read_exactly(struct uvm__stream *s, void *to, size_t bytes);
void write_all(struct uvm__stream *s, const void *data, size_t bytes);

struct uvm__stream *try_connect(uint32_t port, int *ret_code);
struct uvm__stream *connect_to(uint32_t port);

enum { ACCEPTS = 512 };

struct accept {
    struct uvm__listener *l;
    struct uvm__stream *streams[ACCEPTS]; /* accepted, in turn */
    unsigned count, taken;
    bool any;
};

void listen_on(uint32_t port, struct accept *a);
