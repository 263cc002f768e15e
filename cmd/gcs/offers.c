/* SPDX-License-Identifier: MIT
 *
 * Offers in the guest (offers.h): one process, one poll. It keeps a table of what the host offers; whenever a
 * line or a kernel event comes it looks for every device that is not shown yet, shows those that are there, and
 * answers. So it does not matter in which order driver, device and offer come, nor whether an event was lost.
 *
 * Drivers are loaded when there is a device of their class, and as late as possible: after the agent's
 * negotiation, by a process of lowest priority, which is raised when it does not get on. The first
 * scan of SCSI is left out, for it asks 256 targets where all disks are on one; that one is scanned here.
 *
 * The channel may end (a machine that was restored, a fault); then it is dialled again, and what the new
 * snapshot lacks is hidden. A host that refuses has no channel any more: the process ends.
 */
#include "cmd/gcs/offers.h"

#include "cmd/gcs/early.h"
#include "cmd/gcs/modules.h"
#include "cmd/gcs/offers_table.h"
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

struct offers {
    int channel, events, poke, loader; /* the last is a pidfd; -1: closed */
    pid_t loader_pid;
    double start_ms, loader_ms;
    bool may_load;
    bool loaded[UVM__VMBUS_CLASS_MAX], loading[UVM__VMBUS_CLASS_MAX]; /* the second: by `loader` */
    struct gcs_releases releases;
    struct gcs_offers_table table;
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

/* The lists of the classes that have drivers here. */
static const char *const lists[UVM__VMBUS_CLASS_MAX] = {
    [UVM__VMBUS_STORVSC] = "modules.scsi",
    [UVM__VMBUS_NETVSC] = "modules.net",
};

static bool is_offered(const struct offers *o, unsigned class) {
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        if (o->table.rows[i].used && o->table.rows[i].device.kind == class) {
            return true;
        }
    }
    return false;
}

/* SCSI's list sets scan=manual; from there on the kernel scans as ever, which it does when it lost events. */
static int load(const struct offers *o) {
    int failures = 0;

    for (unsigned c = 0; c < UVM__VMBUS_CLASS_MAX; c++) {
        failures += o->loading[c] ? uvm__modules_load(WHO, lists[c]) : 0;
    }
    if (o->loading[UVM__VMBUS_STORVSC]) {
        (void)write_file(SYS "/module/scsi_mod/parameters/scan", "async");
    }
    return failures == 0 ? 0 : 1;
}

static void end_loading(struct offers *o) {
    memset(o->loading, 0, sizeof o->loading);
}

static void start_loader(struct offers *o) {
    bool any = false;

    if (!o->may_load || o->loader >= 0) {
        return;
    }
    for (unsigned c = 0; c < UVM__VMBUS_CLASS_MAX; c++) {
        if (lists[c] != NULL && !o->loaded[c] && is_offered(o, c)) {
            any = o->loaded[c] = o->loading[c] = true;
        }
    }
    if (!any) {
        return;
    }
    o->loader_pid = fork();
    if (o->loader_pid == 0) {
        (void)setpriority(PRIO_PROCESS, 0, 19);
        _exit(load(o));
    }
    if (o->loader_pid < 0) {
        (void)load(o);
        end_loading(o);
        return;
    }
    o->loader_ms = uvm__boot_ms();
    o->loader = (int)syscall(SYS_pidfd_open, o->loader_pid, 0);
    if (o->loader < 0) {
        (void)waitpid(o->loader_pid, NULL, 0);
        end_loading(o);
    }
}

static void loader_ended(struct offers *o) {
    (void)waitpid(o->loader_pid, NULL, 0); /* what failed it has said */
    close_fd(&o->loader);
    end_loading(o);
}

/* ---- the table ------------------------------------------------------------------------------------- */

/* Shows and answers what can be. A driver that is not there yet makes an event when it comes; those that are being
 * loaded here are waited for, since a look takes time that the agent may want. */
static int look(struct offers *o) {
    for (size_t i = 0; i < UVM__VMBUS_DEVICES_MAX; i++) {
        struct gcs_offered *d = &o->table.rows[i];

        enum uvm__vmbus_class class = d->device.kind;

        if (!d->used || d->answered || d->releasing ||
            (class < UVM__VMBUS_CLASS_MAX && lists[class] != NULL &&
             (!o->loaded[class] || o->loading[class]))) {
            continue;
        }
        bool first = !d->shown;
        d->shown = d->shown || (uvm__view_make() == 0 && uvm__view_show(SYS, &d->device));
        if (d->shown) {
            uvm__view_buses(); /* its own may be new */
            d->answered = true;
            if (gcs_offers_answer(o->channel, UVM__VMBUS_LINE_OPENED, &d->device.instance) < 0) {
                return -1;
            }
            if (first && d->device.kind == UVM__VMBUS_STORVSC) {
                uvm__view_scan(SYS, &d->device.instance);
            }
        }
    }
    return 0;
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

/* Assigned devices whose drivers have let go. */
static int released(struct offers *o) {
    struct uvm__guid instance;
    int rc = 0;

    while (rc == 0 && gcs_release_next(&o->releases, &instance)) {
        rc = gcs_offers_released(&o->table, o->channel, &instance);
    }
    return rc;
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
    struct uvm__fail f = {.sys = 0};
    int rc;

    gcs_offers_begin(&o->table);
    for (;;) {
        struct pollfd p[] = {{.fd = o->channel, .events = POLLIN},
                             {.fd = o->events, .events = POLLIN},
                             {.fd = o->poke, .events = POLLIN},
                             {.fd = o->loader, .events = POLLIN},
                             {.fd = o->releases.fd, .events = POLLIN}};
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
        if (p[4].revents != 0 && released(o) < 0) {
            return;
        }
        if (p[0].revents != 0 && (rc = gcs_offers_read(&o->table, o->channel, &f)) < 0) {
            if (rc != -UVM_E_CLOSED) {
                uvm__say(WHO, "the host is hung up on: %s", f.msg);
            }
            return;
        }
        if (o->table.synced) {
            start_loader(o);
            if (look(o) < 0) {
                return;
            }
        }
    }
}

_Noreturn static void run(int channel) {
    static struct offers o = {.events = -1,
                              .poke = -1,
                              .loader = -1,
                              .releases = GCS_RELEASES_INIT(SYS),
                              .table.sys = SYS};

    (void)prctl(PR_SET_NAME, "gcs-offers");
    (void)setsid();
    o.channel = channel;
    o.table.releases = &o.releases;
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
