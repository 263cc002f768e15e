/* SPDX-License-Identifier: MIT
 *
 * There is no system call for "everything in this session", so /proc is read. Between reading that a pid is
 * in the session and signalling it, the pid may have ended and been given to another: the pidfd is opened
 * first and the session read again through the same pid, which the pidfd vouches for if it is the session
 * still. Zombies are passed over.
 */
#include "cmd/gcs/session.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PASSES_MAX 8

int gcs_session_parse(const char *stat, char *ret_state, pid_t *ret_pgrp, pid_t *ret_session) {
    const char *rest = strrchr(stat, ')'); /* the name may hold anything */
    long values[3];                        /* ppid, pgrp, session */
    char *end;

    if (rest == NULL || rest[1] != ' ' || rest[2] == '\0' || rest[3] != ' ') {
        return -UVM_E_PROTOCOL;
    }
    *ret_state = rest[2];
    rest += 4;
    for (size_t i = 0; i < 3; i++) {
        values[i] = strtol(rest, &end, 10);
        if (end == rest || (*end != ' ' && *end != '\0')) {
            return -UVM_E_PROTOCOL;
        }
        rest = end;
    }
    *ret_pgrp = (pid_t)values[1];
    *ret_session = (pid_t)values[2];
    return 0;
}

/* Whether the pid is alive in the session and outside the group. */
static bool member(const char *pid, pid_t session, pid_t but_pgrp) {
    char path[64], text[512], state;
    pid_t pgrp, sid;
    ssize_t n;
    int fd;

    if (snprintf(path, sizeof path, "/proc/%.20s/stat", pid) < 0) {
        return false;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    return gcs_session_parse(text, &state, &pgrp, &sid) == 0 && sid == session &&
           pgrp != but_pgrp && state != 'Z' && state != 'X';
}

static bool signal_one(const char *pid, pid_t session, pid_t but_pgrp, int signo) {
    bool sent = false;
    int fd;

    if (!member(pid, session, but_pgrp)) {
        return false;
    }
    fd = (int)syscall(SYS_pidfd_open, (pid_t)strtol(pid, NULL, 10), 0);
    if (fd < 0) {
        return false;
    }
    if (member(pid, session, but_pgrp)) {
        sent = syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0) == 0;
    }
    close(fd);
    return sent;
}

static unsigned pass(pid_t session, pid_t but_pgrp, int signo) {
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    unsigned count = 0;

    if (proc == NULL) {
        return 0;
    }
    while ((entry = readdir(proc)) != NULL) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') {
            count += signal_one(entry->d_name, session, but_pgrp, signo);
        }
    }
    (void)closedir(proc);
    return count;
}

unsigned gcs_session_signal(pid_t session, pid_t but_pgrp, int signo) {
    unsigned count = 0, found, passes = 0;

    do {
        found = pass(session, but_pgrp, signo);
        count += found;
    } while (signo == SIGKILL && found > 0 && ++passes < PASSES_MAX);
    return count;
}
