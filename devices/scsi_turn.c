/* SPDX-License-Identifier: MIT
 * scsi_turn.c — what is done next for a disk and its mounts, one call at a time for each of them.
 *
 * A turn compares what is wanted with what is there and starts the next call, if any; the call's end changes
 * what is there and leads to the next turn. Disks know nothing of each other, so a slow guest call holds up
 * nobody else. Up: host Add → guest mount; without a path that request only waits until the guest sees the
 * disk. Down: guest unmount → SCSIDevice Remove → host Remove; the next one only when the one before has
 * succeeded.
 *
 * How calls end, besides well:
 *   NOMEM           the way up fails; the way down waits a little and tries again
 *   CLOSED, EXITED  the connection or the VM is gone: whoever waits hears it, the VM's end does the rest
 *   UNDO (host)     the host does not know: the slot is taken until RELEASED, a removal, or the VM's end
 *   else            the way up fails; the way down is stuck: a detach tries again
 * Guest calls are never cancelled once they have left, since only their answer tells what is there.
 */
#include "async/mark.h"
#include "async/plant.h"
#include "devices/scsi_int.h"
#include <inttypes.h>
#include <string.h>

static struct uvm__scsi_mount *mount_of(struct uvm__list *link) {
    return UVM__CONTAINER_OF(link, struct uvm__scsi_mount, link);
}

static void touch_all(struct uvm__scsi_disk *disk) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &disk->mounts) {
        uvm__device_touch(&mount_of(it)->base);
    }
}

#define UVM__X(name, text, done, refused, unsaid, lost)                                            \
    [UVM__SCSI_##                                                                                  \
        name] = {UVM__SCSI_##done, UVM__SCSI_##refused, UVM__SCSI_##unsaid, UVM__SCSI_##lost},
static const enum uvm__scsi_state disk_calls[UVM__SCSI_STATE_MAX][UVM__CALL_ENDS] = {
    UVM__SCSI_CALLS(UVM__X)};
static const enum uvm__scsi_mounted mount_calls[UVM__SCSI_MOUNT_STATE_MAX][UVM__CALL_ENDS] = {
    UVM__SCSI_MOUNT_CALLS(UVM__X)};
#undef UVM__X

/* The state after a call; how it ended. */
static enum uvm__call_end advance_disk(struct uvm__scsi_disk *disk, const uvm_error *err) {
    enum uvm__call_end end = uvm__device_call_end(err);
    disk->state = disk_calls[disk->state][end];
    disk->blocked = disk->blocked || end == UVM__CALL_LOST;
    return end;
}

static enum uvm__call_end advance_mount(struct uvm__scsi_mount *m, const uvm_error *err) {
    enum uvm__call_end end = uvm__device_call_end(err);
    m->state = m->mounts ? mount_calls[m->state][end] : UVM__SCSI_UNMOUNTED;
    m->blocked = m->blocked || end == UVM__CALL_LOST;
    return end;
}

/* ---- ways to end -------------------------------------------------------------------------- */

static void again_later(struct uvm__devices *d, struct uvm__deadline *timer) {
    UVM__MARK(scsi_memory);
    uvm__deadline_set(d->engine, timer, uvm__now_ms(d->engine) + UVM__MEMORY_RETRY_MS);
}

static void fail_all(struct uvm__scsi_disk *disk, const uvm_error *err, const char *what) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &disk->mounts) {
        struct uvm__device *dev = &mount_of(it)->base;
        uvm__device_fail(dev, uvm__device_explain(dev, err, what));
    }
}

static void stick_all(struct uvm__scsi_disk *disk, const uvm_error *err, const char *what) {
    struct uvm__list *it;
    UVM__LIST_FOREACH(it, &disk->mounts) {
        struct uvm__device *dev = &mount_of(it)->base;
        uvm__device_stick(dev, uvm__device_explain(dev, err, what));
    }
}

/* The host has let go: every attachment is gone, and the disk with the last of them. */
static void disk_gone(struct uvm__scsi_disk *disk) {
    bool more = true;
    while (more) {
        struct uvm__scsi_mount *m = mount_of(disk->mounts.next);
        more = disk->mounts.prev != &m->link;
        uvm__scsi_mount_gone(m);
    }
}

/* False: the disk was freed with its VM while the call was under way. */
static bool end_disk_call(struct uvm__scsi_disk *disk) {
    disk->call = uvm_op_unref(disk->call);
    uvm__deadline_clear(disk->devices->engine, &disk->timer);
    if (disk->over) {
        UVM__MARK(scsi_over);
        uvm__scsi_disk_free(disk);
        return false;
    }
    return true;
}

/* ---- host --------------------------------------------------------------------------------- */

static int call_host(struct uvm__scsi_disk *disk, const char *request, uvm_done_fn on_done) {
    struct uvm__devices *d = disk->devices;
    const struct uvm__hcs_modify_params p = {.request = request, .request_bytes = strlen(request)};
    return uvm__hcs_modify(d->system, &p, d->scope, on_done, disk, &disk->call);
}

static void on_added(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__scsi_disk *disk = arg;
    (void)op;
    if (!end_disk_call(disk)) {
        return;
    }
    enum uvm__call_end end = advance_disk(disk, err);
    UVM__MARK_IF(scsi_unknown, disk->state == UVM__SCSI_UNKNOWN);
    UVM__MARK_IF(scsi_canceled, err != NULL && uvm_error_code(err) == UVM_E_CANCELED);
    /* CANCELED: nobody wanted it. Who has come since did not cancel anything: it is added once more. */
    if (err != NULL && uvm_error_code(err) != UVM_E_CANCELED) {
        fail_all(disk, err, "the host did not attach it");
        if (end == UVM__CALL_UNSAID) {
            stick_all(disk, err, "the host did not say whether it is attached");
        }
    }
    if (disk->released && disk->state == UVM__SCSI_UNKNOWN) {
        disk->state = UVM__SCSI_NEW;
    }
    touch_all(disk);
}

static void add(struct uvm__scsi_disk *disk) {
    disk->released = disk->ejected = false;
    disk->state = UVM__SCSI_ATTACHING;
    int rc = call_host(disk, disk->add, on_added);
    if (rc < 0) {
        uvm_error *err = uvm__fail_error(disk->devices->engine, rc, NULL);
        disk->state = UVM__SCSI_NEW;
        fail_all(disk, err, "the host was not asked");
        uvm_error_unref(err);
        touch_all(disk);
    }
}

static void on_removed(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__scsi_disk *disk = arg;
    (void)op;
    if (!end_disk_call(disk)) {
        return;
    }
    enum uvm_error_code code = err == NULL ? UVM_OK : uvm_error_code(err);
    enum uvm__call_end end = advance_disk(disk, err);
    bool early = UVM__PLANT(slot_early) && code == UVM_E_UNDO;
    if (code == UVM_OK || code == UVM_E_NOTFOUND || disk->released || early) {
        disk_gone(disk);
        return;
    }
    if (code == UVM_E_NOMEM) {
        again_later(disk->devices, &disk->timer);
    } else if (end != UVM__CALL_LOST) {
        stick_all(disk, err, "the host did not let go of it");
    }
}

static void remove_host(struct uvm__scsi_disk *disk) {
    struct uvm__devices *d = disk->devices;
    disk->state = UVM__SCSI_REMOVING;
    int rc = call_host(disk, disk->remove, on_removed);
    if (rc < 0) {
        disk->state = UVM__SCSI_EJECTED;
        again_later(d, &disk->timer); /* no memory; or the VM is about to end, which is heard of */
        return;
    }
    uvm__deadline_set(d->engine, &disk->timer, uvm__now_ms(d->engine) + UVM__REMOVE_MS);
}

void uvm__scsi_on_disk_timer(struct uvm__deadline *t) {
    struct uvm__scsi_disk *disk = UVM__CONTAINER_OF(t, struct uvm__scsi_disk, timer);
    if (disk->state == UVM__SCSI_REMOVING) {
        uvm_op_cancel(disk->call); /* it only goes forward, but says now that it has not ended */
    } else {
        touch_all(disk);
    }
}

/* ---- guest: the device -------------------------------------------------------------------- */

static void on_ejected(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__scsi_disk *disk = arg;
    (void)op;
    if (!end_disk_call(disk)) {
        return;
    }
    enum uvm__call_end end = advance_disk(disk, err);
    disk->ejected = end == UVM__CALL_DONE;
    if (end == UVM__CALL_DONE) {
        touch_all(disk);
    } else if (uvm_error_code(err) == UVM_E_NOMEM) {
        again_later(disk->devices, &disk->timer);
    } else if (end != UVM__CALL_LOST) {
        stick_all(disk, err, "the guest did not let go of it");
    }
}

static void eject(struct uvm__scsi_disk *disk) {
    struct uvm__devices *d = disk->devices;
    if (d->bridge == NULL) { /* nothing in the guest has seen it */
        disk->state = UVM__SCSI_EJECTED;
        remove_host(disk);
        return;
    }
    disk->state = UVM__SCSI_EJECTING;
    int rc =
        uvm__bridge_modify(d->bridge, NULL, disk->eject, d->scope, on_ejected, disk, &disk->call);
    if (rc < 0) {
        disk->state = UVM__SCSI_ATTACHED;
        again_later(d, &disk->timer);
    }
}

/* ---- guest: the mount --------------------------------------------------------------------- */

static bool end_mount_call(struct uvm__scsi_mount *m) {
    m->call = uvm_op_unref(m->call);
    bool lives = m->base.phase != UVM__DEVICE_GONE;
    uvm__device_drop(&m->base); /* the call's hold: it may have been the last one */
    return lives;
}

static int call_guest(struct uvm__scsi_mount *m, const char *request, uvm_done_fn on_done) {
    struct uvm__devices *d = m->base.devices;
    int rc = uvm__bridge_modify(d->bridge, NULL, request, d->scope, on_done, m, &m->call);
    if (rc == 0) {
        uvm__device_hold(&m->base);
    }
    return rc;
}

static void on_mounted(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__scsi_mount *m = arg;
    (void)op;
    if (!end_mount_call(m)) {
        return;
    }
    UVM__MARK_IF(scsi_mount_withdrawn, err != NULL && uvm_error_code(err) == UVM_E_CANCELED);
    (void)advance_mount(m, err);
    if (err == NULL) {
        uvm__device_set_phase(&m->base, UVM__DEVICE_READY);
    } else {
        bool bare = uvm__scsi_formats(m->want) && m->base.devices->scsi.tools_path == NULL;
        uvm__device_fail(
            &m->base, uvm__device_explain(&m->base, err,
                                          bare ? "the guest did not mount it, and has no tools disk"
                                          : m->mounts ? "the guest did not mount it"
                                                      : "the guest does not see it"));
    }
    uvm__device_touch(&m->base);
}

static void mount(struct uvm__scsi_mount *m) {
    m->state = UVM__SCSI_MOUNTING;
    int rc = call_guest(m, m->mount, on_mounted);
    if (rc < 0) {
        uvm_error *err = uvm__fail_error(m->base.devices->engine, rc, NULL);
        m->state = UVM__SCSI_UNMOUNTED;
        uvm__device_fail(&m->base, uvm__device_explain(&m->base, err, "the guest was not asked"));
        uvm_error_unref(err);
        uvm__device_touch(&m->base);
    }
}

static void unmount_fails(struct uvm__scsi_mount *m, const uvm_error *err) {
    struct uvm__device *dev = &m->base;
    if (advance_mount(m, err) == UVM__CALL_LOST) {
        return;
    }
    if (dev->refs > 0) {
        UVM__MARK(scsi_unmount_refused);
        dev->leaving = dev->abandoned = false; /* nothing has happened: the reference stays */
    } else if (uvm_error_code(err) == UVM_E_NOMEM) {
        again_later(dev->devices, &m->timer);
        return;
    }
    uvm__device_stick(dev, uvm__device_explain(dev, err, "the guest did not unmount it"));
}

static void on_unmounted(uvm_op *op, const uvm_error *err, void *arg) {
    struct uvm__scsi_mount *m = arg;
    (void)op;
    if (!end_mount_call(m)) {
        return;
    }
    if (err != NULL && uvm_error_code(err) != UVM_E_CANCELED) {
        unmount_fails(m, err);
        return;
    }
    (void)advance_mount(m, err); /* CANCELED: it was withdrawn, and the guest was not asked */
    uvm__device_touch(&m->base);
}

static void unmount(struct uvm__scsi_mount *m) {
    m->state = UVM__SCSI_UNMOUNTING;
    int rc = call_guest(m, m->unmount, on_unmounted);
    if (rc < 0) {
        uvm_error *err = uvm__fail_error(m->base.devices->engine, rc, NULL);
        unmount_fails(m, err);
        uvm_error_unref(err);
    }
}

void uvm__scsi_on_mount_timer(struct uvm__deadline *t) {
    uvm__device_touch(&UVM__CONTAINER_OF(t, struct uvm__scsi_mount, timer)->base);
}

/* ---- turns -------------------------------------------------------------------------------- */

static void come(struct uvm__scsi_mount *m) {
    struct uvm__scsi_disk *disk = m->disk;
    struct uvm__device *dev = &m->base;
    if (disk->state == UVM__SCSI_NEW) {
        add(disk);
    }
    if (disk->state != UVM__SCSI_ATTACHED || dev->failed != NULL) {
        return;
    }
    if (dev->phase == UVM__DEVICE_COMING) {
        uvm__device_set_phase(dev, UVM__DEVICE_HOST);
    }
    if (dev->phase != UVM__DEVICE_HOST) {
        return;
    }
    if (m->state == UVM__SCSI_UNMOUNTED && dev->devices->bridge != NULL &&
        uvm__scsi_tools_ready(m)) {
        mount(m);
    }
}

/* Others want the disk, or have not let go of it yet. */
static bool is_wanted(const struct uvm__scsi_disk *disk) {
    const struct uvm__list *it;
    UVM__LIST_FOREACH(it, &disk->mounts) {
        if (mount_of((struct uvm__list *)it)->base.phase != UVM__DEVICE_LEFT) {
            return true;
        }
    }
    return disk->pinned;
}

/* The guest uses this attachment no more. */
static void leave_disk(struct uvm__scsi_mount *m) {
    struct uvm__scsi_disk *disk = m->disk;
    if (disk->call != NULL) {
        if (disk->state == UVM__SCSI_ATTACHING && !is_wanted(disk)) {
            uvm_op_cancel(disk->call);
        }
        return; /* its end comes back here */
    }
    if (disk->timer.linked) {
        return; /* likewise */
    }
    switch (disk->state) {
    case UVM__SCSI_NEW:
        disk_gone(disk);
        break;
    case UVM__SCSI_ATTACHED:
        eject(disk);
        break;
    case UVM__SCSI_EJECTED:
        remove_host(disk);
        break;
    case UVM__SCSI_UNKNOWN: /* RELEASED, or a detach */
    case UVM__SCSI_ATTACHING:
    case UVM__SCSI_EJECTING:
    case UVM__SCSI_REMOVING:
    case UVM__SCSI_STATE_MAX:
        break;
    }
}

static void leave(struct uvm__scsi_mount *m) {
    struct uvm__device *dev = &m->base;
    if (m->blocked || m->disk->blocked || dev->stuck != NULL || m->timer.linked) {
        return;
    }
    if (m->state == UVM__SCSI_MOUNTED) {
        unmount(m);
        return;
    }
    if (dev->phase != UVM__DEVICE_LEFT) {
        dev->refs = 0;
        uvm__device_set_phase(dev, UVM__DEVICE_LEFT);
    }
    if (is_wanted(m->disk)) {
        uvm__scsi_mount_gone(m); /* the others keep it */
    } else {
        leave_disk(m);
    }
}

void uvm__scsi_turn(struct uvm__device *dev) {
    struct uvm__scsi_mount *m = uvm__scsi_mount_of(dev);
    if (m->call != NULL) {
        if (dev->leaving && m->state == UVM__SCSI_MOUNTING) {
            (void)uvm__bridge_withdraw(m->call);
        }
        return;
    }
    if (dev->leaving) {
        leave(m);
    } else if (dev->failed == NULL) {
        come(m);
    }
}

bool uvm__scsi_withdraw(struct uvm__device *dev) {
    struct uvm__scsi_mount *m = uvm__scsi_mount_of(dev);
    if (m->call == NULL) {
        return m->state == UVM__SCSI_MOUNTED || !m->mounts;
    }
    return uvm__bridge_withdraw(m->call);
}

void uvm__scsi_again(struct uvm__device *dev) {
    struct uvm__scsi_disk *disk = uvm__scsi_mount_of(dev)->disk;
    if (disk->state == UVM__SCSI_UNKNOWN && disk->call == NULL) {
        /* Ask both to let go of it, whatever is there. */
        disk->state = disk->ejected ? UVM__SCSI_EJECTED : UVM__SCSI_ATTACHED;
    }
}

void uvm__scsi_disk_released(struct uvm__scsi_disk *disk) {
    disk->released = true;
    if (disk->call == NULL && disk->state == UVM__SCSI_UNKNOWN) {
        UVM__MARK(scsi_released);
        disk->state = UVM__SCSI_NEW;
        struct uvm__list *it;
        UVM__LIST_FOREACH(it, &disk->mounts) {
            struct uvm__device *dev = &mount_of(it)->base;
            dev->stuck = uvm_error_unref(dev->stuck);
        }
        touch_all(disk);
    }
}
