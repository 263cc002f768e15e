/* SPDX-License-Identifier: MIT
 * vhost_user_ring.c — the rings of a vhost-user connection: place, start, enable, stop; eventfds.
 *
 * A ring runs while it is started (a kick descriptor was given), enabled and not broken; only then is it
 * translated, and given to its user. Translation happens at that moment and again after every change of the
 * memory table; what is kept are the front end's addresses, never pointers.
 * Between a stop and the next start it must be told whether the same driver goes on (a pause) or another one
 * came (a reset): the front end says neither, but a driver that goes on has the same place and the position
 * that our answer to the stop gave.
 * Kick and call descriptors must be eventfds: anything else could block us, or make us write where the front
 * end could not.
 */
#include "async/check.h"
#include "async/cleanup.h"
#include "async/engine.h"
#include "async/log.h"
#include "hvsock/vhost_user_int.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

struct uvm__vhost_kick {
    uv_poll_t poll;
    struct uvm__vhost_user *u;
    unsigned ring;
    int fd;
};

static bool is_eventfd(int fd) {
    char path[40];
    char target[40] = "";
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n < 0) {
        return errno == ENOENT || errno == EACCES; /* no /proc: it has to be believed */
    }
    return strcmp(target, "anon_inode:[eventfd]") == 0;
}

/* Makes a received descriptor fit for use; closes one that is not. */
static int event_fd(int take_fd) {
    UVM_CLEANUP_FD int fd = take_fd;
    if (fd < 0 || !is_eventfd(fd)) {
        return -1;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -1;
    }
    return UVM_TAKE_FD(fd);
}

static void signal_fd(int fd) {
    if (fd >= 0) {
        uint64_t one = 1;
        ssize_t n = write(fd, &one, sizeof one);
        (void)n; /* a counter that is full says the same */
    }
}

/* ---- kicks -------------------------------------------------------------------------------- */

static void on_kick_closed(uv_handle_t *handle) {
    struct uvm__vhost_kick *k = handle->data;
    struct uvm__vhost_user *u = k->u;
    uvm_engine *e = u->engine;
    uvm__free(e, k);
    uvm__vhost_user_handle_closed(u);
    uvm__engine_release(e);
}

static void kick_close(struct uvm__vhost_ring *r) {
    struct uvm__vhost_kick *k = r->kick;
    if (k != NULL) {
        r->kick = NULL;
        uv_close((uv_handle_t *)&k->poll, on_kick_closed);
        uvm__close_fd(&k->fd);
    }
}

static void on_kick(uv_poll_t *poll, int status, int events) {
    struct uvm__vhost_kick *k = poll->data;
    (void)events;
    uint64_t count;
    if (status < 0) {
        /* libuv polls it no more (a counter at its very end, EPOLLERR): a device that is deaf for a
         * ring would look alive. */
        uvm__vhost_user_end(k->u, uvm__error(k->u->engine, UVM_E_IO, -status,
                                             "ring %u: its kick descriptor fails", k->ring));
        return;
    }
    ssize_t n = read(k->fd, &count, sizeof count);
    (void)n; /* EAGAIN: somebody else took it; looking at the ring costs little */
    if (k->u->rings[k->ring].on) {
        k->u->params.kick(k->ring, k->u->params.arg);
    }
}

static int kick_open(struct uvm__vhost_user *u, unsigned ring, int take_fd, struct uvm__fail *f) {
    UVM_CLEANUP_FD int fd = event_fd(take_fd);
    if (fd < 0) {
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "ring %u: its kick descriptor is no eventfd", ring);
    }
    struct uvm__vhost_kick *k = uvm__zalloc(u->engine, sizeof *k);
    if (k == NULL) {
        return uvm__fail(f, UVM_E_NOMEM, 0, "ring %u: out of memory", ring);
    }
    int rc = uv_poll_init(uvm__engine_loop(u->engine), &k->poll, fd);
    if (rc < 0) {
        uvm__free(u->engine, k);
        return uvm__fail(f, UVM_E_IO, -rc, "ring %u: polling its kick descriptor", ring);
    }
    k->u = u;
    k->ring = ring;
    k->fd = UVM_TAKE_FD(fd);
    k->poll.data = k;
    u->handles++;
    uvm__engine_hold(u->engine);
    rc = uv_poll_start(&k->poll, UV_READABLE, on_kick);
    UVM_ASSERT(rc == 0);
    kick_close(&u->rings[ring]);
    u->rings[ring].kick = k;
    return 0;
}

/* ---- on and off --------------------------------------------------------------------------- */

static bool translate(struct uvm__vhost_user *u, const struct uvm__vhost_ring *r,
                      struct uvm__vq_params *ret) {
    const struct uvm__vhost_place *p = &r->place;
    ret->desc = uvm__guest_mem_user(&u->mem, p->desc, UVM__VQ_DESC_BYTES(r->size));
    ret->avail = uvm__guest_mem_user(&u->mem, p->avail, UVM__VQ_AVAIL_BYTES(r->size));
    ret->used = uvm__guest_mem_user(&u->mem, p->used, UVM__VQ_USED_BYTES(r->size));
    return ret->desc != NULL && ret->avail != NULL && ret->used != NULL &&
           ((uintptr_t)ret->desc & 15) == 0 && ((uintptr_t)ret->avail & 1) == 0 &&
           ((uintptr_t)ret->used & 3) == 0;
}

static void turn_off(struct uvm__vhost_user *u, unsigned ring) {
    struct uvm__vhost_ring *r = &u->rings[ring];
    if (r->on) {
        r->on = false;
        u->params.ring_off(ring, u->params.arg);
        r->base = r->vq.last_avail;
    }
}

static void mark_broken(struct uvm__vhost_user *u, unsigned ring, const char *why) {
    struct uvm__vhost_ring *r = &u->rings[ring];
    turn_off(u, ring);
    r->broken = true;
    signal_fd(r->err_fd);
    uvm__log(u->engine, UVM_LOG_WARN, "", "vsock ring %u is off: %s", ring, why);
}

static void turn_on(struct uvm__vhost_user *u, unsigned ring) {
    struct uvm__vhost_ring *r = &u->rings[ring];
    if (r->on || !r->started || !r->enabled || r->broken) {
        return;
    }
    struct uvm__vq_params p = {.size = r->size,
                               .base = r->base,
                               .event_idx = (u->features & UVM__VHOST_F_EVENT_IDX) != 0,
                               .indirect = (u->features & UVM__VHOST_F_INDIRECT) != 0};
    if (!translate(u, r, &p)) {
        mark_broken(u, ring, "it is misaligned or not in the guest's memory");
        return;
    }
    uvm__vq_start(&r->vq, &u->mem, &p);
    bool fresh = r->fresh;
    r->fresh = false;
    r->on = true;
    u->params.ring_on(ring, &r->vq, fresh, u->params.arg);
}

static bool same_place(const struct uvm__vhost_place *a, const struct uvm__vhost_place *b) {
    return a->desc == b->desc && a->used == b->used && a->avail == b->avail;
}

int uvm__vhost_ring_start(struct uvm__vhost_user *u, unsigned ring, int take_kick_fd,
                          struct uvm__fail *f) {
    struct uvm__vhost_ring *r = &u->rings[ring];
    if (r->size == 0 || !r->placed) {
        uvm__close_fd(&take_kick_fd);
        return uvm__fail(f, UVM_E_PROTOCOL, 0, "ring %u: started before it has size and place",
                         ring);
    }
    int rc = kick_open(u, ring, take_kick_fd, f);
    if (rc < 0) {
        return rc;
    }
    if (!r->started) {
        r->started = true;
        r->broken = false;
        r->fresh =
            !r->stopped_once || r->base != r->stop_base || !same_place(&r->place, &r->stop_place);
        if ((u->features & UVM__VHOST_F_PROTOCOL_FEATURES) == 0) {
            r->enabled = true;
        }
        turn_on(u, ring);
    }
    return 0;
}

void uvm__vhost_ring_stop(struct uvm__vhost_user *u, unsigned ring) {
    struct uvm__vhost_ring *r = &u->rings[ring];
    turn_off(u, ring);
    kick_close(r);
    if (r->started) {
        r->started = false;
        r->stopped_once = true;
        r->stop_base = r->base;
        r->stop_place = r->place;
    }
}

void uvm__vhost_ring_enable(struct uvm__vhost_user *u, unsigned ring, bool enabled) {
    u->rings[ring].enabled = enabled;
    if (enabled) {
        turn_on(u, ring);
    } else {
        turn_off(u, ring);
    }
}

void uvm__vhost_user_ring_broken(struct uvm__vhost_user *u, unsigned ring) {
    struct uvm__vhost_ring *r = &u->rings[ring];
    if (r->on) {
        r->on = false;
        r->base = r->vq.last_avail;
        r->broken = true;
        signal_fd(r->err_fd);
    }
}

/* ---- descriptors -------------------------------------------------------------------------- */

void uvm__vhost_ring_set_call(struct uvm__vhost_user *u, unsigned ring, int take_fd) {
    struct uvm__vhost_ring *r = &u->rings[ring];
    uvm__close_fd(&r->call_fd);
    r->call_fd = event_fd(take_fd);
    signal_fd(r->call_fd); /* an interrupt to the one before may have been lost in the change */
}

void uvm__vhost_ring_set_err(struct uvm__vhost_user *u, unsigned ring, int take_fd) {
    struct uvm__vhost_ring *r = &u->rings[ring];
    uvm__close_fd(&r->err_fd);
    r->err_fd = event_fd(take_fd);
}

void uvm__vhost_user_interrupt(struct uvm__vhost_user *u, unsigned ring) {
    signal_fd(u->rings[ring].call_fd);
}

/* ---- memory ------------------------------------------------------------------------------- */

void uvm__vhost_rings_move(struct uvm__vhost_user *u) {
    for (unsigned i = 0; i < UVM__VHOST_RINGS; i++) {
        struct uvm__vhost_ring *r = &u->rings[i];
        struct uvm__vq_params p;
        if (!r->on) {
            continue;
        }
        if (translate(u, r, &p)) {
            uvm__vq_move(&r->vq, p.desc, p.avail, p.used);
        } else {
            mark_broken(u, i, "its memory was taken away");
        }
    }
}

static bool inside(const struct uvm__guest_region *region, uint64_t user) {
    return user >= region->user && user - region->user < region->bytes;
}

void uvm__vhost_rings_leave(struct uvm__vhost_user *u, const struct uvm__guest_region *region) {
    for (unsigned i = 0; i < UVM__VHOST_RINGS; i++) {
        const struct uvm__vhost_place *p = &u->rings[i].place;
        if (u->rings[i].on &&
            (inside(region, p->desc) || inside(region, p->avail) || inside(region, p->used))) {
            mark_broken(u, i, "its memory was taken away");
        }
    }
}

/* ---- life --------------------------------------------------------------------------------- */

void uvm__vhost_ring_init(struct uvm__vhost_ring *r) {
    *r = (struct uvm__vhost_ring){.call_fd = -1, .err_fd = -1};
}

void uvm__vhost_ring_deinit(struct uvm__vhost_user *u, unsigned ring) {
    struct uvm__vhost_ring *r = &u->rings[ring];
    uvm__vhost_ring_stop(u, ring);
    uvm__close_fd(&r->call_fd);
    uvm__close_fd(&r->err_fd);
}
