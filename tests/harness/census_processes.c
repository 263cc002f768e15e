/* SPDX-License-Identifier: MIT
 * census_processes.c — our descendants, from one pass over /proc.
 *
 * The whole table is read first and ancestry looked up in it: other programs of the machine come and go, and do
 * not disturb. A process that ends between two reads is missing or a zombie, and counted by what is seen.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "async/async.h"
#include "tests/harness/census_int.h"

#define COMM_BYTES 16 /* the kernel's, terminator included */
#define ANCESTORS_MAX 64

struct process {
    pid_t pid, parent;
    char state;
    char comm[64]; /* a kernel thread's may be longer than 15 */
    unsigned long long start;
};

struct table {
    struct process *all;
    size_t count, room;
};

static ssize_t read_small(const char *path, char *text, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, room - 1);
    if (fd >= 0) {
        (void)close(fd);
    }
    text[n < 0 ? 0 : n] = '\0';
    return n;
}

/* Of /proc/PID/stat; false: it has gone. The name is in parentheses and may have any bytes in it. */
static bool look(pid_t pid, struct process *ret) {
    char path[40], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_small(path, text, sizeof text) <= 0) {
        return false;
    }
    char *begin = strchr(text, '('), *end = strrchr(text, ')');
    if (begin == NULL || end == NULL || strlen(end) < 5) {
        return false;
    }
    *ret = (struct process){.pid = pid, .state = end[2]};
    (void)snprintf(ret->comm, sizeof ret->comm, "%.*s", (int)(end - begin - 1), begin + 1);
    char *at = end + 3;
    ret->parent = (pid_t)strtol(at, &at, 10);
    for (int field = 5; field < 22; field++) { /* proc(5) numbers them; 22 is the start time */
        (void)strtoll(at, &at, 10);
    }
    ret->start = strtoull(at, NULL, 10);
    return true;
}

static int read_table(struct table *t) {
    DIR *proc = opendir("/proc");
    int rc = proc == NULL ? -UVM_E_HOST : 0;
    *t = (struct table){0};
    for (struct dirent *d; rc == 0 && (d = readdir(proc)) != NULL;) {
        struct process p;
        pid_t pid = (pid_t)strtol(d->d_name, NULL, 10);
        if (pid <= 0 || !look(pid, &p)) {
            continue;
        }
        if (t->count == t->room) {
            size_t room = t->room == 0 ? 256 : 2 * t->room;
            struct process *all = reallocarray(t->all, room, sizeof *all);
            if (all == NULL) {
                rc = -UVM_E_NOMEM;
                break;
            }
            t->all = all;
            t->room = room;
        }
        t->all[t->count++] = p;
    }
    if (proc != NULL) {
        (void)closedir(proc);
    }
    return rc;
}

static bool is_ours(const struct table *t, const struct process *p) {
    for (int depth = 0; p != NULL && depth < ANCESTORS_MAX; depth++) {
        if (p->parent == getpid()) {
            return true;
        }
        const struct process *parent = NULL;
        for (size_t i = 0; i < t->count && parent == NULL; i++) {
            parent = t->all[i].pid == p->parent ? &t->all[i] : NULL;
        }
        p = parent;
    }
    return false;
}

/* The begin of a command line, words apart by blanks, in printable letters. */
static void command_line(pid_t pid, char *text, size_t room) {
    char path[40];
    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    ssize_t n = read_small(path, text, room);
    for (ssize_t i = 0; i < n; i++) {
        text[i] = text[i] == '\0' ? ' ' : (char)(text[i] < ' ' || text[i] > '~' ? '?' : text[i]);
    }
    while (n > 0 && text[n - 1] == ' ') {
        text[--n] = '\0';
    }
}

void uvm__harness_count_processes(struct uvm_harness_census *c) {
    struct table t;
    int rc = read_table(&t);
    c->rc = c->rc < 0 ? c->rc : rc;
    for (size_t i = 0; rc == 0 && i < t.count; i++) {
        const struct process *p = &t.all[i];
        bool dead = p->state == 'Z' || p->state == 'X';
        enum uvm_harness_kind kind = dead ? UVM_HARNESS_ZOMBIE : UVM_HARNESS_PROCESS;
        char line[160] = "";
        if (!uvm__harness_counts(c, kind) || !is_ours(&t, p)) {
            continue;
        }
        command_line(p->pid, line, sizeof line);
        uvm__harness_add(c, kind, "%d %llu", (int)p->pid, p->start);
        uvm__harness_explain(c, "%d %s, child of %d%s%s", (int)p->pid, p->comm, (int)p->parent,
                             line[0] == '\0' ? "" : ": ", line);
    }
    free(t.all);
}

size_t uvm_harness_descendants(const char *name, pid_t *pids, size_t max) {
    struct table t;
    size_t count = 0;
    int rc = read_table(&t);
    for (size_t i = 0; rc == 0 && i < t.count; i++) {
        const struct process *p = &t.all[i];
        if (p->state != 'Z' && p->state != 'X' && is_ours(&t, p) &&
            (name == NULL || strncmp(p->comm, name, COMM_BYTES - 1) == 0)) {
            if (count < max) {
                pids[count] = p->pid;
            }
            count++;
        }
    }
    free(t.all);
    return count;
}
