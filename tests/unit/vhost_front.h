/* SPDX-License-Identifier: MIT
 * vhost_front.h — a front end for tests: plays the VMM's part of vhost-user for one vsock device.
 *
 * Says exactly what the real one says, in its order (the device's page, 1.2), over a socket pair; its guest is
 * the in-process driver. Waiting runs the loop, so the device answers meanwhile.
 */
#pragma once
#include "hvsock/vsock_device.h"
#include "tests/unit/loop.h"
#include "tests/unit/vsock_guest.h"

enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    SET_VRING_ERR = 14,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
    GET_CONFIG = 24,
    GET_MAX_MEM_SLOTS = 36,
    ADD_MEM_REG = 37,
    REM_MEM_REG = 38
};

#define FRONT_USER 0x7f1200000000ull /* the front end's address of the guest's memory */

struct front {
    struct loop_kit *kit;
    struct guest g;
    int fd; /* our end of the socket; -1: closed */
    int kick[2], call[2], err[2];
    bool slots; /* regions are told one by one */
    struct uvm__vsock_device *device;
    struct uvm__listener *listener;
    struct uvm__stream *accepted;
    bool accepted_any;
    bool configured, ended, closed;
    unsigned starts, ends;
    int end_code;
};

void front_open(struct front *f, struct loop_kit *kit);
void front_close(struct front *f);
/* The loop runs until nothing more happens at once. */
void front_turns(struct front *f);
/* The loop runs until the device has shown that it took so many of the guest's packets. */
void front_taken(struct front *f, uint16_t count);

void front_send(struct front *f, uint32_t request, uint32_t flags, const void *payload,
                uint32_t bytes, const int *fds, unsigned fds_count);
void front_send64(struct front *f, uint32_t request, uint64_t value);
void front_send_state(struct front *f, uint32_t request, uint32_t ring, uint32_t number);
/* The answer to `request`, whose payload has these bytes. */
void front_answer(struct front *f, uint32_t request, void *ret, uint32_t bytes);
void front_no_answer(struct front *f);
/* Sends with need_reply and returns the acknowledgement. */
uint64_t front_acked(struct front *f, uint32_t request, const void *payload, uint32_t bytes,
                     const int *fds, unsigned fds_count);

void front_realize(struct front *f);                                       /* rows 1 to 10 */
void front_driver_ok(struct front *f, uint32_t base_rx, uint32_t base_tx); /* 11 to 17 */
void front_stop(struct front *f, uint32_t *ret_rx, uint32_t *ret_tx);      /* 18 */
void front_memory(struct front *f); /* one region: all the guest has */
void front_ring(struct front *f, unsigned ring, uint32_t base);
/* Kicks if the driver would, and lets the device work. */
void front_kick(struct front *f);
/* Was the eventfd written to since last asked? */
bool front_signalled(int fd);

struct guest_conn front_conn(struct front *f, uint32_t guest_port);
/* The guest dials port 109; the accepted stream is in f->accepted. */
void front_accept(struct front *f, struct guest_conn *c);
/* A byte to the host and one back. */
void front_still_works(struct front *f, struct guest_conn *c, struct uvm__stream *s);
