/* SPDX-License-Identifier: MIT
 *
 * Runs a tool (tools.h): the image's own, or the tools disk's under that disk's loader.
 */
#include "cmd/gcs/tools.h"

#include "cmd/gcs/lookpath.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define IMAGE_PATH "/sbin:/usr/sbin:/bin:/usr/bin"
#define LOADER UVM__TOOLS "/lib/ld-linux-x86-64.so.2"
#define ARGS_MAX 24

/* What to execute; the strings of `folder` back it. -1: there is no such program. */
static int command(const char *const *argv, char path[PATH_MAX + NAME_MAX], const char **ret) {
    static const char *const loader[] = {LOADER, "--library-path", UVM__TOOLS "/lib", "--argv0"};
    char folder[PATH_MAX];
    size_t n = 0;

    if (gcs_lookpath(argv[0], IMAGE_PATH, folder, sizeof folder) == 0) {
        (void)snprintf(path, PATH_MAX + NAME_MAX, "%s/%s", folder, argv[0]);
    } else {
        (void)snprintf(path, PATH_MAX + NAME_MAX, UVM__TOOLS "/sbin/%s", argv[0]);
        if (access(path, X_OK) < 0) {
            return -1;
        }
        for (; n < sizeof loader / sizeof loader[0]; n++) {
            ret[n] = loader[n];
        }
        ret[n++] = argv[0];
    }
    ret[n++] = path;
    for (size_t i = 1; argv[i] != NULL && n < ARGS_MAX - 1; i++) {
        ret[n++] = argv[i];
    }
    ret[n] = NULL;
    return 0;
}

/* The last words on the pipe, on one line. */
static void listen_to(int fd, char *last, size_t bytes) {
    char chunk[512];
    size_t have = 0;
    ssize_t n;

    while ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
        for (ssize_t i = 0; i < n; i++) {
            if (have + 1 == bytes) {
                memmove(last, last + 1, --have);
            }
            last[have++] = chunk[i] == '\n' ? ' ' : chunk[i];
        }
    }
    while (have > 0 && last[have - 1] == ' ') {
        have--;
    }
    last[have] = '\0';
}

/* It does not outlive us: whoever ends a request that takes too long would leave one that still formats. */
static pid_t start(const char *const *args, int input, int output) {
    pid_t us = getpid(), pid = fork();

    if (pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != us) {
            _exit(127);
        }
        int in = input >= 0 ? input : open("/dev/null", O_RDWR | O_CLOEXEC);

        (void)dup2(in, STDIN_FILENO);
        (void)dup2(output, STDOUT_FILENO);
        (void)dup2(output, STDERR_FILENO);
        (void)setenv("MKE2FS_CONFIG", UVM__TOOLS "/etc/mke2fs.conf", 0);
        (void)setenv("DM_DISABLE_UDEV", "1", 0); /* nobody would answer */
        execv(args[0], (char *const *)args);
        dprintf(STDERR_FILENO, "%s", strerror(errno));
        _exit(127);
    }
    return pid;
}

/* A pipe with these bytes in it, at its end. */
static int fill_pipe(const void *input, size_t bytes, struct gcs_words *w) {
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return gcs_fail(w, "pipe: %s", strerror(errno));
    }
    bool filled = bytes <= PIPE_BUF && write(ends[1], input, bytes) == (ssize_t)bytes;
    close(ends[1]);
    if (!filled) {
        close(ends[0]);
        return gcs_fail(w, "pipe: %zu bytes do not fit", bytes);
    }
    return ends[0];
}

/* A tool that met a disk which cannot be read or written just now says so in the C library's words. */
static bool is_disk(const char *last) {
    static const int errors[] = {EIO, ENXIO};

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (strstr(last, strerror(errors[i])) != NULL) {
            return true;
        }
    }
    return false;
}

/* Takes `input`; -1: there is none. */
static int run(const char *const *argv, int input, struct gcs_words *w) {
    char path[PATH_MAX + NAME_MAX], last[400] = "";
    const char *args[ARGS_MAX];
    int ends[2], status = 0, err = 0;
    pid_t pid = -1;

    if (command(argv, path, args) < 0) {
        status =
            gcs_fail(w, "failed to execute %s: : exec: \"%s\": executable file not found in $PATH",
                     argv[0], argv[0]);
    } else if (pipe2(ends, O_CLOEXEC) < 0) {
        status = gcs_fail(w, "failed to execute %s: pipe: %s", argv[0], strerror(errno));
    } else {
        pid = start(args, input, ends[1]);
        err = errno;
        close(ends[1]);
        if (pid > 0) {
            listen_to(ends[0], last, sizeof last);
        }
        close(ends[0]);
        if (pid < 0) {
            status = gcs_fail(w, "failed to execute %s: fork: %s", argv[0], strerror(err));
        }
    }
    if (input >= 0) {
        close(input);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (pid < 0 || status == 0) {
        return status;
    }
    if (WIFEXITED(status)) {
        (void)gcs_fail(w, "failed to execute %s: exit status %d: %s", argv[0], WEXITSTATUS(status),
                       last);
        w->unreadable = is_disk(last);
    } else {
        (void)gcs_fail(w, "failed to execute %s: killed by signal %d: %s", argv[0],
                       WTERMSIG(status), last);
    }
    return -1;
}

int gcs_tool_run(const char *const *argv, struct gcs_words *w) {
    return run(argv, -1, w);
}

int gcs_tool_run_fed(const char *const *argv, const void *input, size_t bytes,
                     struct gcs_words *w) {
    int fd = fill_pipe(input, bytes, w);

    return fd < 0 ? -1 : run(argv, fd, w);
}
