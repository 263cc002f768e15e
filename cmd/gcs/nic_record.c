/* SPDX-License-Identifier: MIT
 *
 * What is configured, by adapter (nic.h), and the resolver's file, which is made from all of it whenever that
 * changes: one process at a time, under a lock.
 *
 * A file that was there before is kept aside and comes back with the last entry of ours.
 */
#include "cmd/gcs/nic.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK GCS_NICS "/.lock"
#define BEFORE GCS_NICS "/.resolv.conf"
#define RESOLV "/etc/resolv.conf"
#define MADE "# made by gcs from the network adapters\n"
#define FILE_BYTES 16384u

struct path {
    char text[sizeof GCS_NICS + NAME_MAX + 8];
};

static struct path record_of(const char *id) {
    struct path p;
    (void)snprintf(p.text, sizeof p.text, GCS_NICS "/%s", id);
    return p;
}

static int lock(void) {
    (void)mkdir("/run/uvm", 0755);
    (void)mkdir(GCS_NICS, 0755);
    int fd = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0) {
        (void)flock(fd, LOCK_EX);
    }
    return fd;
}

static void unlock(int fd) {
    if (fd >= 0) {
        close(fd);
    }
}

/* Cut to fit; false: it cannot be read. */
static bool read_file(const char *path, char *buf, size_t bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, bytes - 1);

    if (fd >= 0) {
        close(fd);
    }
    buf[n < 0 ? 0 : n] = '\0';
    return n >= 0;
}

static int write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    size_t bytes = strlen(text);
    bool done = fd >= 0 && write(fd, text, bytes) == (ssize_t)bytes;
    int err = errno;

    if (fd >= 0) {
        close(fd);
    }
    return done ? 0 : -err;
}

/* ---- the resolver ------------------------------------------------------------------------- */

struct list {
    const char *begin, *end; /* of a line */
    char text[FILE_BYTES / 2];
    size_t used, items;
};

/* Those of a comma-separated list that are not there yet. */
static void add_items(struct list *l, char *list) {
    char *save = NULL;

    for (char *item = strtok_r(list, ", ", &save); item != NULL;
         item = strtok_r(NULL, ", ", &save)) {
        char line[GCS_NIC_LIST_BYTES + 16];
        int n = snprintf(line, sizeof line, "%s%s%s", l->begin, item, l->end);

        if (strstr(l->text, line) == NULL && l->used + (size_t)n < sizeof l->text) {
            memcpy(l->text + l->used, line, (size_t)n + 1);
            l->used += (size_t)n;
            l->items++;
        }
    }
}

static bool value(const char *record, const char *key, char *ret, size_t bytes) {
    const char *at = strstr(record, key);

    (void)snprintf(ret, bytes, "%.*s", at == NULL ? 0 : (int)strcspn(at + strlen(key), "\n"),
                   at == NULL ? "" : at + strlen(key));
    return at != NULL;
}

static void collect(struct list *servers, struct list *search) {
    DIR *d = opendir(GCS_NICS);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        static char record[3 * GCS_NIC_LIST_BYTES], text[GCS_NIC_LIST_BYTES];

        if (e->d_name[0] != '.' && read_file(record_of(e->d_name).text, record, sizeof record)) {
            (void)value(record, "\nservers=", text, sizeof text);
            add_items(servers, text);
            (void)value(record, "\nsearch=", text, sizeof text);
            add_items(search, text);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

static int make_resolv(void) {
    static struct list servers, search;
    static char now[FILE_BYTES], text[FILE_BYTES + 256];
    bool there = read_file(RESOLV, now, sizeof now);
    bool ours = there && strncmp(now, MADE, strlen(MADE)) == 0;

    servers = (struct list){.begin = "nameserver ", .end = "\n"};
    search = (struct list){.begin = " ", .end = " "};
    collect(&servers, &search);
    if (search.items > GCS_NIC_SEARCH_MAX) {
        return -E2BIG;
    }
    if (servers.items == 0 && search.items == 0) {
        if (ours && read_file(BEFORE, now, sizeof now)) {
            (void)unlink(BEFORE);
            return write_file(RESOLV, now);
        }
        return ours ? unlink(RESOLV) : 0;
    }
    if (there && !ours) {
        (void)write_file(BEFORE, now);
    }
    if (search.used > 0) {
        search.text[search.used - 1] = '\n'; /* a blank before each, and one behind the last */
    }
    (void)snprintf(text, sizeof text, MADE "%s%s%s", search.used > 0 ? "search" : "", search.text,
                   servers.text);
    return write_file(RESOLV, text);
}

/* ---- records ------------------------------------------------------------------------------ */

int gcs_nic_claim(const struct gcs_nic *n, struct gcs_words *w) {
    int held = lock();
    int fd = open(record_of(n->id).text, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int err = errno;

    unlock(held);
    if (fd < 0) {
        return err == EEXIST ? gcs_fail(w, "network adapter %s: is configured already", n->id)
                             : gcs_fail(w, "%s: %s", record_of(n->id).text, strerror(err));
    }
    close(fd);
    return 0;
}

int gcs_nic_remember(const struct gcs_nic *n, struct gcs_words *w) {
    static char text[3 * GCS_NIC_LIST_BYTES];
    int held = lock();

    (void)snprintf(text, sizeof text, "interface=%s\ndhcp=%ld\nservers=%s\nsearch=%s\n",
                   n->interface, n->dhcp_pid, n->servers, n->search);
    int rc = write_file(record_of(n->id).text, text);
    if (rc < 0) {
        rc = gcs_fail(w, "%s: %s", record_of(n->id).text, strerror(-rc));
    } else if ((rc = make_resolv()) < 0) {
        rc = rc == -E2BIG ? gcs_fail(w, "more than %u search domains", GCS_NIC_SEARCH_MAX)
                          : gcs_fail(w, RESOLV ": %s", strerror(-rc));
    }
    unlock(held);
    return rc;
}

bool gcs_nic_recall(struct gcs_nic *n) {
    static char record[3 * GCS_NIC_LIST_BYTES];
    char pid[32];

    if (!read_file(record_of(n->id).text, record, sizeof record)) {
        return false;
    }
    (void)value(record, "interface=", n->interface, sizeof n->interface);
    (void)value(record, "\ndhcp=", pid, sizeof pid);
    n->dhcp_pid = strtol(pid, NULL, 10);
    return true;
}

void gcs_nic_forget(const struct gcs_nic *n) {
    int held = lock();

    (void)unlink(record_of(n->id).text);
    (void)make_resolv();
    unlock(held);
}
