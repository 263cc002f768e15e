/* SPDX-License-Identifier: MIT
 * vhost_user_int.h — what the two halves of the back end share: the connection and its rings.
 */
#pragma once
#include "async/ready.h"
#include "async/sock.h"
#include "hvsock/vhost_user.h"

#define UVM__VHOST_PAYLOAD_MAX 4096u
#define UVM__VHOST_FDS_MAX 16u

/* Feature bits. */
#define UVM__VHOST_F_INDIRECT (1ull << 28)
#define UVM__VHOST_F_EVENT_IDX (1ull << 29)
#define UVM__VHOST_F_PROTOCOL_FEATURES (1ull << 30)
#define UVM__VHOST_F_VERSION_1 (1ull << 32)

struct uvm__vhost_kick;

/* Addresses are the front end's own. */
struct uvm__vhost_place {
    uint64_t desc, used, avail;
};

struct uvm__vhost_ring {
    struct uvm__vq vq; /* valid while on */
    uint16_t size;     /* 0: not set */
    uint16_t base;     /* elements consumed; kept while off */
    bool placed;       /* place was set */
    bool started, enabled, on, broken;
    bool fresh; /* started as another life than the one before */
    struct uvm__vhost_place place;
    bool stopped_once; /* the values of the last stop are valid */
    uint16_t stop_base;
    struct uvm__vhost_place stop_place;
    int call_fd, err_fd;
    struct uvm__vhost_kick *kick;
};

struct uvm__vhost_user {
    uvm_engine *engine;
    struct uvm__vhost_user_params params;
    struct uvm__sock *sock;
    struct uvm__guest_mem mem;
    struct uvm__vhost_ring rings[UVM__VHOST_RINGS];
    uint64_t features, protocol_features; /* acknowledged */

    /* the message that is being received */
    uint8_t header[12];
    uint32_t header_got, payload_got;
    uint8_t payload[UVM__VHOST_PAYLOAD_MAX];
    int fds[UVM__VHOST_FDS_MAX];
    size_t fds_count;

    bool ended, closing;
    struct uvm__ready finish; /* after the last handle */
    uint32_t handles;         /* of the loop's, not yet closed */
    void (*on_closed)(void *arg);
    void *closed_arg;
};

/* ---- rings (vhost_user_ring.c) ------------------------------------------------------------ */

void uvm__vhost_ring_init(struct uvm__vhost_ring *r);
/* Off, stopped, descriptors closed. */
void uvm__vhost_ring_deinit(struct uvm__vhost_user *u, unsigned ring);
/* Takes the descriptor; starts the ring, which runs once it is enabled, too. */
int uvm__vhost_ring_start(struct uvm__vhost_user *u, unsigned ring, int take_kick_fd,
                          struct uvm__fail *f);
void uvm__vhost_ring_stop(struct uvm__vhost_user *u, unsigned ring);
void uvm__vhost_ring_enable(struct uvm__vhost_user *u, unsigned ring, bool enabled);
/* -1: none. Taken. */
void uvm__vhost_ring_set_call(struct uvm__vhost_user *u, unsigned ring, int take_fd);
void uvm__vhost_ring_set_err(struct uvm__vhost_user *u, unsigned ring, int take_fd);
/* The memory table was changed: finds the running rings anew, or turns them off. */
void uvm__vhost_rings_move(struct uvm__vhost_user *u);
/* Stops the rings that have a part in this region, which is about to go. */
void uvm__vhost_rings_leave(struct uvm__vhost_user *u, const struct uvm__guest_region *region);

/* Tears down and tells the owner, who may close it in that call. Not after it has ended. */
void uvm__vhost_user_end(struct uvm__vhost_user *u, uvm_error *take_err);
/* A handle of the loop has closed. */
void uvm__vhost_user_handle_closed(struct uvm__vhost_user *u);
