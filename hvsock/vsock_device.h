/* SPDX-License-Identifier: MIT
 * vsock_device.h — the virtio-vsock device, in process, served to a VMM over vhost-user.
 *
 * One device is one VM's hvsock endpoint. The VMM connects by an inherited socket; its start blocks until
 * this side has answered, so the device must be served from the loop from the moment the VMM starts. Every
 * number that the guest or the front end supplies is checked; one that breaks the rules gets its device
 * stopped (on_end with an error), never the process.
 */
#pragma once
#include "hvsock/hvsock.h"

struct uvm__vsock_device;

struct uvm__vsock_params {
    int take_fd;           /* our end of the vhost-user socket pair; taken, also on failure */
    uint64_t guest_cid;    /* 3 … 0xfffffffe; private to this device, so every VM may have 3 */
    uint32_t streams_max;  /* 0: UVM__STREAMS_MAX */
    uint32_t window_bytes; /* 0: UVM__STREAM_WINDOW_BYTES */
    uint64_t memory_bytes_max; /* of guest memory that may be mapped; 0: 1 TiB */
    void (*on_configured)(struct uvm__vsock_device *d, void *arg); /* once: configuration served */
    void (*on_started)(struct uvm__vsock_device *d,
                       void *arg); /* each start of the rings; may be NULL */
    /* Once: front end gone (err NULL) or rules broken (err: PROTOCOL, LIMIT, NOMEM, IO). All streams were
     * reset, dials fail from then on. After a guest broke its rings the front end is still answered, so that
     * the VMM does not stand still; the owner closes. */
    void (*on_end)(struct uvm__vsock_device *d, const uvm_error *err, void *arg);
    void *arg;
};

struct uvm__vsock_stats {
    uint64_t packets_rx, packets_tx, bytes_rx,
        bytes_tx; /* seen from the host: rx = from the guest */
    uint64_t dropped, resets;
    uint64_t kicks, interrupts; /* by the guest, to the guest */
    uint32_t streams, streams_peak;
};

int uvm__vsock_device_open(uvm_engine *e, const struct uvm__vsock_params *params,
                           struct uvm__vsock_device **ret);
struct uvm__hvsock *uvm__vsock_device_hvsock(struct uvm__vsock_device *d);
void uvm__vsock_device_stats(const struct uvm__vsock_device *d, struct uvm__vsock_stats *ret);
/* Hint from the monitor: pausing stops the device's close and connect timers. (They stand still by
 * themselves between a stop and the next start of the rings.) A stream lives on over a pause; it reads as
 * reset when the rings start for another instance of the guest's driver. */
void uvm__vsock_device_paused(struct uvm__vsock_device *d, bool paused);
/* Resets all streams, unmaps, closes; on_closed later, no other callback after the call. */
void uvm__vsock_device_close(struct uvm__vsock_device *d, void (*on_closed)(void *arg), void *arg);
