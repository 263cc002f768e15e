/* SPDX-License-Identifier: MIT
 * vsock_device.c — the vsock device put together: vhost-user below, packet engine above, one endpoint.
 *
 * Nothing happens here but the passing on of events, and the two ends that the owner hears of: the front end
 * went, or somebody broke the rules. When the guest broke a ring the connection to the front end is still
 * answered, for it would stand still otherwise; only the rings are dead.
 */
#include "async/alloc.h"
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "hvsock/vhost_user.h"
#include "hvsock/virtio_vsock.h"

#define MEMORY_BYTES_MAX (1ull << 40)

struct uvm__vsock_device {
    uvm_engine *engine;
    struct uvm__vsock_params params;
    struct uvm__virtio_vsock vsock;
    struct uvm__vhost_user *front;
    bool configured, told_end, closing;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

static void tell_end(struct uvm__vsock_device *d, uvm_error *take_err) {
    if (!d->told_end && !d->closing) {
        d->told_end = true;
        d->params.on_end(d, take_err, d->params.arg);
    }
    uvm_error_unref(take_err);
}

/* ---- from the front end ------------------------------------------------------------------- */

static void on_configured(void *arg) {
    struct uvm__vsock_device *d = arg;
    if (!d->configured) {
        d->configured = true;
        d->params.on_configured(d, d->params.arg);
    }
}

static void on_ring_on(unsigned ring, struct uvm__vq *q, bool fresh, void *arg) {
    struct uvm__vsock_device *d = arg;
    if (fresh) {
        uvm__virtio_vsock_reset(&d->vsock);
    }
    uvm__virtio_vsock_queue_on(&d->vsock, ring, q);
    if (d->vsock.running && d->params.on_started != NULL) {
        d->params.on_started(d, d->params.arg);
    }
}

static void on_ring_off(unsigned ring, void *arg) {
    struct uvm__vsock_device *d = arg;
    uvm__virtio_vsock_queue_off(&d->vsock, ring);
}

static void on_kick(unsigned ring, void *arg) {
    struct uvm__vsock_device *d = arg;
    (void)ring;
    uvm__virtio_vsock_kick(&d->vsock);
}

static void on_front_end(uvm_error *take_err, void *arg) {
    struct uvm__vsock_device *d = arg;
    uvm__virtio_vsock_end(&d->vsock);
    tell_end(d, take_err);
}

/* ---- from the packet engine --------------------------------------------------------------- */

static void on_interrupt(unsigned queue, void *arg) {
    struct uvm__vsock_device *d = arg;
    uvm__vhost_user_interrupt(d->front, queue);
}

static void on_broken(unsigned queue, const char *rule, void *arg) {
    struct uvm__vsock_device *d = arg;
    uvm__vhost_user_ring_broken(d->front, UVM__VSOCK_RX);
    uvm__vhost_user_ring_broken(d->front, UVM__VSOCK_TX);
    tell_end(d, uvm__error(d->engine, UVM_E_PROTOCOL, 0, "vsock queue %u: the guest made %s", queue,
                           rule));
}

/* ---- life --------------------------------------------------------------------------------- */

int uvm__vsock_device_open(uvm_engine *e, const struct uvm__vsock_params *params,
                           struct uvm__vsock_device **ret) {
    UVM_CLEANUP_FD int fd = params->take_fd;
    UVM_ASSERT(params->on_configured != NULL && params->on_end != NULL);
    if (params->guest_cid < 3 || params->guest_cid > 0xfffffffe) {
        return -UVM_E_INVAL;
    }
    struct uvm__vsock_device *d = uvm__zalloc(e, sizeof *d);
    if (d == NULL) {
        return -UVM_E_NOMEM;
    }
    d->engine = e;
    d->params = *params;
    struct uvm__virtio_vsock_params vp = {.guest_cid = params->guest_cid,
                                          .streams_max = params->streams_max,
                                          .window_bytes = params->window_bytes,
                                          .interrupt = on_interrupt,
                                          .broken = on_broken,
                                          .arg = d};
    int rc = uvm__virtio_vsock_init(&d->vsock, e, &vp);
    if (rc < 0) {
        uvm__free(e, d);
        return rc;
    }
    struct uvm__vhost_user_params fp = {.take_fd = UVM_TAKE_FD(fd),
                                        .memory_bytes_max = params->memory_bytes_max == 0
                                                                ? MEMORY_BYTES_MAX
                                                                : params->memory_bytes_max,
                                        .configured = on_configured,
                                        .ring_on = on_ring_on,
                                        .ring_off = on_ring_off,
                                        .kick = on_kick,
                                        .end = on_front_end,
                                        .arg = d};
    uvm__le_put(fp.config, params->guest_cid, sizeof fp.config);
    rc = uvm__vhost_user_open(e, &fp, &d->front);
    if (rc < 0) {
        uvm__virtio_vsock_deinit(&d->vsock);
        uvm__free(e, d);
        return rc;
    }
    *ret = d;
    return 0;
}

struct uvm__hvsock *uvm__vsock_device_hvsock(struct uvm__vsock_device *d) {
    return &d->vsock.hvsock;
}

void uvm__vsock_device_stats(const struct uvm__vsock_device *d, struct uvm__vsock_stats *ret) {
    *ret = d->vsock.stats;
}

void uvm__vsock_device_paused(struct uvm__vsock_device *d, bool paused) {
    uvm__virtio_vsock_paused(&d->vsock, paused);
}

static void on_front_closed(void *arg) {
    struct uvm__vsock_device *d = arg;
    void (*on_closed)(void *) = d->on_closed;
    void *closed_arg = d->closed_arg;
    uvm__free(d->engine, d);
    if (on_closed != NULL) {
        on_closed(closed_arg);
    }
}

void uvm__vsock_device_close(struct uvm__vsock_device *d, void (*on_closed)(void *arg), void *arg) {
    UVM_ASSERT(!d->closing);
    d->closing = true;
    d->on_closed = on_closed;
    d->closed_arg = arg;
    uvm__vhost_user_close(d->front, on_front_closed, d);
    uvm__virtio_vsock_deinit(&d->vsock);
}
