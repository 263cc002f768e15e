/* SPDX-License-Identifier: MIT
 *
 * Offers in the guest (offers.h): one process, one poll. It keeps a table of what the host offers; whenever a
 * line or a kernel event comes it looks for every device that is not shown yet, shows those that are there, and
 * answers. So it does not matter in which order driver, device and offer come, nor whether an event was lost.
 *
 * The drivers of SCSI are loaded when there is a controller, and as late as possible: after the agent's
 * negotiation, by a process of lowest priority, which is raised when it does not get on. Their first
 * scan is left out, for it asks 256 targets where all disks are on one; that one is scanned here.
 *
 * The channel may end (a machine that was restored, a fault); then it is dialled again, and what the new
 * snapshot lacks is hidden. A host that refuses has no channel any more: the process ends.
 */
#include "cmd/gcs/offers.h"

#include "cmd/gcs/early.h"
#include "cmd/gcs/modules.h"
#include "cmd/gcs/view.h"
#include "hvsock/ports.h"
#include "vmbus/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/netlink.h>

#define WHO "offers"
#define SYS "/sys"
#define REDIAL_MS 1000
#define LOADER_PATIENCE_MS 2000
#define UEVENT_BYTES 8192

struct offered {
    struct uvm__vmbus_device device;
    bool used, shown, answered;
    bool confirmed; /* by the snapshot that is being read */
};

struct offers {
    int channel, events, poke, loader; /* the last is a pidfd; -1: closed */
    pid_t loader_pid;
    double start_ms, loader_ms;
    bool may_load, loaded, greeted, synced;
    char in[UVM__VMBUS_LINE_BYTES_MAX];
    size_t in_bytes;
    struct offered table[UVM__VMBUS_DEVICES_MAX];
};

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

static bool write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    close_fd(&fd);
    return done;
}

/* ---- drivers --------------------------------------------------------------------------------------- */

static bool wants_scsi(const struct offers *o) {
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        if (o->table[i].used && o->table[i].device.kind == UVM__VMBUS_STORVSC) {
            return true;
        }
    }
    return false;
}

/* The list sets scan=manual; from here on the kernel scans as ever, which it does when it lost events. */
static int load(void) {
    int failures = uvm__modules_load(WHO, "modules.scsi");

    (void)write_file(SYS "/module/scsi_mod/parameters/scan", "async");
    return failures == 0 ? 0 : 1;
}

static void start_loader(struct offers *o) {
    if (o->loaded || !o->may_load || !wants_scsi(o)) {
        return;
    }
    o->loaded = true;
    o->loader_pid = fork();
    if (o->loader_pid == 0) {
        (void)setpriority(PRIO_PROCESS, 0, 19);
        _exit(load());
    }
    if (o->loader_pid < 0) {
        (void)load();
        return;
    }
    o->loader_ms = uvm__boot_ms();
    o->loader = (int)syscall(SYS_pidfd_open, o->loader_pid, 0);
    if (o->loader < 0) {
        (void)waitpid(o->loader_pid, NULL, 0);
    }
}

static void loader_ended(struct offers *o) {
    (void)waitpid(o->loader_pid, NULL, 0); /* what failed it has said */
    close_fd(&o->loader);
}

/* ---- the table ------------------------------------------------------------------------------------- */

static struct offered *find(struct offers *o, const struct uvm__guid *instance) {
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        if (o->table[i].used && uvm__guid_equal(&o->table[i].device.instance, instance)) {
            return &o->table[i];
        }
    }
    return NULL;
}

/* 0, or -1: the channel has ended. */
static int answer(struct offers *o, enum uvm__vmbus_line_kind kind,
                  const struct uvm__guid *instance) {
    struct uvm__vmbus_line line = {.kind = kind, .device.instance = *instance};
    char text[UVM__VMBUS_LINE_BYTES_MAX];
    size_t bytes = uvm__vmbus_line_write(&line, text);

    return send(o->channel, text, bytes, MSG_NOSIGNAL) == (ssize_t)bytes ? 0 : -1;
}

/* Shows and answers what can be. A driver that is not there yet makes an event when it comes; those that are being
 * loaded here are waited for, since a look takes time that the agent may want. */
static int look(struct offers *o) {
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        struct offered *d = &o->table[i];

        if (!d->used || d->answered ||
            (d->device.kind == UVM__VMBUS_STORVSC && (!o->loaded || o->loader >= 0))) {
            continue;
        }
        bool first = !d->shown;
        d->shown = d->shown || (uvm__view_make() == 0 && uvm__view_show(SYS, &d->device));
        if (d->shown) {
            uvm__view_buses(); /* its own may be new */
            d->answered = true;
            if (answer(o, UVM__VMBUS_LINE_OPENED, &d->device.instance) < 0) {
                return -1;
            }
            if (first && d->device.kind == UVM__VMBUS_STORVSC) {
                uvm__view_scan(SYS, &d->device.instance);
            }
        }
    }
    return 0;
}

static void forget(struct offered *d) {
    uvm__view_hide(SYS, &d->device.instance);
    d->used = false;
}

/* ---- lines ----------------------------------------------------------------------------------------- */

static int take_offer(struct offers *o, const struct uvm__vmbus_device *device) {
    struct offered *d = find(o, &device->instance);

    for (size_t i = 0; d == NULL && i < UVM__VMBUS_DEVICES_MAX; i++) {
        if (!o->table[i].used) {
            d = &o->table[i];
            *d = (struct offered){.device = *device, .used = true};
        }
    }
    if (d == NULL) {
        uvm__say(WHO, "more than %u devices", UVM__VMBUS_DEVICES_MAX);
        return -1;
    }
    if (strcmp(d->device.location, device->location) != 0) {
        forget(d);
        *d = (struct offered){.device = *device, .used = true};
    }
    d->confirmed = true;
    d->answered = false;
    return 0;
}

static void take_sync(struct offers *o) {
    o->synced = true;
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        if (o->table[i].used && !o->table[i].confirmed) {
            forget(&o->table[i]);
        }
    }
}

static int take_line(struct offers *o, const char *text, size_t bytes) {
    struct uvm__vmbus_line line;
    struct uvm__fail f = {.sys = 0};
    struct offered *d;

    if (uvm__vmbus_line_read(text, bytes, &line, &f) < 0) {
        uvm__say(WHO, "the host said what is no line: %s", f.msg);
        return -1;
    }
    if (o->greeted != (line.kind != UVM__VMBUS_LINE_VERSION)) {
        uvm__say(WHO, "the version does not come first");
        return -1;
    }
    switch (line.kind) {
    case UVM__VMBUS_LINE_VERSION:
        o->greeted = true;
        if (line.version != UVM__VMBUS_VERSION) {
            uvm__say(WHO, "version %u is not known here", line.version);
            return -1;
        }
        return 0;
    case UVM__VMBUS_LINE_OFFER:
        return take_offer(o, &line.device);
    case UVM__VMBUS_LINE_SYNC:
        take_sync(o);
        return 0;
    case UVM__VMBUS_LINE_RESCIND:
        d = find(o, &line.device.instance);
        if (d != NULL) {
            forget(d);
        }
        return answer(o, UVM__VMBUS_LINE_CLOSED, &line.device.instance);
    default:
        uvm__say(WHO, "the host said what is the guest's to say");
        return -1;
    }
}

/* Reads what is there: 0, or -1 at the channel's end. */
static int read_channel(struct offers *o) {
    ssize_t n = recv(o->channel, o->in + o->in_bytes, sizeof o->in - o->in_bytes, MSG_DONTWAIT);
    char *end;

    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    }
    o->in_bytes += (size_t)n;
    while ((end = memchr(o->in, '\n', o->in_bytes)) != NULL) {
        size_t bytes = (size_t)(end - o->in);

        if (take_line(o, o->in, bytes) < 0) {
            return -1;
        }
        o->in_bytes -= bytes + 1;
        memmove(o->in, end + 1, o->in_bytes);
    }
    return n == 0 || o->in_bytes == sizeof o->in ? -1 : 0;
}

/* ---- events ---------------------------------------------------------------------------------------- */

static int open_events(void) {
    struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        close_fd(&fd);
    }
    if (fd < 0) {
        uvm__say(WHO, "kernel events: %s", strerror(errno));
    }
    return fd;
}

static void read_events(struct offers *o) {
    char text[UEVENT_BYTES];
    bool bus = false;
    ssize_t n;

    while ((n = recv(o->events, text, sizeof text - 1, 0)) > 0 || (n < 0 && errno == ENOBUFS)) {
        text[n > 0 ? n : 0] = '\0';
        bus = bus || n < 0 || strncmp(text, "add@/bus/", 9) == 0;
    }
    if (bus) {
        uvm__view_buses();
    }
}

static int open_poke(void) {
    (void)mkfifo(UVM__OFFERS_POKE, 0600);
    return open(UVM__OFFERS_POKE,
                O_RDWR | O_CLOEXEC | O_NONBLOCK); /* for writing: never at its end */
}

void uvm__offers_poke(void) {
    int fd = open(UVM__OFFERS_POKE, O_WRONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0) {
        (void)!write(fd, "", 1);
    }
    close_fd(&fd);
}

/* ---- the process ----------------------------------------------------------------------------------- */

/* Milliseconds until something is due; -1: nothing is. */
static int due_ms(const struct offers *o) {
    double now = uvm__boot_ms(), at = -1;

    if (!o->may_load) {
        at = o->start_ms + UVM__OFFERS_PATIENCE_MS;
    } else if (o->loader >= 0 && o->loader_ms >= 0) {
        at = o->loader_ms + LOADER_PATIENCE_MS;
    }
    return at < 0 ? -1 : at <= now ? 0 : (int)(at - now) + 1;
}

static void on_due(struct offers *o) {
    if (!o->may_load) {
        o->may_load = true;
        close_fd(&o->poke);
        (void)unlink(UVM__OFFERS_POKE);
    } else if (o->loader >= 0) {
        (void)setpriority(PRIO_PROCESS, (id_t)o->loader_pid, 0);
        o->loader_ms = -1;
    }
}

/* Until the channel ends. */
static void serve(struct offers *o) {
    o->greeted = o->synced = false;
    o->in_bytes = 0;
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        o->table[i].confirmed = o->table[i].answered = false;
    }
    for (;;) {
        struct pollfd p[] = {{.fd = o->channel, .events = POLLIN},
                             {.fd = o->events, .events = POLLIN},
                             {.fd = o->poke, .events = POLLIN},
                             {.fd = o->loader, .events = POLLIN}};
        int n = poll(p, sizeof p / sizeof p[0], due_ms(o));

        if (n == 0 || p[2].revents != 0) {
            on_due(o);
        }
        if (p[3].revents != 0) {
            loader_ended(o);
        }
        if (p[1].revents != 0) {
            read_events(o);
        }
        if (p[0].revents != 0 && read_channel(o) < 0) {
            return;
        }
        if (o->synced) {
            start_loader(o);
            if (look(o) < 0) {
                return;
            }
        }
    }
}

_Noreturn static void run(int channel) {
    static struct offers o = {.events = -1, .poke = -1, .loader = -1};

    (void)prctl(PR_SET_NAME, "gcs-offers");
    (void)setsid();
    o.channel = channel;
    o.events = open_events();
    o.poke = open_poke();
    o.start_ms = uvm__boot_ms();
    do {
        serve(&o);
        close_fd(&o.channel);
        (void)poll(NULL, 0, REDIAL_MS);
        o.channel = uvm__host_dial(UVM__PORT_OFFERS);
    } while (o.channel >= 0);
    uvm__say(WHO, "the host has no channel any more: %s", strerror(errno));
    _exit(0);
}

void uvm__offers_start(void) {
    int fd = uvm__host_dial(UVM__PORT_OFFERS);
    pid_t pid = fd < 0 ? 0 : fork();

    if (fd < 0) {
        return;
    }
    if (pid == 0) {
        run(fd);
    }
    if (pid < 0) {
        uvm__say(WHO, "fork: %s", strerror(errno));
    }
    close(fd);
}
