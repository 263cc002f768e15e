/* SPDX-License-Identifier: MIT
 *
 * Releases (release.h). A word on the pipe is the process and its device in one write, which is whole or not there.
 */
#include "cmd/gcs/release.h"

#include "cmd/gcs/early.h"
#include "cmd/gcs/view.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WHO "offers"

struct word {
    pid_t pid;
    struct uvm__guid instance;
};

static bool open_pipe(struct gcs_releases *r) {
    int fds[2];

    if (r->fd < 0 && pipe2(fds, O_CLOEXEC) == 0) {
        (void)fcntl(fds[0], F_SETFL, O_NONBLOCK); /* of this end only */
        r->fd = fds[0];
        r->write_fd = fds[1];
    }
    return r->fd >= 0;
}

bool gcs_release_begin(struct gcs_releases *r, const struct uvm__guid *instance) {
    pid_t pid = open_pipe(r) ? fork() : -1;

    if (pid == 0) {
        struct word w = {.instance = *instance};
        uvm__view_release(r->sys, instance);
        w.pid = getpid();
        _exit(write(r->write_fd, &w, sizeof w) == (ssize_t)sizeof w ? 0 : 1);
    }
    if (pid < 0) {
        uvm__say(WHO, "a release, without a process of its own: %s", strerror(errno));
        uvm__view_release(r->sys, instance);
    }
    return pid > 0;
}

bool gcs_release_next(struct gcs_releases *r, struct uvm__guid *ret) {
    struct word w;

    if (r->fd < 0 || read(r->fd, &w, sizeof w) != (ssize_t)sizeof w) {
        return false;
    }
    (void)waitpid(w.pid, NULL, 0); /* it ends with its word */
    *ret = w.instance;
    return true;
}
