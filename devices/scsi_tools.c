/* SPDX-License-Identifier: MIT
 * scsi_tools.c — the tools disk: programs that formatting takes, which few guests have.
 *
 * An attachment as others, which nobody asked for: the first mount that may format brings it, read-only, and
 * all such mounts wait for it in their turn. It is there for good then. When it does not come, those who
 * wait fail with its error, it leaves, and the next one tries anew. Who gives up waiting leaves it alone.
 */
#include "async/mark.h"
#include "devices/scsi_int.h"

struct uvm__scsi_tools {
    struct uvm__devices *devices;
    struct uvm__device *dev; /* held; NULL: not asked for, or it has failed */
    bool ready;
    struct uvm__device_wait wait; /* for `dev`, or for a place */
};

static bool waits(const struct uvm__scsi_mount *m) {
    return uvm__scsi_formats(m->want) && m->base.phase == UVM__DEVICE_HOST &&
           m->state == UVM__SCSI_UNMOUNTED && !m->base.leaving && m->base.failed == NULL;
}

static void fail(struct uvm__scsi_mount *m, const uvm_error *err) {
    uvm__device_fail(&m->base, uvm__device_explain(&m->base, err, "the tools disk did not come"));
}

/* The next turn of all that wait; with an error it is their last. */
static void wake(struct uvm__devices *d, const uvm_error *err) {
    struct uvm__list *it, *jt;
    UVM__LIST_FOREACH(it, &d->scsi.disks) {
        struct uvm__scsi_disk *disk = UVM__CONTAINER_OF(it, struct uvm__scsi_disk, link);
        UVM__LIST_FOREACH(jt, &disk->mounts) {
            struct uvm__scsi_mount *m = UVM__CONTAINER_OF(jt, struct uvm__scsi_mount, link);
            if (waits(m) && err != NULL) {
                fail(m, err);
            }
            uvm__device_touch(&m->base);
        }
    }
}

static void forget(struct uvm__scsi_tools *t) {
    uvm__device_unwait(t->devices, &t->wait);
    if (t->dev != NULL) {
        uvm__device_drop(UVM_TAKE_PTR(t->dev));
    }
}

static void look(struct uvm__scsi_tools *t) {
    struct uvm__devices *d = t->devices;
    struct uvm__device *dev = t->dev;
    if (dev->failed != NULL) {
        UVM__MARK(tools_failed);
        uvm_error *err = uvm_error_ref(dev->failed);
        dev->pending--;
        dev->leaving = dev->leaving || (dev->pending == 0 && dev->refs == 0);
        uvm__device_touch(dev);
        forget(t);
        wake(d, err);
        uvm_error_unref(err);
    } else if (dev->phase == UVM__DEVICE_READY) {
        dev->pending--;
        dev->refs++;
        dev->pinned = true;
        t->ready = true;
        uvm__device_unwait(d, &t->wait);
        wake(d, NULL);
    }
}

static void on_change(struct uvm__ready *r) {
    struct uvm__scsi_tools *t = UVM__CONTAINER_OF(r, struct uvm__scsi_tools, wait.ready);
    if (t->dev != NULL) {
        look(t);
    } else { /* there may be a place now */
        uvm__device_unwait(t->devices, &t->wait);
        wake(t->devices, NULL);
    }
}

static int begin(struct uvm__scsi_tools *t, struct uvm__fail *f) {
    struct uvm__devices *d = t->devices;
    const struct uvm__scsi_params p = {.host_path = d->scsi.tools_path,
                                       .read_only = true,
                                       .mount = true,
                                       .guest_path = UVM__SCSI_TOOLS,
                                       .filesystem = "ext4"};
    struct uvm__device *dev = NULL;
    bool shared;
    int rc = uvm__scsi_kind.reserve(d, &p, &dev, &shared, f);
    if (rc == -UVM_E_AGAIN) {
        UVM__MARK(tools_place);
        uvm__device_wait(&t->wait, &d->reserving);
        return 0;
    }
    if (rc == 0) {
        UVM__MARK_IF(tools_raced, shared);
        t->dev = dev;
        uvm__device_hold(dev);
        dev->pending++;
        dev->internal = true;
        uvm__device_wait(&t->wait, &dev->waiters);
        uvm__device_touch(dev);
        look(t); /* somebody may have attached it before */
    }
    return rc;
}

static struct uvm__scsi_tools *tools_of(struct uvm__devices *d) {
    struct uvm__scsi_tools *t = d->scsi.tools;
    if (t == NULL) {
        t = uvm__zalloc(d->engine, sizeof *t);
        if (t != NULL) {
            t->devices = d;
            uvm__device_wait_init(&t->wait, on_change);
            d->scsi.tools = t;
        }
    }
    return t;
}

bool uvm__scsi_tools_ready(struct uvm__scsi_mount *m) {
    struct uvm__devices *d = m->base.devices;
    struct uvm__fail f = {0};
    if (!uvm__scsi_formats(m->want) || d->scsi.tools_path == NULL) {
        return true;
    }
    struct uvm__scsi_tools *t = tools_of(d);
    int rc = t == NULL ? -UVM_E_NOMEM : 0;
    if (rc == 0 && t->dev == NULL && !uvm__list_linked(&t->wait.link)) {
        rc = begin(t, &f);
    }
    if (rc < 0) {
        uvm_error *err = uvm__fail_error(d->engine, rc, &f);
        fail(m, err);
        uvm_error_unref(err);
        uvm__device_touch(&m->base);
        return false;
    }
    return t->ready;
}

void uvm__scsi_tools_end(struct uvm__devices *d) {
    if (d->scsi.tools != NULL) {
        forget(d->scsi.tools);
        uvm__free(d->engine, UVM_TAKE_PTR(d->scsi.tools));
    }
}
