/* SPDX-License-Identifier: MIT
 * control_kit.h — a VM of the simulation on a real loop, its control socket in a folder of /tmp, and
 * clients that speak to it in raw bytes.
 */
#pragma once
#include "async/folder.h"
#include "async/limits.h"
#include "async/local.h"
#include "hcs/sim/sim.h"
#include "tests/sim/guest.h"
#include "tests/unit/loop.h"
#include "uvm/control.h"
#include "uvm/devices.h"
#include <unistd.h>

#define HELLO "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"hello\",\"params\":{\"version\":1}}\n"

struct control_kit {
    struct loop_kit loop;
    struct uvm__sim_host *host;
    uvm_service *service;
    struct guest *guest;
    struct guest_script script;
    struct guest_seen seen;
    uvm_vm *vm;
    uvm_control *control;
    char folder[64];
    bool booted, closed;
    int boot_code;
    uvm_harness_census *fds; /* in this process, with the VM listening and no client */
};

struct client {
    struct control_kit *k;
    int fd;
    char *line; /* the last one read, without its end */
    char *buf;
    size_t len;
    bool ended;
};

#define CLIENT_BYTES (5u << 20)

void control_kit_open(struct control_kit *k, bool boot);
void control_kit_boot(struct control_kit *k); /* starts it */
/* Closes the VM first, if the test has not; checks that the folder is empty and nobody is left. */
void control_kit_close(struct control_kit *k);
void control_kit_close_vm(struct control_kit *k);
/* The loop, until the control has `count` clients. */
void control_kit_clients(struct control_kit *k, uint32_t count);
/* The loop, until the host has `count` disks attached. */
void control_kit_disks(struct control_kit *k, uint32_t count);
/* As many descriptors as without clients, no process in the guest. */
void control_kit_expect_quiet(struct control_kit *k);
void control_kit_run(struct control_kit *k, unsigned ms); /* the loop, as long as that */

void client_open(struct client *c, struct control_kit *k);
void client_hello(struct client *c, struct control_kit *k);
void client_close(struct client *c);
void client_send(struct client *c, const void *data, size_t bytes, const int *fds, size_t count);
void client_says(struct client *c, const char *text); /* and a line feed */
/* The next line; fails the test at the end of the connection. */
const char *client_line(struct client *c);
/* Lines until one has `text`. */
const char *client_expect(struct client *c, const char *text);
/* No more lines: the end of the connection. */
void client_expect_end(struct client *c);
