/* SPDX-License-Identifier: MIT
 * detach.c — starting the owner of a UVM in the background, and waiting until the UVM runs.
 *
 * posix_spawn of /proc/self/exe, so that an installation that is replaced meanwhile does not mix versions.
 * What interrupts us is passed on to the owner, who undoes the boot; we wait for that. If we are killed, the
 * owner sees the socket end and does the same.
 */
#include "cmd/uvmctl/detach.h"
#include "async/sock.h"
#include "cmd/uvmctl/out.h"
#include "cmd/uvmctl/trace.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct waiting {
    struct app app;
    struct uvm__sock *sock;
    pid_t owner; /* reaped only when nobody signals it any more */
    char text[256];
    size_t len;
    bool running;
};

static int spawn_owner(char **argv, int sock, pid_t *ret_pid) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t all, none;
    size_t n = 0;
    while (argv[n] != NULL) {
        n++;
    }
    char **words = calloc(n + 3, sizeof *words);
    if (words == NULL || posix_spawn_file_actions_init(&files) != 0) {
        free(words);
        return ENOMEM;
    }
    (void)posix_spawnattr_init(&attr);
    words[0] = (char *)(uintptr_t)DETACH_OWNER;
    words[1] = (char *)(uintptr_t) "boot";
    memcpy(words + 2, argv, n * sizeof *words);
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETSIGMASK);
    int rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_RDWR, 0);
    rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(&files, sock, 3);
    rc = rc != 0 ? rc : posix_spawn_file_actions_addclosefrom_np(&files, 4);
    rc = rc != 0 ? rc : posix_spawn(ret_pid, "/proc/self/exe", &files, &attr, words, environ);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&files);
    free(words);
    return rc;
}

static void over(struct waiting *w) {
    if (w->sock != NULL) {
        uvm__sock_close(w->sock, NULL, NULL);
        w->sock = NULL;
        app_close(&w->app);
    }
}

static void on_readable(struct uvm__sock *s, void *arg) {
    struct waiting *w = arg;
    size_t room = sizeof w->text - 1 - w->len;
    ssize_t n = room == 0 ? 0 : uvm__sock_recv(s, w->text + w->len, room, NULL, NULL);
    if (n == -UVM_E_AGAIN) {
        return;
    }
    w->len += n > 0 ? (size_t)n : 0;
    w->text[w->len] = 0;
    w->running = strchr(w->text, '\n') != NULL;
    if (n <= 0 || w->running) {
        over(w);
    }
}

static void on_interrupt(struct app *app, int signo, unsigned times) {
    struct waiting *w = app->arg;
    (void)times;
    (void)kill(w->owner, signo);
}

/* The owner has ended, or does within moments. */
static int status_of(pid_t owner) {
    int status;
    while (waitpid(owner, &status, 0) < 0) {
        if (errno != EINTR) {
            return EXIT_FAILED;
        }
    }
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status) == EXIT_DONE ? EXIT_FAILED : WEXITSTATUS(status);
    }
    out_message("the owner of the UVM was killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
    return EXIT_FAILED;
}

static int await(struct waiting *w, bool json) {
    char name[80] = "", id[48] = "";
    app_run(&w->app);
    app_deinit(&w->app);
    if (!w->running) {
        return status_of(w->owner);
    }
    char *save = NULL;
    (void)strtok_r(w->text, " \n", &save);
    const char *word = strtok_r(NULL, " \n", &save);
    (void)snprintf(name, sizeof name, "%s", word == NULL ? "" : word);
    word = strtok_r(NULL, " \n", &save);
    (void)snprintf(id, sizeof id, "%s", word == NULL ? "" : word);
    if (json) {
        struct json_out j = {0};
        json_open(&j, NULL, '{');
        json_text(&j, "id", id);
        json_text(&j, "name", name);
        json_close(&j, '}');
        return json_finish(&j, STDOUT_FILENO) ? EXIT_DONE : EXIT_FAILED;
    }
    printf("%s\n", name);
    return EXIT_DONE;
}

int detach_boot(char **argv, bool json) {
    static const struct uvm__sock_events events = {on_readable, NULL};
    struct waiting w = {.owner = -1};
    const struct app_params p = {.client = true};
    int pair[2];
    if (!app_open(&w.app, &p)) {
        return EXIT_FAILED;
    }
    if (uvm__sock_pair(pair) < 0 ||
        uvm__sock_open(w.app.engine, pair[0], &events, &w, &w.sock) < 0) {
        out_message("out of descriptors or memory");
        return EXIT_FAILED;
    }
    (void)fflush(NULL);
    trace_leave(); /* it is the owner's */
    int rc = spawn_owner(argv, pair[1], &w.owner);
    close(pair[1]);
    if (rc != 0) {
        out_message("the owner could not be started: %s", strerror(rc));
        over(&w);
        app_run(&w.app);
        app_deinit(&w.app);
        return EXIT_FAILED;
    }
    w.app.arg = &w;
    w.app.on_interrupt = on_interrupt;
    uvm__sock_reading(w.sock, true);
    return await(&w, json);
}
