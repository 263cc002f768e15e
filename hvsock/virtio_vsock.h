/* SPDX-License-Identifier: MIT
 * virtio_vsock.h — the packet engine of the vsock device: two virtqueues on one side, streams on the other.
 *
 * No system calls and no loop of its own: whoever owns the queues says when they run and that the guest
 * kicked; work is done in turns on the ready queue, each bounded, with what the guest shall see shown, and
 * one interrupt decided, at the turn's end. What a connection owes the guest is kept as flags in it, so that
 * memory is bounded by the number of connections whatever the guest sends or does not take.
 */
#pragma once
#include "hvsock/fifo.h"
#include "hvsock/hvsock_int.h"
#include "hvsock/virtqueue.h"
#include "hvsock/vsock_device.h"
#include "hvsock/vsock_packet.h"

#define UVM__VSOCK_ORPHANS_MAX 256u /* refusals waiting for the guest's buffers */
#define UVM__VSOCK_BUCKETS 256u
#define UVM__VSOCK_WINDOW_MIN 4096u /* of a connection when the VM's memory is nearly spoken for */

enum { UVM__VSOCK_RX, UVM__VSOCK_TX, UVM__VSOCK_QUEUES }; /* device to guest, guest to device */

struct uvm__vsock_conn;

struct uvm__virtio_vsock_params {
    uint64_t guest_cid;
    uint32_t streams_max, window_bytes;
    uint32_t counters_start; /* 0 but in tests of wrapping byte counters */
    void (*interrupt)(unsigned queue, void *arg);
    /* From the ready queue: a queue broke a rule. Both are off, all streams reset, for good. */
    void (*broken)(unsigned queue, const char *rule, void *arg);
    void *arg;
};

/* A refusal of a packet that belongs to no connection. */
struct uvm__vsock_orphan {
    uint32_t guest_port, host_port;
    uint16_t type;
};

struct uvm__virtio_vsock {
    struct uvm__hvsock hvsock;
    uvm_engine *engine;
    struct uvm__virtio_vsock_params params;
    struct uvm__vq *queues[UVM__VSOCK_QUEUES]; /* NULL: off */
    struct uvm__vq_element *element;           /* the one being worked on */
    struct uvm__ready turn;
    bool running;                  /* both queues are on, nothing is broken */
    bool ever_ran, paused, frozen; /* frozen: timers stand still */
    bool broken;
    uint32_t tx_slots;         /* completed of the guest's queue, and not shown yet */
    struct uvm__deadline show; /* when they are at the latest */
    uint32_t tiny_buffers;     /* of the guest, in a row: too small for data */

    struct uvm__list conns;   /* uvm__vsock_conn.link: every object */
    struct uvm__list control; /* uvm__vsock_conn.send_link: owes the guest a packet without data */
    struct uvm__list data; /* likewise: has data that the guest has room for; in turn, a run each */
    struct uvm__vsock_conn *runner; /* whose data went last; NULL: it has gone */
    uint32_t run;                   /* packets of its data since another's */
    struct uvm__vsock_conn *buckets[UVM__VSOCK_BUCKETS];
    uint32_t hash_seed;
    uint32_t next_port;    /* of the host, for dialling */
    uint32_t requests;     /* that the guest may make now */
    uint64_t requests_ms;  /* when they were last counted */
    uint64_t window_extra; /* of all windows, beyond the minimum of each */
    struct uvm__fifo_pool pool;

    struct uvm__vsock_orphan orphans[UVM__VSOCK_ORPHANS_MAX];
    uint32_t orphans_first, orphans_count;

    struct uvm__vsock_stats stats;
};

/* `params.streams_max` and `window_bytes` 0: the usual. -UVM_E_NOMEM. */
int uvm__virtio_vsock_init(struct uvm__virtio_vsock *v, uvm_engine *e,
                           const struct uvm__virtio_vsock_params *params);
/* Both queues must be off. Streams are reset; those still in hands outlive the engine. */
void uvm__virtio_vsock_deinit(struct uvm__virtio_vsock *v);

/* The ring may be used from now on; q stays the caller's. */
void uvm__virtio_vsock_queue_on(struct uvm__virtio_vsock *v, unsigned queue, struct uvm__vq *q);
/* It is not touched after the call. */
void uvm__virtio_vsock_queue_off(struct uvm__virtio_vsock *v, unsigned queue);
void uvm__virtio_vsock_kick(struct uvm__virtio_vsock *v);
void uvm__virtio_vsock_paused(struct uvm__virtio_vsock *v, bool paused);
/* The guest's driver is another instance than before: its connections are gone, nothing is sent. Dials that
 * have not left yet are for whoever comes. */
void uvm__virtio_vsock_reset(struct uvm__virtio_vsock *v);

/* No guest will come any more: all connections go, dials fail from now on. Both queues must be off. */
void uvm__virtio_vsock_end(struct uvm__virtio_vsock *v);

/* ---- between the engine and its connections ----------------------------------------------- */

/* The connection of this key; NULL: none. */
struct uvm__vsock_conn *uvm__virtio_vsock_find(struct uvm__virtio_vsock *v, uint32_t guest_port,
                                               uint32_t host_port);
void uvm__virtio_vsock_link(struct uvm__virtio_vsock *v, struct uvm__vsock_conn *c);
void uvm__virtio_vsock_unlink(struct uvm__virtio_vsock *v, struct uvm__vsock_conn *c);
void uvm__virtio_vsock_wake(struct uvm__virtio_vsock *v); /* there is something to send */
