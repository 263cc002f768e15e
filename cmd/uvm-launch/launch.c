/* SPDX-License-Identifier: MIT
 *
 * uvm-launch: what has to happen between fork and exec, in a program of its own, because nothing
 * portable may run there. It is started by posix_spawn with every descriptor already in its place
 * (3 = status pipe, the others as the program wants them) and signals reset; it changes itself
 * as the options say, in a fixed order, and becomes the program.
 *
 *     uvm-launch [options] -- PROGRAM ARG...
 *
 *     --pgroup            lead a new process group      --setsid     lead a new session
 *     --ctty FD           make the terminal at FD the session's own
 *     --cgroup DIR        join this cgroup (v2)
 *     --netns FD|PATH     enter this network namespace  --mountns    a private mount namespace
 *     --tmpfs DIR         an empty folder over DIR in it, which cannot be written to
 *     --any-core          core files of any size, for a program that insists on the right to them
 *     --root SPEC         a root of its own with what SPEC names (root.h)
 *     --caps MASK         capabilities that --no-new-privs leaves to root
 *     --nofile N          limit of open files           --no-core    no core files
 *     --uid N --gid N     these ids and no other groups --no-new-privs   ...and no way back up
 *     --chdir DIR         as the new user               --deathsig SIG   when the parent dies
 *     --parent PID        give up unless this is the parent
 *     --keep-fds MAX      close everything above MAX (default 2; the status pipe stays)
 *     --search --path P   look PROGRAM up in P when it has no slash
 *
 * The order is the point. Cgroup, namespaces and limits need the old credentials; changing them
 * clears the death signal, so that comes after; a parent that died before the signal was set is
 * seen by the check behind it. No step is retried or skipped: the first failure is reported on the
 * status pipe (async/launch_proto.h) and ends the process. Nothing is allocated.
 */
#include "cmd/uvm-launch/launch.h"

#include "async/launch_proto.h"
#include "cmd/uvm-launch/root.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

struct launch {
    long parent, uid, gid, ctty, nofile, deathsig, keep_fds; /* -1: not asked */
    const char *cgroup, *netns, *chdir, *path, *tmpfs;       /* NULL: not asked */
    long caps;
    const char *root;
    bool pgroup, setsid, mountns, no_core, any_core, no_new_privs, search;
    char **argv;
};

enum kind { NUMBER, TEXT, FLAG };

static const struct option {
    const char *name;
    enum kind kind;
    size_t offset; /* of the field in struct launch: long, const char *, bool */
    long max;
} options[] = {
    {"--parent", NUMBER, offsetof(struct launch, parent), INT_MAX},
    {"--uid", NUMBER, offsetof(struct launch, uid), UINT_MAX - 1L},
    {"--gid", NUMBER, offsetof(struct launch, gid), UINT_MAX - 1L},
    {"--ctty", NUMBER, offsetof(struct launch, ctty), INT_MAX},
    {"--nofile", NUMBER, offsetof(struct launch, nofile), INT_MAX},
    {"--deathsig", NUMBER, offsetof(struct launch, deathsig), _NSIG - 1L},
    {"--keep-fds", NUMBER, offsetof(struct launch, keep_fds), INT_MAX - 1L},
    {"--cgroup", TEXT, offsetof(struct launch, cgroup), 0},
    {"--netns", TEXT, offsetof(struct launch, netns), 0},
    {"--chdir", TEXT, offsetof(struct launch, chdir), 0},
    {"--path", TEXT, offsetof(struct launch, path), 0},
    {"--tmpfs", TEXT, offsetof(struct launch, tmpfs), 0},
    {"--root", TEXT, offsetof(struct launch, root), 0},
    {"--caps", NUMBER, offsetof(struct launch, caps), LONG_MAX},
    {"--pgroup", FLAG, offsetof(struct launch, pgroup), 0},
    {"--setsid", FLAG, offsetof(struct launch, setsid), 0},
    {"--mountns", FLAG, offsetof(struct launch, mountns), 0},
    {"--any-core", FLAG, offsetof(struct launch, any_core), 0},
    {"--no-core", FLAG, offsetof(struct launch, no_core), 0},
    {"--no-new-privs", FLAG, offsetof(struct launch, no_new_privs), 0},
    {"--search", FLAG, offsetof(struct launch, search), 0},
};

/* Every step: 0, or -1 with errno set. */

static int number(const char *text, long max, long *ret_value) {
    char *end;
    long value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value > max) {
        errno = EINVAL;
        return -1;
    }
    *ret_value = value;
    return 0;
}

static const struct option *option_find(const char *name) {
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strcmp(name, options[i].name) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

static int arguments(struct launch *l, int argc, char **argv) {
    int i;

    for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const struct option *o = option_find(argv[i]);
        char *field = o == NULL ? NULL : (char *)l + o->offset;

        if (o == NULL || (o->kind != FLAG && i + 1 >= argc)) {
            break;
        }
        if (o->kind == FLAG) {
            *(bool *)(void *)field = true;
        } else if (o->kind == TEXT) {
            *(const char **)(void *)field = argv[++i];
        } else if (number(argv[++i], o->max, (long *)(void *)field) < 0) {
            return -1;
        }
    }
    if (i + 1 >= argc || strcmp(argv[i], "--") != 0) {
        errno = EINVAL;
        return -1;
    }
    l->argv = &argv[i + 1];
    return 0;
}

static int session(const struct launch *l) {
    if (l->pgroup && setpgid(0, 0) < 0) {
        return -1;
    }
    if (l->setsid && setsid() < 0) {
        return -1;
    }
    return l->ctty < 0 ? 0 : ioctl((int)l->ctty, TIOCSCTTY, 0);
}

static int cgroup(const struct launch *l) {
    char path[PATH_MAX];
    int fd, n, err = 0;

    if (l->cgroup == NULL) {
        return 0;
    }
    n = snprintf(path, sizeof path, "%s/cgroup.procs", l->cgroup);
    if (n < 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    if (write(fd, "0", 1) != 1) {
        err = errno;
    }
    close(fd);
    errno = err;
    return err == 0 ? 0 : -1;
}

static int netns(const struct launch *l) {
    long fd = -1;
    int err;

    if (l->netns == NULL) {
        return 0;
    }
    if (number(l->netns, INT_MAX, &fd) < 0) {
        fd = open(l->netns, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0) {
        return -1;
    }
    err = setns((int)fd, CLONE_NEWNET) < 0 ? errno : 0;
    close((int)fd); /* a number, too: the program has no use for it */
    errno = err;
    return err == 0 ? 0 : -1;
}

/* The mount is read-only, the file system is not: who may mount can still put folders into it. */
static int tmpfs(const char *dir) {
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

    if (mount("uvm", dir, "tmpfs", flags, "mode=0755,size=4m") < 0) {
        return -1;
    }
    return mount(NULL, dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL);
}

static int mountns(const struct launch *l) {
    if (!l->mountns) {
        errno = EINVAL;
        return l->tmpfs == NULL ? 0 : -1; /* over a folder of everybody's it must not be */
    }
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return -1;
    }
    return l->tmpfs == NULL ? 0 : tmpfs(l->tmpfs);
}

static int root(const struct launch *l) {
    return l->root == NULL ? 0 : uvm__launch_root(l->root);
}

static int limits(const struct launch *l) {
    struct rlimit files = {.rlim_cur = (rlim_t)l->nofile, .rlim_max = (rlim_t)l->nofile};
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    const struct rlimit any = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};

    if (l->nofile >= 0 && setrlimit(RLIMIT_NOFILE, &files) < 0) {
        return -1;
    }
    return l->no_core    ? setrlimit(RLIMIT_CORE, &none)
           : l->any_core ? setrlimit(RLIMIT_CORE, &any)
                         : 0;
}

/* The bounding set goes while CAP_SETPCAP is still there; without it no_new_privs is enough, for
 * then no exec gains anything.                                                                  */
static int lock(long keep) {
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if ((keep < 0 || (keep >> cap & 1) == 0) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 &&
            errno != EPERM) {
            return -1;
        }
    }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) {
        return -1;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int user(const struct launch *l) {
    uid_t uid = (uid_t)l->uid;
    gid_t gid = (gid_t)l->gid;

    if ((l->uid >= 0 || l->gid >= 0) && setgroups(0, NULL) < 0) {
        return -1;
    }
    if (l->gid >= 0 && setresgid(gid, gid, gid) < 0) {
        return -1;
    }
    if (l->no_new_privs && lock(l->caps) < 0) {
        return -1;
    }
    return l->uid >= 0 ? setresuid(uid, uid, uid) : 0;
}

static int directory(const struct launch *l) {
    return l->chdir == NULL ? 0 : chdir(l->chdir);
}

static int deathsig(const struct launch *l) {
    return l->deathsig < 0 ? 0 : prctl(PR_SET_PDEATHSIG, (unsigned long)l->deathsig, 0, 0, 0);
}

static int parent(const struct launch *l) {
    errno = ESRCH;
    return l->parent < 0 || getppid() == l->parent ? 0 : -1;
}

static int descriptors(const struct launch *l) {
    long max = l->keep_fds < UVM__LAUNCH_STATUS_FD ? UVM__LAUNCH_STATUS_FD : l->keep_fds;

    return close_range((unsigned)max + 1, ~0U, 0);
}

/* As execvp, but over the given path, without empty elements (the current directory is nobody's
 * wish here) and without a shell for files of unknown format. A file that is there but may not be
 * run tells more than "not found", so that error stays while the search goes on.                */
static int search(const char *path, char **argv) {
    char name[PATH_MAX];
    int err = ENOENT;

    for (const char *end; path != NULL; path = *end == '\0' ? NULL : end + 1) {
        int n;

        end = strchrnul(path, ':');
        n = snprintf(name, sizeof name, "%.*s/%s", (int)(end - path), path, argv[0]);
        if (end == path || n < 0 || (size_t)n >= sizeof name) {
            continue;
        }
        execv(name, argv);
        if (errno == ENOENT || errno == ENOTDIR) {
            continue;
        }
        err = errno;
        if (err != EACCES) {
            break;
        }
    }
    errno = err;
    return -1;
}

static int program(const struct launch *l) {
    if (l->search && strchr(l->argv[0], '/') == NULL) {
        return search(l->path, l->argv);
    }
    return execv(l->argv[0], l->argv);
}

static const struct step {
    enum uvm__launch_step step;
    int (*run)(const struct launch *l);
} steps[] = {
    {UVM__LAUNCH_SESSION, session},   {UVM__LAUNCH_CGROUP, cgroup},
    {UVM__LAUNCH_NETNS, netns},       {UVM__LAUNCH_MOUNTNS, mountns},
    {UVM__LAUNCH_ROOT, root},         {UVM__LAUNCH_LIMITS, limits},
    {UVM__LAUNCH_USER, user},         {UVM__LAUNCH_CHDIR, directory},
    {UVM__LAUNCH_DEATHSIG, deathsig}, {UVM__LAUNCH_PARENT, parent},
    {UVM__LAUNCH_FDS, descriptors},   {UVM__LAUNCH_EXEC, program},
};

/* Whoever should read it may be gone: then nobody minds that it is lost. */
static int report(enum uvm__launch_step step, int err) {
    uint8_t record[UVM__LAUNCH_RECORD_BYTES];

    uvm__launch_record_put(record, step, err);
    (void)!write(UVM__LAUNCH_STATUS_FD, record, sizeof record);
    return UVM__LAUNCH_EXIT;
}

int uvm__launch_main(int argc, char **argv) {
    struct launch l = {-1, -1, -1, -1, -1, -1, -1, NULL, NULL, NULL, NULL, NULL, .caps = -1};

    if (fcntl(UVM__LAUNCH_STATUS_FD, F_SETFD, FD_CLOEXEC) < 0) {
        dprintf(STDERR_FILENO, "uvm-launch: no status pipe at fd %d: not for use by hand\n",
                UVM__LAUNCH_STATUS_FD);
        return UVM__LAUNCH_EXIT;
    }
    if (arguments(&l, argc, argv) < 0) {
        return report(UVM__LAUNCH_ARGS, errno);
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (steps[i].run(&l) < 0) {
            return report(steps[i].step, errno);
        }
    }
    return UVM__LAUNCH_EXIT;
}
